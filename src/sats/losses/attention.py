"""Self-attention transfer: the student's attention rows, pooled by class region, follow the teacher's."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from sats.losses.regions import class_regions, resize_labels
from sats.types import AttentionTap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from sats.types import Pooling

ROWS_AT_ONCE = 2**24  # elements of an attention map that may exist at one time (64 MiB in float32)


def attention_transfer(
    attentions: Sequence[Tensor | AttentionTap],
    old_attentions: Sequence[Tensor | AttentionTap],
    labels: Tensor,
    pooling: Pooling = "class",
    grids: Sequence[tuple[int, int]] | None = None,
) -> Tensor:
    """SAT (SATS, section 3.3): L2 distance between pooled attention rows of student and teacher; a scalar.

    ``attentions`` and ``old_attentions`` hold one entry for each block, either a tap or a full map
    [B, heads, Q, K] softmaxed over keys; ``labels`` [B, H, W] of channels or IGNORE give the regions, at any
    resolution. ``grids`` names the (h, w) of the queries of each full map, square if left out; taps know theirs.

    ``pooling`` is "class" (the method: rows averaged over each foreground class's region; mean over heads, over
    the classes an image holds, over the batch, an image without any counting 0), "global" (rows averaged
    over all queries) or "none" (every row by itself; mean over queries). Mean over blocks in each case.
    """
    if not attentions or len(attentions) != len(old_attentions):
        raise ValueError(
            f"The attention transfer needs the same blocks of student and teacher, at least one; "
            f"got {len(attentions)} and {len(old_attentions)}."
        )
    taps = [_as_rows(attention) for attention in attentions]
    old_taps = [_as_rows(attention) for attention in old_attentions]
    device = labels.device.type
    with torch.autocast(device, enabled=False):  # small differences of small numbers: float32
        blocks = [
            _block_transfer(rows, old_rows, resize_labels(labels, grid), pooling)
            for rows, old_rows, grid in zip(taps, old_taps, grids or [rows.grid for rows in taps], strict=True)
        ]
    return torch.stack(blocks).mean()


class _Rows:
    """A source of attention rows: a tap, or a full map."""

    def __init__(self, read: Callable[[int, int], Tensor], shape: tuple[int, ...], grid: tuple[int, int]) -> None:
        self.read = read
        self.shape = shape
        self.grid = grid

    def chunks(self) -> list[tuple[int, int]]:
        """Ranges of queries whose rows fit in ROWS_AT_ONCE elements."""
        batch, heads, queries, keys = self.shape
        step = max(1, min(queries, ROWS_AT_ONCE // (batch * heads * keys)))
        return [(start, min(start + step, queries)) for start in range(0, queries, step)]


def _as_rows(attention: Tensor | AttentionTap) -> _Rows:
    if isinstance(attention, AttentionTap):
        shape = (*attention.query.shape[:3], attention.key.shape[2])
        return _Rows(attention.rows, shape, attention.grid)
    full = attention
    side = math.isqrt(full.shape[2])
    return _Rows(lambda start, stop: full[:, :, start:stop], tuple(full.shape), (side, side))


def _block_transfer(rows: _Rows, old_rows: _Rows, labels: Tensor, pooling: Pooling) -> Tensor:
    if rows.shape[2] != labels[0].numel():
        raise ValueError(
            f"The attention map has {rows.shape[2]} queries, its grid {tuple(labels.shape[1:])} has "
            f"{labels[0].numel()}: give `grids`, the (height, width) in tokens of each map."
        )
    if pooling == "none":
        return _rowwise_distance(rows, old_rows)
    weights, present = class_regions(labels) if pooling == "class" else _one_region(labels)
    with torch.no_grad():
        old_pooled = _pooled(old_rows, weights)
    distance: Tensor = torch.linalg.vector_norm(_pooled(rows, weights) - old_pooled, dim=3).mean(dim=1)
    present_count = present.sum(dim=1).clamp(min=1)
    return ((distance * present).sum(dim=1) / present_count).mean()


def _one_region(labels: Tensor) -> tuple[Tensor, Tensor]:
    """A single region of all queries: what global pooling averages over."""
    batch, queries = labels.shape[0], labels[0].numel()
    weights = torch.full((batch, 1, queries), 1 / queries, device=labels.device)
    return weights, torch.ones(batch, 1, dtype=torch.bool, device=labels.device)


def _pooled(rows: _Rows, weights: Tensor) -> Tensor:
    """Rows averaged by region, [B, heads, R, K]; no map is kept for backward, each chunk is computed again."""
    batch, heads, _, keys = rows.shape
    pooled = weights.new_zeros(batch, heads, weights.shape[1], keys)
    for start, stop in rows.chunks():
        pooled = pooled + _recomputed(partial(_pool_chunk, rows, weights, start, stop))
    return pooled


def _pool_chunk(rows: _Rows, weights: Tensor, start: int, stop: int) -> Tensor:
    return weights[:, None, :, start:stop] @ rows.read(start, stop)


def _rowwise_distance(rows: _Rows, old_rows: _Rows) -> Tensor:
    """The mean over batch, heads and queries of the distance between single rows."""
    chunks = [_recomputed(partial(_distance_chunk, rows, old_rows, start, stop)) for start, stop in rows.chunks()]
    return torch.cat(chunks, dim=2).mean()


def _distance_chunk(rows: _Rows, old_rows: _Rows, start: int, stop: int) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm(rows.read(start, stop) - old_rows.read(start, stop), dim=3)
    return distance


def _recomputed(function: Callable[[], Tensor]) -> Tensor:
    """Call ``function``, and in backward call it again instead of keeping what it computed."""
    if not torch.is_grad_enabled():
        return function()
    result: Tensor = checkpoint(function, use_reentrant=False, preserve_rng_state=False)
    return result
