"""Losses that are computed a piece at a time: the values and gradients of the straightforward versions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from sats import losses
from sats.losses import enlarged, portions
from sats.losses.classification import one_hot
from sats.losses.portions import Portion
from sats.losses.recomputation import settled
from sats.types import IGNORE

B, C, K, H, W = 3, 6, 4, 5, 7


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


def test_a_gradient_of_the_gradient_is_refused() -> None:
    logits, old = torch.randn(B, C, H, W, requires_grad=True), torch.randn(B, K, H, W)
    target = torch.randint(C, (B, H, W))
    for loss in (
        losses.cross_entropy(logits, target).mean(),
        losses.unbiased_distillation(logits, old),
        settled(lambda leaf: leaf.square().mean(dim=(1, 2, 3)), (logits,)).mean(),
    ):
        with pytest.raises(RuntimeError, match="first derivative only"):
            torch.autograd.grad(loss, logits, create_graph=True)


PORTIONS = {
    "below a row": Portion(1, 0),
    "rows": Portion(C * W, 0),
    "some rows": Portion(3 * C * W, 0),
    "whole images": Portion(10**6, 0),
    "images together": Portion(10**6, 10**6),
    "as many as fit": Portion(2 * C * H * W, 2 * C * H * W),
    "images together, some rows": Portion(3 * C * W, 10**6),
    "two of three, enlarged": Portion(10**6, 2 * C * (4 * H) * (3 * W)),
}


@pytest.fixture(params=PORTIONS.values(), ids=PORTIONS)
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(portions.WAYS, "cpu", dataclasses.replace(portions.PROCESSOR, logits=request.param))


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
    some_old = (torch.arange(W) % 2 == 0).expand(B, H, W)
    compare(
        lambda z: losses.partial_cross_entropy(z, labels, some_old, K),
        lambda z: torch.where(
            some_old,
            plain_unbiased(z, torch.zeros_like(labels), K),
            functional.cross_entropy(z, labels, ignore_index=IGNORE, reduction="none"),
        ),
        logits,
    )
    merged = labels.where((labels >= K) | (labels == IGNORE), 0)
    compare(lambda z: losses.unbiased_cross_entropy(z, labels, K), lambda z: plain_unbiased(z, merged, K), logits)


@pytest.mark.usefixtures("at_once")
def test_binary_cross_entropies_are_the_plain_ones() -> None:
    logits, old, labels = case()
    wanted = one_hot(labels, C).double()

    def plain(z: Tensor, to: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(z, to, reduction="none").sum(dim=1)

    compare(lambda z: losses.binary_cross_entropy(z, labels), lambda z: plain(z, wanted) * (labels != IGNORE), logits)
    compare(lambda z: losses.binary_distillation(z, old), lambda z: plain(z[:, :K], old.sigmoid()).mean(), logits)


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
    new = labels >= K
    compare(
        lambda z: losses.distillation_beside_labels(z, old, new, (H, W)),
        lambda z: plain_distillation(z, old, True, ~new) + plain_distillation(z, old, False, new),
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
    loss = loss + losses.partial_cross_entropy(leaf, labels, labels == 0, K).mean()
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


def test_a_gradient_is_given_where_one_is_wanted_and_by_distillation_once() -> None:
    logits, old, labels = case()
    leaf = logits.clone().requires_grad_()
    loss = losses.cross_entropy(leaf, labels).mean()
    loss.backward(retain_graph=True)
    once = leaf.grad.clone()
    loss.backward()
    torch.testing.assert_close(leaf.grad, 2 * once)
    distilled = losses.distillation(leaf, old)
    distilled.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="gives its gradient once"):
        distilled.backward()
    with torch.no_grad():
        assert not losses.cross_entropy(leaf, labels).requires_grad
    assert not losses.unbiased_distillation(logits, old).requires_grad


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=60, deadline=None)
@given(
    low=SIZES,
    high=SIZES,
    at_once=st.sampled_from([1, 100, 500, 2**19]),
    images=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_enlarged_logits_are_those_of_interpolate(
    low: tuple[int, int], high: tuple[int, int], at_once: int, images: int, seed: int
) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(3, 3, *low, dtype=torch.float64, requires_grad=True)
    whole = functional.interpolate(logits, size=high, mode="bilinear", align_corners=False)
    weights = torch.randn_like(whole)
    (expected,) = torch.autograd.grad(whole, logits, weights)
    with pytest.MonkeyPatch.context() as patch:
        portion = Portion(at_once, images * 3 * high[0] * high[1])
        patch.setitem(portions.WAYS, "cpu", dataclasses.replace(portions.PROCESSOR, logits=portion))
        for large in enlarged.enlarged(logits, high):
            channels = torch.zeros_like(whole)
            for rows in large.pieces():
                read = large.read(rows)
                for channel, values in enumerate(read):
                    large.put(values, channels[:, channel], rows)
                large.add(rows, torch.stack([large.part(weights[:, channel], rows) for channel in range(3)]))
            torch.testing.assert_close(channels[large.images], whole[large.images].detach())
            torch.testing.assert_close(large.gradient(), expected[large.images])


LOSSES = {
    "cross-entropy": lambda z, _old, labels, _size: losses.cross_entropy(z, labels),
    "unbiased cross-entropy": lambda z, _old, labels, _size: losses.unbiased_cross_entropy(z, labels, K),
    "binary cross-entropy": lambda z, _old, labels, _size: losses.binary_cross_entropy(z, labels),
    "distillation": lambda z, old, labels, size: losses.distillation(z, old, labels == 0, size),
    "unbiased distillation": lambda z, old, _labels, size: losses.unbiased_distillation(z, old, size=size),
    "binary distillation": lambda z, old, _labels, size: losses.binary_distillation(z, old, size),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_losses_of_the_heads_logits_are_those_of_the_logits_brought_to_full_resolution(
    loss: Callable[..., Tensor],
) -> None:
    logits, old, labels = case()
    size = (4 * H, 3 * W)
    labels = labels.repeat_interleave(4, 1).repeat_interleave(3, 2)
    old = old[:, :, :3, :4]  # the teacher's head may have another resolution

    def whole(part: Tensor) -> Tensor:
        return functional.interpolate(part, size=size, mode="bilinear", align_corners=False)

    compare(lambda z: loss(z, old, labels, size), lambda z: loss(whole(z), whole(old), labels, None), logits)


def test_answers_of_the_heads_logits_are_those_at_full_resolution() -> None:
    _, old, labels = case()
    size = (4 * H, 4 * W)
    labels = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    whole = functional.interpolate(old, size=size, mode="bilinear", align_corners=False)
    thresholds = torch.full((K,), 0.1, dtype=torch.float64)
    found = losses.pseudo_labels(labels, old, thresholds, size)
    torch.testing.assert_close(found, losses.pseudo_labels(labels, whole, thresholds))
    assert (found == IGNORE).any()
    assert (found[labels == 0] > 0).any()
    classes, confidence = losses.most_likely(old, size)
    torch.testing.assert_close(classes, whole.argmax(dim=1))
    torch.testing.assert_close(confidence, whole.sigmoid().amax(dim=1))
    counts = losses.EntropyHistogram(K, labels.device), losses.EntropyHistogram(K, labels.device)
    counts[0].add(labels, old, size)
    counts[1].add(labels, whole)
    torch.testing.assert_close(counts[0].counts, counts[1].counts)


def test_autocast_leaves_the_losses_in_full_precision() -> None:
    logits, old, labels = case()
    logits, old = logits.float(), old.float()
    labels = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    exact = losses.cross_entropy(logits, labels), losses.distillation(logits, old, size=(20, 28))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = losses.cross_entropy(logits, labels), losses.distillation(logits, old, size=(20, 28))
    torch.testing.assert_close(cast, exact, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_a_settled_loss_has_the_gradient_of_its_function(kind: torch.dtype) -> None:
    left, right = torch.rand(3, 4).to(kind), torch.rand(3, 4).to(kind)
    weights = torch.tensor([1.0, 0.0, 3.0])

    def squares(left: Tensor, right: Tensor) -> Tensor:
        return (left.float() * right.float()).square().mean(dim=1)

    leaf, plain = left.clone().requires_grad_(), left.clone().requires_grad_()
    ours, expected = settled(squares, (leaf, right)), squares(plain, right)
    (ours * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(leaf.grad, plain.grad)
    assert right.grad is None
    assert not settled(squares, (left, right)).requires_grad


def test_a_settled_gradient_too_small_for_half_precision_is_kept_until_it_is_scaled() -> None:
    leaf = torch.ones(1, 1, dtype=torch.float16, requires_grad=True)
    loss = settled(lambda value: value.sum(dim=1) * 1e-9, (leaf,))
    (loss * 2.0**20).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.item() == pytest.approx(1e-9 * 2**20, rel=1e-2)
