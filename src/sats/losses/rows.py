"""Rows of an attention map, read where they are asked for: from a tap, which has no map, or from a full one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.types import AttentionTap, picked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from torch import Tensor

ROWS_AT_ONCE = 2**24
"""Elements of an attention map that may exist at one time (64 MiB in float32)."""


@dataclass(frozen=True)
class Rows:
    """A source of attention rows: ``shape`` is [B, heads, Q, K] of the map, ``grid`` (h, w) that of its queries.

    ``read(images, queries)`` computes the rows [g, heads, q, K] of the ``queries`` [g, q] of some ``images``.
    ``key_grid`` is that of the keys after the first ``key_prefix``; None where they lie on no grid.
    """

    read: Callable[[slice, Tensor], Tensor]
    shape: tuple[int, int, int, int]
    device: torch.device
    grid: tuple[int, int]
    key_grid: tuple[int, int] | None
    key_prefix: int = 0

    def parts(self, wanted: Tensor) -> Iterator[tuple[slice, tuple[Tensor, ...]]]:
        """Some images, and their ``wanted`` queries (bool [B, Q]), [g, q] each, in pieces whose rows fit in memory.

        Where an image wants fewer than another beside it, others fill its place. A processor takes one image after the
        other, and so nothing in vain; a GPU as many as fit.
        """
        batch, heads, queries, keys = self.shape
        room = max(1, ROWS_AT_ONCE // (heads * keys))
        together = 1 if self.device.type == "cpu" else max(1, room // queries)
        for start in range(0, batch, together):
            images = slice(start, min(start + together, batch))
            some = wanted[images]
            first = some.byte().argsort(dim=1, descending=True, stable=True)[:, : int(some.sum(dim=1).max())]
            yield images, first.split(max(1, room // len(some)), dim=1)


def as_rows(attention: Tensor | AttentionTap, grid: tuple[int, int] | None, key_grid: tuple[int, int] | None) -> Rows:
    """``attention`` as rows; the grids given go before those that a tap knows, or that a square map would have."""
    if isinstance(attention, AttentionTap):
        tap = attention
        return Rows(
            lambda images, queries: tap.part(images, queries).rows(),
            (*tap.query.shape[:3], tap.key.shape[2]),
            tap.query.device,
            grid or tap.grid,
            key_grid or tap.key_grid,
            tap.key_prefix,
        )
    full = attention
    side, key_side = math.isqrt(full.shape[2]), math.isqrt(full.shape[3])
    return Rows(
        lambda images, queries: picked(full[images], queries).float(),
        (full.shape[0], full.shape[1], full.shape[2], full.shape[3]),
        full.device,
        grid or (side, side),
        key_grid or (key_side, key_side),
    )
