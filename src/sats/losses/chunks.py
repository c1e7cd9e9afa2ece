"""Losses of logits, a piece at a time: what is made of all channels at full resolution is never larger than a piece.

A piece fits into a processor's cache, or keeps a GPU busy. What is computed of it is forgotten with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch.autograd import Function

from sats.losses.derivatives import only_first
from sats.losses.enlarged import Enlarged, enlarged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class PixelTerm(Protocol):
    """A loss of each pixel by itself, of logits [C, rows, W] and labels [rows, W] of channels or IGNORE."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The losses [rows, W]."""

    def gradient(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """The gradient [C, rows, W] in the logits, times ``weights`` [rows, W]."""


def pixel_losses(term: PixelTerm, logits: Tensor, target: Tensor) -> Tensor:
    """The loss of each pixel [B, H, W], of ``logits`` [B, C, h, w] at the resolution of ``target`` [B, H, W]."""
    return cast("Tensor", cast("Any", _PixelLosses).apply(term, logits, target))


class _PixelLosses(Function):
    """A pixel's weight is known in backward only: probabilities are computed again there, so that none are kept."""

    @staticmethod
    def forward(ctx: Any, term: PixelTerm, logits: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(logits, target)
        ctx.term = term
        losses = logits.new_empty(target.shape, dtype=torch.promote_types(logits.dtype, torch.float32))
        for large in _enlarged(logits, target):
            for rows in large.pieces():
                large.put(term.loss(large.read(rows), large.part(target, rows)), losses, rows)
        return losses

    @staticmethod
    @only_first
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        logits, target = ctx.saved_tensors
        total = torch.empty_like(logits)
        for large in _enlarged(logits, target):
            for rows in large.pieces():
                labels, weights = large.part(target, rows), large.part(gradient, rows)
                large.add(rows, ctx.term.gradient(large.read(rows), labels, weights))
            total[large.images] = large.gradient()
        return None, total, None


def _enlarged(logits: Tensor, target: Tensor) -> Iterator[Enlarged]:
    return enlarged(logits, (target.shape[1], target.shape[2]))


Comparison = Callable[["Tensor", "Tensor"], "tuple[Tensor, Tensor]"]
"""Of logits [C, rows, W] and a teacher's [K, rows, W]: the loss [rows, W], and its gradient in the first channels."""


def compared(
    comparison: Comparison,
    logits: Tensor,
    old_logits: Tensor,
    where: Tensor | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """The mean over all pixels of what ``comparison`` finds; those outside ``where`` [B, *size] count as zeros.

    ``logits`` [B, C, h, w] and ``old_logits`` [B, K, h, w] are brought to ``size``; None: that of ``logits``.
    """
    size = size or (logits.shape[2], logits.shape[3])
    return cast("Tensor", cast("Any", _Compared).apply(comparison, logits, old_logits, where, size))


class _Compared(Function):
    """The loss is a scalar, so forward computes its gradient but for a factor; backward can use it once."""

    @staticmethod
    def forward(
        ctx: Any,
        comparison: Comparison,
        logits: Tensor,
        old_logits: Tensor,
        where: Tensor | None,
        size: tuple[int, int],
    ) -> Tensor:
        ctx.gradient = torch.empty_like(logits) if ctx.needs_input_grad[1] else None
        ctx.count = len(logits) * size[0] * size[1]
        total = torch.zeros((), dtype=torch.promote_types(logits.dtype, torch.float32), device=logits.device)
        for new in enlarged(logits, size):
            old = Enlarged(old_logits, size, new.images)
            for rows in new.pieces():
                losses, gradient = comparison(new.read(rows), old.read(rows))
                mask = 1 if where is None else new.part(where, rows)
                total += (losses * mask).sum()
                if ctx.gradient is not None:
                    new.add(rows, gradient.mul_(mask))
            if ctx.gradient is not None:
                ctx.gradient[new.images] = new.gradient()
        mean: Tensor = total / ctx.count
        return mean

    @staticmethod
    @only_first
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None, None]:
        found: Tensor | None = ctx.gradient
        if found is None:
            raise RuntimeError("Distillation gives its gradient once: compute it again for a second backward.")
        ctx.gradient = None
        return None, found.mul_(gradient / ctx.count), None, None, None
