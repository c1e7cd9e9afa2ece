"""Losses of full-resolution logits, a piece at a time: what one computes on the way then fits into the cache.

Such a loss finds its gradient in forward, keeps it, and hands it out once, in place, in backward: nothing else as large
as the logits is ever made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.autograd import Function

Chunk = tuple[int, slice]
"""An image of the batch, and some of its rows."""
AT_ONCE = {"cpu": 2**19}
"""Logits of a chunk, by kind of device: 2 MiB fit into a processor's cache, and are not asked of the system anew."""
ELSEWHERE = 2**27


def chunks(logits: Tensor) -> Iterator[Chunk]:
    """Parts of ``logits`` [B, C, H, W], in order: index ``logits[image, :, rows]``, [C, rows, W]."""
    batch, channels, height, width = logits.shape
    limit = AT_ONCE.get(logits.device.type, ELSEWHERE)
    rows = max(1, min(height, limit // (channels * width)))
    for image in range(batch):
        for start in range(0, height, rows):
            yield image, slice(start, start + rows)


def apply(function: type[Function], *arguments: object) -> Tensor:
    """What ``function`` makes of its arguments."""
    found: Tensor = function.apply(*arguments)
    return found


def keep(ctx: Any, gradient: Tensor) -> None:
    """Keep what forward found for backward."""
    ctx.gradient = gradient


def kept(ctx: Any) -> Tensor:
    """What forward found, to be changed in place; RuntimeError when backward is called a second time."""
    gradient: Tensor | None = ctx.gradient
    if gradient is None:
        raise RuntimeError("These losses give their gradient once: compute them again for a second backward.")
    ctx.gradient = None
    return gradient
