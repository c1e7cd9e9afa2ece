"""New rows of the classifier, tuned before a step is learned (NeST, arXiv 2407.14142)."""

from __future__ import annotations

import dataclasses
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

import torch
from torch.optim import SGD

from sats.engine import launch, processes
from sats.engine.loop import refresh_scaler
from sats.engine.optim import rate_factor, set_rates
from sats.engine.run import OnePass, seed_everything
from sats.methods.base import prepare_model
from sats.models.generated import CombinationStatistics, GeneratedClassifier

if TYPE_CHECKING:
    from torch import Tensor

    from sats.data.loader import TrainLoader
    from sats.engine.run import Run
    from sats.models.segmenter import Segmenter
    from sats.types import Batch, Step

SEED_PART = 1_000_000
"""Keeps the random states of this phase apart from those of the step, whose parts are numbered by process."""


def pretune(run: Run, model: Segmenter, step: Step, loader: TrainLoader) -> None:
    """Generate the rows of ``step``'s classes and the background's by a training of their own, and write them in.

    Everything else stays, but for the statistics of batch norm, as published. What the method keeps in eval mode stays
    so, and where it freezes all that is old, the background's row is left alone, too. An interruption starts it
    again, from the same seeds.
    """
    seed_everything(run.config.seed, step.index, SEED_PART + launch.rank())
    refresh_scaler(run)
    generator = make_generator(run, model, step, loader)
    old = model.frozen_copy() if run.method.pretuning.distillation > 0 else None
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    prepare_model(run.method, model.train(), step)
    model.requires_grad_(requires_grad=False)
    if run.method.always_freezes:
        generator.keep_background()
    with model.other_classifier(generator):
        _optimise(run, model, step, dataclasses.replace(loader, seed=(*loader.seed, SEED_PART)), old)
    processes.average_buffers(model)
    generator.write_to(model.classifier)
    for parameter in learning:
        parameter.requires_grad = True


@torch.no_grad()
def make_generator(run: Run, model: Segmenter, step: Step, loader: TrainLoader) -> GeneratedClassifier:
    """A generator of rows that starts from what the old rows see in the new classes, by one pass over the data."""
    classifier = model.classifier
    weight = torch.cat(list(classifier.weights[:-1])).detach().flatten(1).clone()
    bias = torch.cat(list(classifier.biases[:-1])).detach().clone()
    statistics = CombinationStatistics(step, weight, bias)
    taken: list[Tensor] = []
    hook = classifier.register_forward_pre_hook(lambda _, received: taken.append(received[0]))
    model.eval()
    for batch in OnePass(run, loader, f"step {step.index}, looking at the new classes"):
        model(batch.images)
        statistics.add(taken.pop().float(), batch.labels)
    hook.remove()
    for total in (statistics.sums, statistics.counts):
        total.copy_(processes.total(total))
    return GeneratedClassifier(weight, bias, statistics.combination())


def _optimise(run: Run, model: Segmenter, step: Step, loader: TrainLoader, old: Segmenter | None) -> None:
    """Train the generator in ``model`` over its epochs, with SGD and the step's schedule."""
    settings, config, accelerator = run.method.pretuning, run.config.optim, run.accelerator
    iterations = settings.epochs * loader.iterations_per_epoch
    rate = config.lr_later * config.factors_later.classifier * settings.lr_factor
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    bare = SGD(learned, lr=rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay)
    prepared, optimizer = accelerator.prepare(model, bare)
    with (
        closing(loader.batches(0, iterations)) as batches,  # as `optimise`
        run.log.progress(f"step {step.index}, tuning new rows", iterations),
    ):
        for iteration in range(iterations):
            set_rates(optimizer, rate_factor(iteration, iterations, config))
            _backward(run, prepared, step, [next(batches) for _ in range(run.config.train.accumulation)], old)
            optimizer.step()
            optimizer.zero_grad()
            run.log.advance()
    accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)  # takes its wrapper off the model's forward
    accelerator.free_memory()


def _backward(run: Run, model: torch.nn.Module, step: Step, batches: list[Batch], old: Segmenter | None) -> None:
    """The gradients of one iteration, over its micro-batches."""
    for number, batch in enumerate(batches, start=1):
        with nullcontext() if number == len(batches) else run.accelerator.no_sync(model):
            run.accelerator.backward(_loss(run, model, step, batch, old) / len(batches))


def _loss(run: Run, model: torch.nn.Module, step: Step, batch: Batch, old: Segmenter | None) -> Tensor:
    with run.accelerator.autocast():
        logits = model(batch.images).logits
        if old is None:
            old_logits = logits[:, : step.num_old]
        else:
            with torch.no_grad():
                old_logits = old(batch.images).logits[:, : step.num_old]
        terms = run.method.pretuning.losses(step, batch.labels, logits, old_logits)
        return torch.stack(list(terms.values())).sum()
