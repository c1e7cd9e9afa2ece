"""The replay of old classes' features: its statistics, its bound, and what runs make of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional

import sats
from sats import losses
from sats.methods.context import Context
from sats.methods.feature_replay import KNOWN, MEAN, VARIANCE, FeatureReplay
from sats.models import creation
from sats.models.classifier import GrowingClassifier
from sats.models.segmenter import Segmenter
from sats.types import IGNORE, Step
from test_engine import run, same_weights, small


def test_moments_are_those_of_each_class() -> None:
    features = torch.randn(2, 5, 4, 3)
    labels = torch.randint(0, 4, (2, 4, 3))
    labels[0, 0] = IGNORE
    classes = torch.tensor([1, 3, 9])
    moments = losses.class_moments(features[:1], labels[:1], classes) + losses.class_moments(
        features[1:], labels[1:], classes
    )
    means, variances = losses.mean_and_variance(moments)
    for row, number in enumerate((1, 3)):
        found = features.movedim(1, -1)[labels == number]
        assert moments[row, 0] == len(found)
        torch.testing.assert_close(means[row], found.mean(dim=0))
        torch.testing.assert_close(variances[row], found.var(dim=0, correction=0))
    assert not moments[2].any()
    assert not means[2].any()
    assert not variances[2].any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), spread=st.sampled_from([0.0, 0.1, 1.0]))
def test_the_bound_is_above_the_mean_cross_entropy(seed: int, spread: float) -> None:
    random = torch.Generator().manual_seed(seed)
    rows, biases, means = (torch.randn(*shape, generator=random) for shape in ((5, 4), (5,), (2, 4)))
    variances = spread * torch.rand(2, 4, generator=random)
    classes = torch.tensor([1, 4])
    bound = losses.expected_cross_entropy(rows, biases, means, variances, classes)
    drawn = means + variances.sqrt() * torch.randn(20_000, 2, 4, generator=random)
    each = functional.cross_entropy(
        (drawn @ rows.T + biases).flatten(0, 1), classes.repeat(20_000), reduction="none"
    ).view(20_000, 2)
    if spread == 0:
        torch.testing.assert_close(bound, each[0])
    noise = 4 * each.std(dim=0) / 20_000**0.5
    assert (bound >= each.mean(dim=0) - noise - 1e-5).all()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of SATS+."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder, small("sats-plus"))
    return folder


def test_it_is_computed_in_full_precision() -> None:
    rows, biases, means = torch.randn(5, 64), torch.randn(5), torch.randn(2, 64)
    variances, classes = torch.rand(2, 64), torch.tensor([1, 4])
    plain = losses.expected_cross_entropy(rows, biases, means, variances, classes)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(losses.expected_cross_entropy(rows, biases, means, variances, classes), plain)


def kept(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder / f"step-{step}" / "state.safetensors")


def test_a_run_keeps_a_mean_and_a_variance_of_each_class(whole: Path) -> None:
    for step, seen in ((0, 6), (1, 11)):
        state = kept(whole, step)
        assert len(state[MEAN]) == len(state[VARIANCE]) == len(state[KNOWN]) == seen
        assert not state[KNOWN][0]  # the background holds classes to come
        assert state[KNOWN][seen - 5 :].any()
        assert not state[MEAN][~state[KNOWN]].any()
        assert (state[VARIANCE] >= 0).all()


def test_old_classes_stay_as_they_were(whole: Path) -> None:
    before, after = kept(whole, 0), kept(whole, 1)
    for name in (MEAN, VARIANCE, KNOWN):
        assert torch.equal(after[name][:6], before[name])


def test_a_step_0_taken_over_from_another_method_is_looked_at_once_more(whole: Path, tmp_path: Path) -> None:
    run(tmp_path / "other", small("finetune"))
    assert same_weights(whole, tmp_path / "other", 0)
    run(tmp_path / "taken", small("sats-plus", start_from=str(tmp_path / "other" / "step-0")))
    assert same_weights(whole, tmp_path / "taken", 1)
    assert all(torch.equal(tensor, kept(tmp_path / "taken", 1)[name]) for name, tensor in kept(whole, 1).items())


def test_any_method_can_carry_it(tmp_path: Path) -> None:
    config = small("mib")
    method = dataclasses.replace(config.method, feature_replay=FeatureReplay(weight=0.5))
    run(tmp_path / "mib", dataclasses.replace(config, method=method))
    terms = [row["losses"] for row in sats.read_run(tmp_path / "mib").metrics if row["step"] == 1]
    assert terms
    assert all(row["replay"] > 0 for row in terms)
    assert all("replay" not in row["losses"] for row in sats.read_run(tmp_path / "mib").metrics if row["step"] == 0)


def test_without_weight_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureReplay, "keep", lambda *_: pytest.fail("kept"))
    run(tmp_path / "plain", small("sats"))
    assert not (tmp_path / "plain" / "step-0" / "state.safetensors").exists()


def test_only_rows_of_the_classifier_learn_from_it() -> None:
    model = creation.create("segformer-tiny", ["background", "a", "b"])
    step = Step(1, num_old=3, num_new=1)
    model.grow(step, ["c"], "background")
    channels = model.classifier.weights[0].shape[1]
    state = {
        MEAN: torch.randn(4, channels),
        VARIANCE: torch.rand(4, channels),
        KNOWN: torch.tensor([False, True, False, True]),
    }
    FeatureReplay(weight=2.0).loss(Context(step, model, None, state)).backward()
    rows = {id(row) for row in (*model.classifier.weights, *model.classifier.biases)}
    assert {id(each) for each in model.parameters() if each.grad is not None} == rows
    first, new = (weights.grad for weights in model.classifier.weights)
    assert first is not None
    assert new is not None
    assert not first[0].any()  # the background's
    assert first[1:].any()
    assert new.any()


@pytest.mark.parametrize("has_background", [True, False])
def test_without_variance_it_is_the_cross_entropy_of_the_means_among_the_classes(has_background: bool) -> None:
    classifier = GrowingClassifier(8, (3, 1), has_background)
    known = torch.tensor([False, True, True, True])
    state = {MEAN: torch.randn(4, 8), VARIANCE: torch.zeros(4, 8), KNOWN: known}
    model = cast("Segmenter", SimpleNamespace(classifier=classifier))
    loss = FeatureReplay(weight=1.0).loss(Context(Step(1, num_old=3, num_new=1), model, None, state))
    logits = classifier(state[MEAN][1:, :, None, None])[:, :, 0, 0]
    torch.testing.assert_close(loss, functional.cross_entropy(logits[:, 1:], torch.tensor([0, 1, 2])))
