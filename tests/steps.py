"""A tiny model that learned a step by any method, without the engine: what the tests of methods start from."""

from __future__ import annotations

import torch
from torch import Tensor

from conftest import tiny_segmenter
from sats.methods import Method
from sats.methods.base import all_losses, begin_step, needs_teacher, prepare_model
from sats.methods.context import Context
from sats.types import BACKGROUND, IGNORE, Batch, SegOutput, Step

STEP_0, STEP_1 = Step(0, 0, 3, num_future=3), Step(1, 3, 2, num_future=1)
NAMES = ("new 0", "new 1")


def batch(step: Step, seed: int = 0) -> Batch:
    """Two noise images with blocks of the step's classes, some background of which is salient, some ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    labels = torch.randint(step.first_new - 1, step.num_seen, (2, 8, 8), generator=generator)
    labels = torch.where(labels < step.first_new, 0, labels).repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels[:, :4] = IGNORE
    salient = torch.rand(labels.shape, generator=generator) < 0.3
    return Batch(images, labels, salient & (labels == BACKGROUND))


def step0(method: Method) -> Context:
    """Before step 0: a fresh model that is sure of something, prepared by the method."""
    model = tiny_segmenter((3,))
    with torch.no_grad():
        model.classifier.weights[0].mul_(200)
    prepare_model(method, model.train(), STEP_0)
    return Context(STEP_0, model, None, {})


def step1(method: Method, updates: int = 3) -> Context:
    """Before step 1: the model and state after a few updates of step 0, grown and prepared."""
    torch.manual_seed(0)
    first = step0(method)
    with torch.no_grad():
        begin_step(method, first, [])
    for seed in range(updates):
        update(method, first, batch(STEP_0, seed))
    with torch.no_grad():
        method.end_step(first, [])
    model = first.model
    teacher = model.frozen_copy() if needs_teacher(method, STEP_1) else None
    model.grow(STEP_1, NAMES, method.init)
    prepare_model(method, model.train(), STEP_1)
    where = Context(STEP_1, model, teacher, first.state)
    with torch.no_grad():
        begin_step(method, where, [batch(STEP_1, seed) for seed in range(3)])
        for parameter in model.parameters():  # as after some training
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return where


def at(method: Method, step: Step) -> Context:
    """Ready to learn ``step``, 0 or 1."""
    if step.index:
        return step1(method)
    where = step0(method)
    with torch.no_grad():
        begin_step(method, where, [])
    return where


def outputs(method: Method, where: Context, data: Batch) -> tuple[SegOutput, SegOutput | None]:
    """What student and teacher make of a batch."""
    taps = method.attention_transfer.taps(where.model) if where.teacher else ()
    old = None
    if where.teacher is not None:
        with torch.no_grad():
            old = where.teacher(data.images, taps)
    return where.model(data.images, taps), old


def terms_of(method: Method, where: Context, data: Batch | None = None) -> dict[str, Tensor]:
    """The loss terms on a batch of the step."""
    data = data or batch(where.step)
    return all_losses(method, where, data, *outputs(method, where, data))


def update(method: Method, where: Context, data: Batch, rate: float = 1e-3) -> None:
    """One update by plain gradient descent, as the engine does it."""
    trained = [parameter for parameter in where.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=rate)
    torch.stack(list(terms_of(method, where, data).values())).sum().backward()
    method.after_backward(where)
    optimizer.step()
    optimizer.zero_grad()
