"""The optimizer: its schedule, and a rate for each part of the model and each step."""

from __future__ import annotations

import pytest

from sats.config import OptimConfig, PartFactors
from sats.engine import build
from sats.engine.optim import make_optimizer, rate_factor, set_rates
from test_engine import small


def test_poly_schedule_by_hand() -> None:
    config = OptimConfig(power=0.9)
    assert [rate_factor(i, 4, config) for i in range(4)] == pytest.approx([1, 0.75**0.9, 0.5**0.9, 0.25**0.9])
    assert [rate_factor(i, 4, OptimConfig(power=0)) for i in range(4)] == [1, 1, 1, 1]


def test_warm_up_rises_linearly() -> None:
    config = OptimConfig(power=0, warmup=0.4)
    assert [rate_factor(i, 10, config) for i in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_each_part_and_step_has_a_rate_of_its_own(name: str) -> None:
    model = build.first_model(small(), build.build_stream(small()))
    config = OptimConfig(
        optimizer=name,
        lr=0.1,
        lr_later=0.01,
        factors=PartFactors(encoder=0.5, classifier=10),
        factors_later=PartFactors(decoder=3),
    )
    rates = [{g["name"]: g["lr"] for g in make_optimizer(model, config, step).param_groups} for step in (0, 1)]
    assert rates[0] == pytest.approx({"encoder": 0.05, "decoder": 0.1, "classifier": 1.0})
    assert rates[1] == pytest.approx({"encoder": 0.01, "decoder": 0.03, "classifier": 0.01})
    optimizer = make_optimizer(model, config, 0)
    for _ in range(2):  # factors apply to the base, not to each other
        set_rates(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.025, 0.05, 0.5])


def test_frozen_parts_have_no_group() -> None:
    model = build.first_model(small(), build.build_stream(small()))
    model.network.segformer.requires_grad_(requires_grad=False)
    assert [group["name"] for group in make_optimizer(model, OptimConfig(), 0).param_groups] == [
        "decoder",
        "classifier",
    ]
