"""Losses of which little is kept for backward: their gradient at most, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from sats.losses.derivatives import only_first

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


def recomputed(function: Callable[[], Tensor]) -> Tensor:
    """Call ``function``, and in backward call it again instead of keeping what it computed."""
    if not torch.is_grad_enabled():
        return function()
    result: Tensor = checkpoint(function, use_reentrant=False, preserve_rng_state=False)
    return result


def settled(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """``function`` of ``inputs`` [B, ...]: a loss for each image [B], which depends on no other image.

    Its gradient is computed at once, and alone kept for backward, in float32: what is computed on the way
    to it, such as attention maps, is gone when this returns, and nothing is computed twice.
    """
    if not torch.is_grad_enabled() or not any(each.requires_grad for each in inputs):
        return function(*inputs)
    return cast("Tensor", cast("Any", _Settled).apply(function, *inputs))


class _Settled(Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        leaves = [each.detach().float().requires_grad_(each.requires_grad) for each in inputs]
        with torch.enable_grad():
            losses = function(*leaves)
            learning = [leaf for leaf in leaves if leaf.requires_grad]
            gradients = iter(torch.autograd.grad(losses.sum(), learning))
        ctx.gradients = [next(gradients) if leaf.requires_grad else None for leaf in leaves]
        ctx.types = [each.dtype for each in inputs]
        return losses.detach()

    @staticmethod
    @only_first
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        images = len(upstream)
        found = [
            None if own is None else (own * upstream.view(images, *(1,) * (own.dim() - 1))).to(kind)
            for own, kind in zip(ctx.gradients, ctx.types, strict=True)
        ]
        return None, *found
