"""Losses that are computed a piece at a time: the values and gradients of the straightforward versions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from sats import losses
from sats.losses import chunks
from sats.types import IGNORE

B, C, K, H, W = 2, 6, 4, 5, 7


def plain_unbiased(logits: Tensor, target: Tensor, num_old: int) -> Tensor:
    """MiB's equation 5, as it is written; labels of old classes are what they are."""
    probabilities = logits.softmax(dim=1)
    background = probabilities[:, :num_old].sum(dim=1, keepdim=True)
    wanted = torch.cat([background, probabilities[:, 1:]], dim=1).log()
    return functional.nll_loss(wanted, target, ignore_index=IGNORE, reduction="none")


def plain_distillation(logits: Tensor, old_logits: Tensor, unbiased: bool, where: Tensor | None) -> Tensor:
    """Cross-entropy against the teacher, over new channels with the background, or over old channels alone."""
    num_old = old_logits.shape[1]
    if unbiased:
        probabilities = logits.softmax(dim=1)
        background = probabilities[:, :1] + probabilities[:, num_old:].sum(dim=1, keepdim=True)
        found = torch.cat([background, probabilities[:, 1:num_old]], dim=1)
    else:
        found = logits[:, :num_old].softmax(dim=1)
    terms = -(old_logits.softmax(dim=1) * found.log()).mean(dim=1)
    return (terms if where is None else terms * where).mean()


def compare(ours: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor], logits: Tensor) -> None:
    """Value, and gradient under a weight of its own for each pixel."""
    gradients = []
    values = []
    for function in (ours, plain):
        leaf = logits.clone().requires_grad_()
        value = function(leaf)
        weights = torch.linspace(0.5, 2.0, value.numel(), dtype=value.dtype).view(value.shape)
        (value * weights).sum().backward()
        values.append(value.detach())
        gradients.append(leaf.grad)
    torch.testing.assert_close(values[0], values[1], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-8, atol=1e-10)


@pytest.fixture(params=[1, C * W, 3 * C * W, 10**6], ids=["below a row", "rows", "some rows", "whole images"])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(chunks.AT_ONCE, "cpu", request.param)


def case(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Student's logits, teacher's, and labels of every kind."""
    random = torch.Generator().manual_seed(seed)
    logits, old = (3 * torch.randn(B, n, H, W, generator=random, dtype=torch.float64) for n in (C, K))
    labels = torch.randint(0, C + 1, (B, H, W), generator=random)
    return logits, old, labels.where(labels < C, IGNORE)


@pytest.mark.usefixtures("at_once")
def test_cross_entropies_are_the_plain_ones() -> None:
    logits, _, labels = case()
    compare(
        lambda z: losses.cross_entropy(z, labels),
        lambda z: functional.cross_entropy(z, labels, ignore_index=IGNORE, reduction="none"),
        logits,
    )
    compare(
        lambda z: losses.unbiased_cross_entropy(z, labels, K, keep_old=True),
        lambda z: plain_unbiased(z, labels, K),
        logits,
    )
    merged = labels.where((labels >= K) | (labels == IGNORE), 0)
    compare(lambda z: losses.unbiased_cross_entropy(z, labels, K), lambda z: plain_unbiased(z, merged, K), logits)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("masked", [False, True])
def test_distillations_are_the_plain_ones(masked: bool) -> None:
    logits, old, labels = case()
    where = labels == 0 if masked else None
    compare(lambda z: losses.distillation(z, old, where), lambda z: plain_distillation(z, old, False, where), logits)
    compare(
        lambda z: losses.unbiased_distillation(z, old, where),
        lambda z: plain_distillation(z, old, not masked, where),
        logits,
    )
    same = logits[:, :K].clone()  # no new class
    compare(lambda z: losses.unbiased_distillation(z, old), lambda z: plain_distillation(z, old, True, None), same)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.sampled_from([1.0, 30.0, 300.0]))
def test_extreme_logits_give_finite_gradients(seed: int, size: float) -> None:
    logits, old, labels = case(seed)
    leaf = (size * logits).float().requires_grad_()
    loss = losses.unbiased_cross_entropy(leaf, labels, K, keep_old=True).mean()
    loss = loss + losses.cross_entropy(leaf, labels).mean() + losses.unbiased_distillation(leaf, size * old.float())
    loss.backward()
    assert loss.isfinite()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


def test_half_precision_sums_in_single() -> None:
    logits, old = (torch.randn(1, n, 256, 256).half() for n in (C, K))
    expected = losses.unbiased_distillation(logits.float(), old.float())
    torch.testing.assert_close(losses.unbiased_distillation(logits, old).float(), expected, rtol=1e-2, atol=0)
    impossible = torch.zeros(1, C, H, W)
    impossible[:, 0] = -torch.inf
    assert losses.cross_entropy(impossible, torch.full((1, H, W), IGNORE)).eq(0).all()


def test_a_gradient_is_given_once_and_none_where_none_is_wanted() -> None:
    logits, old, labels = case()
    leaf = logits.clone().requires_grad_()
    loss = losses.cross_entropy(leaf, labels).mean() + losses.distillation(leaf, old)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="give their gradient once"):
        loss.backward()
    with torch.no_grad():
        assert not losses.cross_entropy(leaf, labels).requires_grad
    assert not losses.unbiased_distillation(logits, old).requires_grad
