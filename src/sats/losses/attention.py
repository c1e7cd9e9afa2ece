"""Self-attention transfer: the student's attention rows, pooled by class region, follow the teacher's."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from sats.losses.recomputation import recomputed, settled
from sats.losses.regions import class_members, class_regions, foreground, resize_labels
from sats.losses.rows import as_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sats.losses.rows import Queries, Rows
    from sats.types import AttentionTap, Pooling


def attention_transfer(
    attentions: Sequence[Tensor | AttentionTap],
    old_attentions: Sequence[Tensor | AttentionTap],
    labels: Tensor,
    pooling: Pooling = "class",
    grids: Sequence[tuple[int, int]] | None = None,
    key_grids: Sequence[tuple[int, int]] | None = None,
    num_classes: int | None = None,
) -> Tensor:
    """SAT (SATS, section 3.3): L2 distance between pooled attention rows of student and teacher; a scalar.

    ``attentions`` and ``old_attentions`` hold one entry for each block, either a tap or a full map
    [B, heads, Q, K] softmaxed over keys; ``labels`` [B, H, W] of channels or IGNORE give the regions, at any
    resolution. ``grids`` names the (h, w) of the queries of each full map and ``key_grids`` that of its keys, square
    if left out; taps know theirs. All ``labels`` but IGNORE are below ``num_classes``: where that is said, a GPU is not
    asked which they are, for which it would stand still. The value is the same.

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
            _block_transfer(as_rows(attention, *sides), as_rows(old_attention, *sides), labels, pooling, num_classes)
            for attention, old_attention, sides in zip(attentions, old_attentions, wanted, strict=True)
        ]
    return torch.stack(distances).mean()


def feature_transfer(
    features: Sequence[Tensor],
    old_features: Sequence[Tensor],
    labels: Tensor,
    pooling: Pooling = "class",
    num_classes: int | None = None,
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
    return attention_transfer(places, old_places, labels, pooling, grids, num_classes=num_classes)


def class_rows(tap: AttentionTap, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What the transfer compares with "class" pooling: rows of a block averaged over each foreground class's region.

    ``labels`` [B, H, W] of channels or IGNORE, at any resolution. Returns rows [B, heads, R, K] and the classes [R]
    that have a place on the grid of the queries.
    """
    rows = as_rows(tap, None, None)
    resized = resize_labels(labels, rows.grid)
    weights = class_regions(resized)[0]
    return _pooled(rows, weights, rows.pieces(weights.any(dim=1))), foreground(resized)


def _block_transfer(rows: Rows, old_rows: Rows, labels: Tensor, pooling: Pooling, num_classes: int | None) -> Tensor:
    if rows.shape[2] != math.prod(rows.grid):
        raise ValueError(
            f"The attention map has {rows.shape[2]} queries, its grid {rows.grid} has {math.prod(rows.grid)}: "
            "give `grids`, the (height, width) in tokens of each map."
        )
    if pooling == "none":
        return _rowwise_distance(rows, old_rows)
    resized = resize_labels(labels, rows.grid)
    if pooling == "global":
        weights, present = _one_region(resized)
    else:
        classes = foreground(resized, num_classes)
        weights, present = class_regions(resized, classes)
    images = rows.together
    parts = [every.split(images) for every in (rows, old_rows, weights, present)]
    pairs: Sequence[Tensor | None] = [None] * len(parts[0])
    if pooling == "class-pair":  # a class that has a place among the keys alone is none
        pairs = (_key_members(rows, labels, classes) * present.any(dim=0)).split(images)
    distances = [_distances(*part) for part in zip(*parts, pairs, strict=True)]
    return torch.cat(distances).mean()


def _distances(rows: Rows, old_rows: Rows, weights: Tensor, present: Tensor, pairs: Tensor | None) -> Tensor:
    """The mean distance over the classes that each image holds, [B]; 0 where it holds none."""
    wanted = None
    if rows.way.asked:
        held = present.any(dim=0)
        weights, present = weights[:, held], present[:, held]
        wanted = weights.any(dim=1)
    queries = rows.pieces(wanted)
    with torch.no_grad():
        old_pooled = _pooled(old_rows, weights, queries)

    def from_old(*tensors: Tensor) -> Tensor:
        difference = _pooled(rows.of(tensors), weights, queries) - old_pooled
        difference = difference if pairs is None else difference @ pairs
        distance: Tensor = torch.linalg.vector_norm(difference, dim=3).mean(dim=1)
        return (distance * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)

    if rows.mask_learns:
        return recomputed(partial(from_old, *rows.tensors))
    return settled(from_old, rows.tensors)


def _key_members(rows: Rows, labels: Tensor, classes: Tensor) -> Tensor:
    """Which keys belong to each of the ``classes`` [R] of the queries, as zeros and ones: [B, 1, K, R].

    Keys that lie on no grid, class and register tokens, belong to none.
    """
    if rows.key_grid is None or math.prod(rows.key_grid) + rows.key_prefix != rows.shape[3]:
        raise ValueError(
            f"Class-pair pooling needs the grid of the {rows.shape[3]} keys, and this model's lie on none, "
            f"or not on {rows.key_grid}: take another pooling."
        )
    members = class_members(resize_labels(labels, rows.key_grid), classes)
    return functional.pad(members.float().transpose(1, 2)[:, None], (0, 0, rows.key_prefix, 0))


def _one_region(labels: Tensor) -> tuple[Tensor, Tensor]:
    """A single region of all queries: what global pooling averages over."""
    batch, queries = labels.shape[0], labels[0].numel()
    weights = torch.full((batch, 1, queries), 1 / queries, device=labels.device)
    return weights, torch.ones(batch, 1, dtype=torch.bool, device=labels.device)


def _pooled(rows: Rows, weights: Tensor, queries: Sequence[Queries]) -> Tensor:
    """Rows averaged by region, [B, heads, R, K]; ``weights`` [B, R, Q] are 0 for all but the ``queries``.

    Of several pieces there is never more than one at a time: in backward they are computed again.
    """
    if len(queries) == 1:
        return _pooled_piece(rows, weights, queries[0])
    pieces = [recomputed(partial(_pooled_piece, rows, weights, piece)) for piece in queries]
    return torch.stack(pieces).sum(dim=0)


def _pooled_piece(rows: Rows, weights: Tensor, queries: Queries) -> Tensor:
    if isinstance(queries, slice):
        shares = weights[:, :, queries]
    else:
        shares = weights.gather(2, queries[:, None].expand(-1, weights.shape[1], -1))
    return shares[:, None] @ rows.read(queries)


def _rowwise_distance(rows: Rows, old_rows: Rows) -> Tensor:
    """The mean over batch, heads and queries of the distance between single rows."""
    pieces = [recomputed(partial(_distance_piece, rows, old_rows, piece)) for piece in rows.pieces(None)]
    return torch.cat(pieces, dim=2).mean()


def _distance_piece(rows: Rows, old_rows: Rows, queries: Queries) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm(rows.read(queries) - old_rows.read(queries), dim=3)
    return distance
