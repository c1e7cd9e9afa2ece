"""What holds for every method: finite terms, gradients in the student alone, and the parts it may carry."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sats import losses
from sats.config import RunConfig
from sats.methods import METHODS, Method
from sats.methods.attention_transfer import AttentionTransfer
from sats.methods.base import freezes_encoder, needs_teacher
from sats.methods.finetune import Finetune
from sats.methods.pseudo_labelling import THRESHOLDS, gather_thresholds
from sats.methods.sats import Sats
from sats.recipes import recipe
from sats.types import BACKGROUND, Init, Pooling, SegOutput, Step
from steps import STEP_0, STEP_1, at, batch, outputs, step1, terms_of, update


def with_transfer(method: Method) -> Method:
    return dataclasses.replace(method, attention_transfer=AttentionTransfer(weight=20.0))


STREAMED = {name: kind() for name, kind in METHODS.items() if kind.data == "stream"}
CASES = [
    *[
        pytest.param(method, step, id=f"{name}-{step.index}")
        for name, method in STREAMED.items()
        for step in (STEP_0, STEP_1)
    ],
    pytest.param(METHODS["joint"](), STEP_0, id="joint-0"),
]
CARRIERS = [
    pytest.param(with_transfer(method), id=name) for name, method in STREAMED.items() if not freezes_encoder(method)
]


@pytest.mark.parametrize(("method", "step"), CASES)
def test_terms_are_finite_and_gradients_reach_the_student_alone(method: Method, step: Step) -> None:
    torch.manual_seed(0)
    where = at(method, step)
    terms = terms_of(method, where)
    assert terms
    assert all(term.shape == () and term.isfinite() for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    trained = [parameter for parameter in where.model.parameters() if parameter.requires_grad]
    assert trained
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained)
    if where.teacher is not None:
        assert all(parameter.grad is None for parameter in where.teacher.parameters())


LOW = [dataclasses.replace(method, distill_at="logits") for method in STREAMED.values()]


@pytest.mark.parametrize("method", LOW, ids=list(STREAMED))
def test_the_old_model_may_be_asked_at_the_heads_resolution(method: Method) -> None:
    """Other values, unless the method never asks it pixel by pixel, and gradients that are finite."""
    where = step1(method)
    data = batch(STEP_1)
    terms = terms_of(method, where, data)
    torch.stack(list(terms.values())).sum().backward()
    assert all(term.isfinite() for term in terms.values())
    trained = [parameter for parameter in where.model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained)
    if not needs_teacher(method, STEP_1):
        return
    where.model.eval()
    student, teacher = outputs(method, where, data)
    new, old, mask, size = method.distilled(where, data, student, teacher)
    assert mask is None
    assert size == old.shape[2:] == teacher.logits.shape[2:]
    assert new is student.logits
    if method.learns_pseudo_labels():
        targets = method.targets(where, data, teacher)
        known = data.labels != BACKGROUND
        assert targets.shape == data.labels.shape
        assert torch.equal(targets[known], data.labels[known])


@pytest.mark.parametrize("method", CARRIERS)
def test_a_frozen_teacher_stays_frozen_through_an_update(method: Method) -> None:
    where = step1(method)
    assert where.teacher is not None
    before = {name: value.clone() for name, value in where.teacher.state_dict().items()}
    update(method, where, batch(STEP_1), rate=0.1)
    after = where.teacher.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())  # batch-norm statistics included


@pytest.mark.parametrize("method", CARRIERS)
def test_every_method_can_carry_the_attention_transfer(method: Method) -> None:
    terms = terms_of(method, step1(method))
    assert terms["attention"] > 0
    without = dataclasses.replace(method, attention_transfer=AttentionTransfer())
    assert "attention" not in terms_of(without, step1(without))


@pytest.mark.parametrize("method", CARRIERS)
def test_the_transfers_own_gradient_reaches_the_students_queries_and_keys(method: Method) -> None:
    where = step1(method)
    terms_of(method, where)["attention"].backward()
    for stage in (0, 3):
        block = where.model.network.get_submodule(where.model.default_taps[stage])
        grads = [parameter.grad for name, parameter in block.named_parameters() if "q_proj" in name or "query" in name]
        grads += [parameter.grad for name, parameter in block.named_parameters() if "k_proj" in name or "key" in name]
        assert len(grads) >= 4
        assert all(grad is not None and grad.abs().sum() > 0 for grad in grads if grad is None or grad.dim() > 1)
    assert all(parameter.grad is None for parameter in where.teacher.parameters())


@pytest.mark.parametrize("of", ["attention", "features"])
@pytest.mark.parametrize("pooling", ["class", "global", "none", "class-pair"])
def test_the_transfers_weight_is_a_factor_whatever_is_transferred(pooling: Pooling, of: str) -> None:
    values = []
    for weight in (1.0, 20.0):
        part = AttentionTransfer(weight=weight, pooling=pooling, of=of)
        carrier = dataclasses.replace(METHODS["finetune"](), attention_transfer=part)
        where = step1(carrier)
        torch.manual_seed(1)
        if (pooling, of) == ("class-pair", "features"):
            with pytest.raises(ValueError, match="no keys"):
                terms_of(carrier, where)
            return
        values.append(terms_of(carrier, where)["attention"].item())
    assert values[0] > 0
    assert values[1] == pytest.approx(20 * values[0], rel=1e-4)


def test_which_blocks_are_tapped() -> None:
    model = step1(METHODS["finetune"]()).model
    first = "segformer.stages.0.blocks.{}.attention"

    def taps(**settings: object) -> tuple[str, ...]:
        return AttentionTransfer(weight=1.0, **settings).taps(model)

    assert taps() == model.default_taps
    assert taps(blocks="first", stages=(0,)) == (first.format(0),)
    assert taps(blocks="all", stages=(0,)) == (first.format(0), first.format(1))
    assert taps(stages=(3, 1)) == (model.default_taps[3], model.default_taps[1])
    assert len(taps(blocks="all")) == 5
    assert taps(of="features") == ()
    assert AttentionTransfer().taps(model) == ()
    with pytest.raises(ValueError, match="0 to 3"):
        taps(stages=(4,))


@pytest.mark.parametrize("init", ["background", "random", "zero", "nest"])
@pytest.mark.parametrize("name", STREAMED)
def test_every_init_attaches_to_every_method(name: str, init: Init) -> None:
    method = dataclasses.replace(STREAMED[name], init=init)
    where = step1(method)
    torch.stack(list(terms_of(method, where).values())).sum().backward()
    newest = where.model.classifier.weights[-1]
    assert newest.grad is not None
    assert newest.grad.isfinite().all()


@pytest.mark.parametrize("name", STREAMED)
def test_every_method_can_freeze_the_encoder(name: str) -> None:
    method = dataclasses.replace(STREAMED[name], frozen_encoder=True, attention_transfer=AttentionTransfer())
    where = step1(method)
    before = {key: value.clone() for key, value in where.model.encoder.state_dict().items()}
    learned = where.model.classifier.weights[-1].clone()
    update(method, where, batch(STEP_1), rate=0.1)
    assert all(torch.equal(value, before[key]) for key, value in where.model.encoder.state_dict().items())
    assert not torch.equal(learned, where.model.classifier.weights[-1])
    assert not where.model.encoder.training
    first = at(method, STEP_0)
    assert all(parameter.requires_grad for parameter in first.model.encoder.parameters())


def configured(method: Method) -> RunConfig[Method]:
    return dataclasses.replace(recipe("scenes", "finetune"), method=method)


@pytest.mark.parametrize("name", STREAMED)
def test_a_frozen_encoder_refuses_the_transfer_in_one_sentence(name: str) -> None:
    method = with_transfer(dataclasses.replace(STREAMED[name], frozen_encoder=True))
    with pytest.raises(ValueError, match=r"^The encoder is frozen after step 0, so its attention cannot move"):
        configured(method)
    if not freezes_encoder(STREAMED[name]):
        configured(with_transfer(STREAMED[name]))


@pytest.mark.parametrize("name", STREAMED)
def test_only_methods_with_reserved_rows_start_from_them(name: str) -> None:
    method = dataclasses.replace(STREAMED[name], init="reserved")
    if name in ("ssul", "dft"):
        configured(method)
    else:
        with pytest.raises(ValueError, match="reserved"):
            configured(method)


def test_only_those_that_need_a_teacher_get_one() -> None:
    finetune, sats = METHODS["finetune"](), METHODS["sats"]()
    assert not needs_teacher(finetune, STEP_1)
    assert needs_teacher(with_transfer(finetune), STEP_1)
    assert needs_teacher(sats, STEP_1)
    assert not needs_teacher(sats, STEP_0)


def test_pseudo_labels_alone_ask_for_a_teacher() -> None:
    class Labelling(Finetune):
        uses_pseudo_labels = True

    assert needs_teacher(Labelling(), STEP_1)


OWN_STEP_0 = ("dft", "ewc", "joint", "lwf-mc", "pi", "rw", "ssul")


def test_step_0_is_plain_cross_entropy_so_that_methods_share_it() -> None:
    keys = {name: kind().step0_key() for name, kind in METHODS.items()}
    assert len({keys[name] for name in OWN_STEP_0}) == len(OWN_STEP_0)
    expected = None
    for name in METHODS.keys() - set(OWN_STEP_0):
        method = METHODS[name]()
        torch.manual_seed(0)
        terms = terms_of(method, at(method, STEP_0))
        assert list(terms) == ["cross_entropy"]
        assert keys[name] == "cross-entropy"
        expected = terms["cross_entropy"] if expected is None else expected
        assert torch.equal(terms["cross_entropy"], expected), name


def test_sats_is_the_papers_total_loss() -> None:
    """CE(pseudo-labels) + 20 UNKD + 20 SAT, put together here from the losses alone."""
    method = METHODS["sats"]()
    torch.manual_seed(0)
    where = step1(method)
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


def test_sats_without_pseudo_labels_learns_the_labels_as_they_are() -> None:
    method = Sats(pseudo_labels=False)
    where = step1(method)
    data = batch(STEP_1)
    _, teacher = outputs(method, where, data)
    assert teacher is not None
    assert torch.equal(method.targets(where, data, teacher), data.labels)
    assert THRESHOLDS in where.state  # the transfer's regions are still the old model's classes
    regions = method.regions(where, data, data.labels, teacher)
    assert not torch.equal(regions, data.labels)
    alone = Sats(pseudo_labels=False, attention_transfer=AttentionTransfer())
    assert THRESHOLDS not in step1(alone).state


def test_thresholds_are_gathered_over_all_batches_and_summed_over_processes() -> None:
    method = METHODS["sats"]()
    where = step1(method)
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
    where = step1(METHODS["sats"]())
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
