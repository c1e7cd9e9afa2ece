"""SATS+: what each of its mends makes of SATS's loss."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sats import losses
from sats.methods.feature_replay import FeatureReplay
from sats.methods.sats import Sats
from sats.methods.sats_plus import SatsPlus
from sats.types import BACKGROUND, IGNORE
from steps import STEP_1, batch, outputs, step1, terms_of

PLAIN = SatsPlus(
    pseudo_labels=True,
    uncertain_pixels=False,
    beside_labels=False,
    init="background",
    feature_replay=FeatureReplay(weight=0.0),
)


def terms(method: Sats) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    where = step1(method)
    where.model.eval()  # without dropout
    return terms_of(method, where)


def test_without_its_mends_it_is_sats() -> None:
    found, expected = terms(PLAIN), terms(Sats())
    assert found.keys() == expected.keys()
    for name, term in expected.items():
        torch.testing.assert_close(found[name], term, msg=name)


@pytest.mark.parametrize(
    ("change", "value", "changed"),
    [
        ("pseudo_labels", False, "cross_entropy"),
        ("uncertain_pixels", True, "cross_entropy"),
        ("beside_labels", True, "distillation"),
    ],
)
def test_a_change_of_sats_plus_changes_one_term(change: str, value: bool, changed: str) -> None:
    found, before = terms(dataclasses.replace(PLAIN, **{change: value})), terms(PLAIN)
    assert {name for name in before if not torch.allclose(found[name], before[name])} == {changed}


def test_uncertain_pixels_teach_that_they_are_old() -> None:
    method = dataclasses.replace(PLAIN, uncertain_pixels=True)
    where, data = step1(method), batch(STEP_1)
    where.model.eval()
    student, teacher = outputs(method, where, data)
    targets = method.targets(where, data, teacher)
    unsure = (targets == IGNORE) & (data.labels == BACKGROUND)
    assert unsure.any()
    found = method.losses(where, data, targets, student, teacher)["cross_entropy"]
    probabilities = student.pixel_logits.softmax(dim=1)
    old = -probabilities[:, : STEP_1.num_old].sum(dim=1).log()
    expected = torch.where(unsure, old, losses.cross_entropy(student.pixel_logits, targets)).mean()
    torch.testing.assert_close(found, expected)


def test_without_pseudo_labels_all_background_teaches_that_it_is_old() -> None:
    method = dataclasses.replace(PLAIN, pseudo_labels=False, uncertain_pixels=True)
    where, data = step1(method), batch(STEP_1)
    where.model.eval()
    student, teacher = outputs(method, where, data)
    targets = method.targets(where, data, teacher)
    found = method.losses(where, data, targets, student, teacher)["cross_entropy"]
    expected = losses.unbiased_cross_entropy(student.logits, data.labels, STEP_1.num_old, keep_old=True).mean()
    torch.testing.assert_close(found, expected)


def test_where_a_label_is_new_the_teacher_does_not_hold_it_down() -> None:
    """Raising the logit that the label asks for costs nothing there; SATS's distillation goes against it."""
    method = dataclasses.replace(PLAIN, beside_labels=True)
    where, data = step1(method), batch(STEP_1)
    student, teacher = outputs(method, where, data)
    assert teacher is not None
    new = data.labels >= STEP_1.first_new
    new &= data.labels < STEP_1.num_seen
    assert new.any()
    logits = student.pixel_logits.detach()
    pull = {}
    for mended in (True, False):
        leaf = logits.clone().requires_grad_()
        one = dataclasses.replace(student, logits=leaf)
        either = dataclasses.replace(method, beside_labels=mended)
        either.losses(where, data, data.labels, one, teacher)["distillation"].backward()
        assert leaf.grad is not None
        pull[mended] = leaf.grad[:, STEP_1.num_old :].movedim(1, -1)
    assert not pull[True][new].any()
    assert pull[False][new].any()
    torch.testing.assert_close(pull[True][~new], pull[False][~new])
