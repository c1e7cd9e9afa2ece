"""What holds for every method: finite terms, gradients in the student alone, and the parts it may carry."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from conftest import tiny_segmenter
from sats import losses
from sats.methods import METHODS, Method
from sats.methods.attention_transfer import AttentionTransfer
from sats.methods.base import all_losses, begin_step, needs_teacher
from sats.methods.context import Context
from sats.methods.pseudo_labelling import THRESHOLDS, gather_thresholds
from sats.types import IGNORE, Batch, SegOutput, Step

STEP_0, STEP_1 = Step(0, 0, 3), Step(1, 3, 2)


def batch(step: Step, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    labels = torch.randint(step.first_new - 1, step.num_seen, (2, 8, 8), generator=generator)
    labels = torch.where(labels < step.first_new, 0, labels).repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels[:, :4] = IGNORE
    return Batch(images, labels)


def context(method: Method, step: Step) -> Context:
    model = tiny_segmenter((3,))
    with torch.no_grad():  # a model that is sure of something
        model.classifier.weights[0].mul_(200)
    teacher = model.frozen_copy() if needs_teacher(method, step) else None
    if step.index:
        model.grow(step, [f"new {index}" for index in range(step.num_new)], method.init)
        with torch.no_grad():  # as after some training
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    method.prepare_model(model, step)
    return Context(step, model, teacher, {})


def terms_of(method: Method, where: Context) -> dict[str, Tensor]:
    with torch.no_grad():
        begin_step(method, where, [batch(where.step, seed) for seed in range(3)])
    data = batch(where.step)
    taps = where.model.default_taps if method.attention_transfer.weight else ()
    old = None
    if where.teacher is not None:
        with torch.no_grad():
            old = where.teacher(data.images, taps)
    return all_losses(method, where, data, where.model(data.images, taps), old)


def with_transfer(method: Method) -> Method:
    return dataclasses.replace(method, attention_transfer=AttentionTransfer(weight=20.0))


CASES = [
    pytest.param(kind(), step, id=f"{name}-step{step.index}")
    for name, kind in METHODS.items()
    for step in (STEP_0, STEP_1)
    if kind.data == "stream" or step.index == 0
]
CARRIERS = [pytest.param(with_transfer(kind()), id=name) for name, kind in METHODS.items() if kind.data == "stream"]


@pytest.mark.parametrize(("method", "step"), CASES)
def test_terms_are_finite_and_gradients_reach_the_student_alone(method: Method, step: Step) -> None:
    torch.manual_seed(0)
    where = context(method, step)
    terms = terms_of(method, where)
    assert terms
    assert all(term.shape == () and term.isfinite() for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    trained = [parameter for parameter in where.model.parameters() if parameter.requires_grad]
    assert trained
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained)
    if where.teacher is not None:
        assert all(parameter.grad is None for parameter in where.teacher.parameters())


@pytest.mark.parametrize("method", CARRIERS)
def test_a_frozen_teacher_stays_frozen_through_an_update(method: Method) -> None:
    where = context(method, STEP_1)
    assert where.teacher is not None
    before = {name: value.clone() for name, value in where.teacher.state_dict().items()}
    torch.stack(list(terms_of(method, where).values())).sum().backward()
    torch.optim.SGD(where.model.parameters(), lr=0.1).step()
    after = where.teacher.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())  # batch-norm statistics included


@pytest.mark.parametrize("method", CARRIERS)
def test_every_method_can_carry_the_attention_transfer(method: Method) -> None:
    terms = terms_of(method, context(method, STEP_1))
    assert terms["attention"] > 0
    without = dataclasses.replace(method, attention_transfer=AttentionTransfer())
    assert "attention" not in terms_of(without, context(without, STEP_1))


@pytest.mark.parametrize("method", CARRIERS)
def test_the_transfers_weight_is_a_factor_for_every_pooling(method: Method) -> None:
    for pooling in ("class", "global", "none"):
        values = []
        for weight in (1.0, 20.0):
            torch.manual_seed(1)
            part = AttentionTransfer(weight=weight, pooling=pooling)
            carrier = dataclasses.replace(method, attention_transfer=part)
            values.append(terms_of(carrier, context(carrier, STEP_1))["attention"].item())
        assert values[1] == pytest.approx(20 * values[0], rel=1e-4)


def test_only_those_that_need_a_teacher_get_one() -> None:
    finetune, sats = METHODS["finetune"](), METHODS["sats"]()
    assert not needs_teacher(finetune, STEP_1)
    assert needs_teacher(with_transfer(finetune), STEP_1)
    assert needs_teacher(sats, STEP_1)
    assert not needs_teacher(sats, STEP_0)


def test_step_0_is_plain_cross_entropy_so_that_methods_share_it() -> None:
    for name in ("finetune", "sats"):
        method = METHODS[name]()
        terms = terms_of(method, context(method, STEP_0))
        assert list(terms) == ["cross_entropy"]
        assert method.step0_key() == "cross-entropy"
    assert METHODS["joint"]().step0_key() != "cross-entropy"


def test_sats_is_the_papers_total_loss() -> None:
    """CE(pseudo-labels) + 20 UNKD + 20 SAT, put together here from the losses alone."""
    method = METHODS["sats"]()
    torch.manual_seed(0)
    where = context(method, STEP_1)
    where.model.eval()  # without dropout
    terms = terms_of(method, where)
    assert where.teacher is not None
    data = batch(STEP_1)
    with torch.no_grad():
        old = where.teacher(data.images, where.model.default_taps)
        targets = losses.pseudo_labels(data.labels, old.pixel_logits, where.state[THRESHOLDS])
    new = where.model(data.images, where.model.default_taps)
    torch.testing.assert_close(terms["cross_entropy"], losses.cross_entropy(new.pixel_logits, targets).mean())
    distilled = losses.unbiased_distillation(new.pixel_logits, old.pixel_logits)
    torch.testing.assert_close(terms["distillation"], 20 * distilled)
    maps = [[tap.rows() for tap in output.attentions] for output in (new, old)]
    grids = [tap.grid for tap in new.attentions]
    transferred = losses.attention_transfer(maps[0], maps[1], targets, "class", grids)
    torch.testing.assert_close(terms["attention"], 20 * transferred, rtol=1e-5, atol=1e-6)


def test_thresholds_are_gathered_over_all_batches_and_summed_over_processes() -> None:
    method = METHODS["sats"]()
    where = context(method, STEP_1)
    data = [batch(STEP_1, seed) for seed in range(3)]
    with torch.no_grad():
        assert where.teacher is not None
        gather_thresholds(where, data)
        alone = where.state[THRESHOLDS]
        gather_thresholds(where, data[:1])
        part = where.state[THRESHOLDS]
        rest = losses.EntropyHistogram(3, torch.device("cpu"))  # what another process counted
        for other in data[1:]:
            rest.add(other.labels, where.teacher(other.images).pixel_logits)
        shared = dataclasses.replace(where, sum_over_processes=lambda counts: counts + rest.counts)
        gather_thresholds(shared, data[:1])
    assert alone.shape == (3,)
    assert not torch.equal(part, alone)
    assert torch.equal(where.state[THRESHOLDS], alone)


def test_a_process_without_images_takes_the_thresholds_of_the_others() -> None:
    where = context(METHODS["sats"](), STEP_1)
    assert where.teacher is not None
    others, data = losses.EntropyHistogram(3, torch.device("cpu")), batch(STEP_1, 0)
    with torch.no_grad():
        others.add(data.labels, where.teacher(data.images).pixel_logits)
        gather_thresholds(dataclasses.replace(where, sum_over_processes=lambda counts: counts + others.counts), [])
        found = where.state[THRESHOLDS]
        gather_thresholds(where, [data])
    assert torch.equal(found, where.state[THRESHOLDS])


def test_a_model_without_attention_is_refused() -> None:
    empty = SegOutput(torch.zeros(1, 3, 4, 4), (), (), (16, 16))
    with pytest.raises(ValueError, match="no attention"):
        AttentionTransfer(weight=1.0).loss(torch.ones(1, 16, 16), empty, empty)
