"""Self-attention transfer: the student's attention rows, pooled by class region, follow the teacher's."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sats.losses.regions import class_members, class_regions, foreground, resize_labels
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
    key_grids: Sequence[tuple[int, int]] | None = None,
) -> Tensor:
    """SAT (SATS, section 3.3): L2 distance between pooled attention rows of student and teacher; a scalar.

    ``attentions`` and ``old_attentions`` hold one entry for each block, either a tap or a full map
    [B, heads, Q, K] softmaxed over keys; ``labels`` [B, H, W] of channels or IGNORE give the regions, at any
    resolution. ``grids`` names the (h, w) of the queries of each full map and ``key_grids`` that of its keys, square
    if left out; taps know theirs.

    ``pooling`` is "class" (the method: rows averaged over each foreground class's region; mean over heads, over
    the classes an image holds, over the batch, an image without any counting 0), "global" (rows averaged
    over all queries), "none" (every row by itself; mean over queries) or "class-pair" (as "class", and each pooled row
    summed over the keys of each foreground class: how much class c attends to class c'). Mean over blocks in each case.
    """
    if not attentions or len(attentions) != len(old_attentions):
        raise ValueError(
            f"The attention transfer needs the same blocks of student and teacher, at least one; "
            f"got {len(attentions)} and {len(old_attentions)}."
        )
    unknown = [None] * len(attentions)
    wanted = zip(grids or unknown, key_grids or unknown, strict=True)
    with torch.autocast(labels.device.type, enabled=False):  # small differences of small numbers: float32
        distances = [
            _block_transfer(_as_rows(attention, *sides), _as_rows(old_attention, *sides), labels, pooling)
            for attention, old_attention, sides in zip(attentions, old_attentions, wanted, strict=True)
        ]
    return torch.stack(distances).mean()


def feature_transfer(
    features: Sequence[Tensor], old_features: Sequence[Tensor], labels: Tensor, pooling: Pooling = "class"
) -> Tensor:
    """The same distance between pooled *features*, SATS's ablation for models without attention; a scalar.

    ``features`` and ``old_features`` are maps [B, c, h, w] of the same layers; what a row of attention is there is
    the c features of a place here. "class-pair" pooling has no meaning for them.
    """
    if pooling == "class-pair":
        raise ValueError('Features have no keys to pool: take pooling "class", "global" or "none".')
    places = [feature.flatten(2).transpose(1, 2)[:, None] for feature in features]
    old_places = [feature.flatten(2).transpose(1, 2)[:, None] for feature in old_features]
    grids = [(feature.shape[2], feature.shape[3]) for feature in features]
    return attention_transfer(places, old_places, labels, pooling, grids)


def class_rows(tap: AttentionTap, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What the transfer compares with "class" pooling: rows of a block averaged over each foreground class's region.

    ``labels`` [B, H, W] of channels or IGNORE, at any resolution. Returns rows [B, heads, R, K] and the classes [R]
    that have a place on the grid of the queries.
    """
    rows = _as_rows(tap, None, None)
    resized = resize_labels(labels, rows.grid)
    return _pooled(rows, class_regions(resized)[0]), foreground(resized)


class _Rows:
    """A source of attention rows: a tap, or a full map."""

    def __init__(
        self,
        read: Callable[[int, int], Tensor],
        shape: tuple[int, ...],
        grid: tuple[int, int],
        key_grid: tuple[int, int] | None,
        key_prefix: int = 0,
    ) -> None:
        self.read = read
        self.shape = shape
        self.grid = grid
        self.key_grid = key_grid
        self.key_prefix = key_prefix

    def chunks(self) -> list[tuple[int, int]]:
        """Ranges of queries whose rows fit in ROWS_AT_ONCE elements."""
        batch, heads, queries, keys = self.shape
        step = max(1, min(queries, ROWS_AT_ONCE // (batch * heads * keys)))
        return [(start, min(start + step, queries)) for start in range(0, queries, step)]


def _as_rows(attention: Tensor | AttentionTap, grid: tuple[int, int] | None, key_grid: tuple[int, int] | None) -> _Rows:
    """``attention`` as rows; the grids given go before those that a tap knows, or that a square map would have."""
    if isinstance(attention, AttentionTap):
        shape = (*attention.query.shape[:3], attention.key.shape[2])
        return _Rows(
            attention.rows, shape, grid or attention.grid, key_grid or attention.key_grid, attention.key_prefix
        )
    full = attention
    side, key_side = math.isqrt(full.shape[2]), math.isqrt(full.shape[3])
    return _Rows(
        lambda start, stop: full[:, :, start:stop].float(),
        tuple(full.shape),
        grid or (side, side),
        key_grid or (key_side, key_side),
    )


def _block_transfer(rows: _Rows, old_rows: _Rows, labels: Tensor, pooling: Pooling) -> Tensor:
    if rows.shape[2] != math.prod(rows.grid):
        raise ValueError(
            f"The attention map has {rows.shape[2]} queries, its grid {rows.grid} has {math.prod(rows.grid)}: "
            "give `grids`, the (height, width) in tokens of each map."
        )
    if pooling == "none":
        return _rowwise_distance(rows, old_rows)
    resized = resize_labels(labels, rows.grid)
    weights, present = _one_region(resized) if pooling == "global" else class_regions(resized)
    with torch.no_grad():
        old_pooled = _pooled(old_rows, weights)
    difference = _pooled(rows, weights) - old_pooled
    if pooling == "class-pair":
        difference = difference @ _key_members(rows, labels, resized)
    distance: Tensor = torch.linalg.vector_norm(difference, dim=3).mean(dim=1)
    present_count = present.sum(dim=1).clamp(min=1)
    return ((distance * present).sum(dim=1) / present_count).mean()


def _key_members(rows: _Rows, labels: Tensor, resized: Tensor) -> Tensor:
    """Which keys belong to each region of the queries' labels ``resized``, as zeros and ones: [B, 1, K, R].

    Keys that lie on no grid, class and register tokens, belong to none.
    """
    if rows.key_grid is None or math.prod(rows.key_grid) + rows.key_prefix != rows.shape[3]:
        raise ValueError(
            f"Class-pair pooling needs the grid of the {rows.shape[3]} keys, and this model's lie on none, "
            f"or not on {rows.key_grid}: take another pooling."
        )
    members = class_members(resize_labels(labels, rows.key_grid), foreground(resized))
    return functional.pad(members.float().transpose(1, 2)[:, None], (0, 0, rows.key_prefix, 0))


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
