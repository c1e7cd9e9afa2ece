"""Logit adjustment: new classes' biases come down by how much more often a step shows them, and nothing else moves."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from fakes import fake_loader
from sats.config_checks import check
from sats.engine.train import overrepresented
from sats.methods import METHODS
from sats.methods.base import end_step
from steps import STEP_1, step0, step1
from test_engine import prepared, run, small, weights


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_biases_of_new_classes_come_down_and_nothing_else(factor: float) -> None:
    method = dataclasses.replace(METHODS["mib"](), logit_adjustment=factor)
    where = dataclasses.replace(step1(method), overrepresented=8.0)
    before = {name: tensor.clone() for name, tensor in where.model.state_dict().items()}
    with torch.no_grad():
        end_step(method, where, [])
    (name,) = [name for name, tensor in where.model.state_dict().items() if not torch.equal(tensor, before[name])]
    fallen = before[name] - where.model.state_dict()[name]
    assert where.model.classifier.biases[-1].shape == fallen.shape == (STEP_1.num_new,)
    torch.testing.assert_close(fallen, torch.full_like(fallen, factor * math.log(8)))


def test_probabilities_become_those_of_the_lower_prior() -> None:
    """Bayes' rule: the odds of new against old fall by the factor by which the step shows new ones too often."""
    method = dataclasses.replace(METHODS["mib"](), logit_adjustment=1.0)
    where = dataclasses.replace(step1(method), overrepresented=3.0)
    features = torch.randn(1, where.model.classifier.weights[0].shape[1], 4, 4)

    def odds() -> torch.Tensor:
        likely = where.model.classifier(features).softmax(dim=1)
        return likely[:, STEP_1.new].sum(dim=1) / likely[:, : STEP_1.num_old].sum(dim=1)

    with torch.no_grad():
        before = odds()
        end_step(method, where, [])
        torch.testing.assert_close(odds(), before / 3)


def test_step_0_is_as_it_was() -> None:
    method = dataclasses.replace(METHODS["mib"](), logit_adjustment=1.0)
    where = dataclasses.replace(step0(method), overrepresented=8.0)
    before = where.model.classifier.biases[0].clone()
    with torch.no_grad():
        end_step(method, where, [])
    assert torch.equal(where.model.classifier.biases[0], before)


def test_a_run_is_adjusted_by_its_numbers_of_images(tmp_path: Path) -> None:
    config = small("mib")
    stream = dataclasses.replace(config.stream, protocol="9-1")
    for name, factor in (("plain", 0.0), ("adjusted", 1.0)):
        method = dataclasses.replace(config.method, logit_adjustment=factor)
        run(tmp_path / name, dataclasses.replace(config, method=method, stream=stream))
    images = [step["images"] for step in json.loads((tmp_path / "plain" / "steps.json").read_text())]
    assert images[1] < images[0]
    plain, other = weights(tmp_path / "plain", 1), weights(tmp_path / "adjusted", 1)
    (name,) = [name for name, tensor in plain.items() if not torch.equal(tensor, other[name])]
    fallen = plain[name] - other[name]
    assert not fallen[:-1].any()
    torch.testing.assert_close(fallen[-1].item(), math.log(images[0] / images[1]))


@pytest.mark.parametrize(
    ("before", "own", "exemplars", "expected"),
    [([100], 25, 0, 4.0), ([100], 25, 10, 2.0), ([25], 100, 0, 1.0), ([50, 200], 20, 0, 10.0), ([10], 8, 10, 1.0)],
)
def test_how_much_too_often(tmp_path: Path, before: list[int], own: int, exemplars: int, expected: float) -> None:
    """Against the largest step; exemplars are half of each batch."""
    shared, _ = prepared(small(), tmp_path)
    described = [{"learns": [], "images": images} for images in (*before, own)]
    (tmp_path / "steps.json").write_text(json.dumps(described))
    step = dataclasses.replace(shared.stream.steps[1], index=len(before))
    assert overrepresented(shared, step, fake_loader(own, 4, exemplars)) == expected


@pytest.mark.parametrize("changed", ["joint", "domains", "extension"])
def test_it_is_refused_where_it_would_do_nothing(changed: str) -> None:
    config = small("joint" if changed == "joint" else "mib")
    parts = {
        "joint": {},
        "domains": {"stream": dataclasses.replace(config.stream, of="domains")},
        "extension": {"extends": dataclasses.replace(config.extends, checkpoint="/somewhere")},
    }
    method = dataclasses.replace(config.method, logit_adjustment=1.0)
    with pytest.raises(ValueError, match=r"leave out method\.logit_adjustment"):
        check(dataclasses.replace(config, method=method, **parts[changed]))
