"""EWC, PI and RW against the published implementations, through the methods themselves."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from sats import losses
from sats.methods import METHODS, Method
from sats.methods.context import Context
from sats.methods.importance import FISHER, IMPORTANCE, INTEGRAL
from steps import STEP_0, STEP_1, batch, step1, terms_of, update

Golden = dict[str, Tensor]
METHODS_BY_GOLDEN = {"ewc": METHODS["ewc"](), "pi": METHODS["pi"](), "rw": METHODS["rw"](every=2)}


class Weights(nn.Module):
    """A model that is nothing but two parameters."""

    def __init__(self, golden: Golden) -> None:
        super().__init__()
        self.w = nn.Parameter(golden["traj_w_0"].clone())
        self.b = nn.Parameter(golden["traj_b_0"].clone())

    def put(self, golden: Golden, name: str) -> None:
        with torch.no_grad():
            self.w.copy_(golden[name.format("w")])
            self.b.copy_(golden[name.format("b")])


def walk(method: Method, golden: Golden, model: Weights, state: dict[str, Tensor], split: int = 6) -> None:
    """The golden trajectory as step 0; the state is put away and taken up again after ``split`` updates."""
    context = Context(STEP_0, model, None, state)
    method.begin_step(context, [])
    for number in range(6):
        if number == split:
            context = dataclasses.replace(context, state={name: value.clone() for name, value in state.items()})
        model.put(golden, f"traj_{{}}_{number}")
        model.w.grad, model.b.grad = golden[f"grad_w_{number}"].clone(), golden[f"grad_b_{number}"].clone()
        method.after_backward(context)
        assert torch.equal(model.w.grad, golden[f"grad_w_{number}"])  # step 0 has no penalty
    method.end_step(context, [])
    kept = dict(context.state)
    state.clear()
    state.update(kept)


@pytest.mark.parametrize("split", [6, 3])
@pytest.mark.parametrize("name", METHODS_BY_GOLDEN)
def test_the_penalty_is_the_published_one(golden: Golden, name: str, split: int) -> None:
    method = METHODS_BY_GOLDEN[name]
    model, state = Weights(golden), {}
    walk(method, golden, model, state, split)
    context = Context(STEP_1, model, None, state)
    method.begin_step(context, [])
    model.put(golden, "final_{}")
    model.w.grad, model.b.grad = torch.zeros_like(model.w), torch.zeros_like(model.b)
    method.after_backward(context)
    value = sum(
        losses.penalty(state[IMPORTANCE + key], parameter, golden[f"traj_{key}_5"])
        for key, parameter in model.named_parameters()
    )
    torch.testing.assert_close(value.detach(), golden[f"{name}_penalty"], rtol=1e-5, atol=0)
    expected = torch.autograd.grad(method.penalty * value, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("name", METHODS_BY_GOLDEN)
def test_importances_read_the_gradient_without_the_penalty(name: str) -> None:
    """The same update with and without a penalty leaves the same importances behind."""
    weighted, free = (dataclasses.replace(METHODS[name](), penalty=penalty) for penalty in (500.0, 0.0))
    contexts = [step1(method) for method in (weighted, free)]
    for method, where in zip((weighted, free), contexts, strict=True):
        torch.manual_seed(3)
        update(method, where, batch(STEP_1), rate=0.0)
    assert all(torch.equal(value, contexts[1].state[key]) for key, value in contexts[0].state.items())


@pytest.mark.parametrize("name", METHODS_BY_GOLDEN)
def test_the_penalty_in_the_log_is_that_of_the_gradient(name: str) -> None:
    method = METHODS[name]()
    where = step1(method)
    terms = terms_of(method, where)
    assert not terms["penalty"].requires_grad
    assert terms["penalty"] > 0
    twice = dataclasses.replace(method, penalty=2 * method.penalty)
    torch.testing.assert_close(terms_of(twice, where)["penalty"], 2 * terms["penalty"])


@pytest.mark.parametrize("name", METHODS_BY_GOLDEN)
def test_importance_accumulates_and_new_rows_have_no_penalty(name: str) -> None:
    where = step1(METHODS[name]())
    newest = "network.decode_head.classifier.weights.1"
    assert IMPORTANCE + newest not in where.state
    assert IMPORTANCE + newest.replace(".1", ".0") in where.state
    kept = FISHER if name in ("ewc", "rw") else INTEGRAL
    assert kept + newest in where.state


KEPT = {"ewc": {"fisher", "reference"}, "pi": {"total", "reference"}, "rw": {"fisher", "old-score", "reference"}}


@pytest.mark.parametrize("name", METHODS_BY_GOLDEN)
def test_only_what_the_next_step_needs_is_kept(golden: Golden, name: str) -> None:
    state: dict[str, Tensor] = {}
    walk(METHODS_BY_GOLDEN[name], golden, Weights(golden), state)
    assert {key.split("/")[0] for key in state} == KEPT[name]


def test_an_update_that_overflowed_is_not_counted() -> None:
    method = METHODS["ewc"]()
    where = step1(method)
    before = {name: value.clone() for name, value in where.state.items()}
    for parameter in where.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    next(where.model.parameters()).grad.fill_(float("inf"))
    method.after_backward(where)
    assert all(torch.equal(where.state[name], value) for name, value in before.items())


def test_parameters_without_gradient_are_left_out() -> None:
    method = METHODS["ewc"](frozen_encoder=True)
    where = step1(method)
    encoder = [name for name in where.state if name.startswith(IMPORTANCE + "network.segformer")]
    assert not encoder
    update(method, where, batch(STEP_1))
