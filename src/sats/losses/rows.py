"""Rows of an attention map, read where they are asked for: from a tap, which has no map, or from a full one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Union

import torch

from sats.losses.portions import way_of
from sats.types import AttentionTap, picked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sats.losses.portions import Way


Queries = Union["Tensor", slice]
"""Some queries: of each image its own [B, q], or the same of all, one after another."""


@dataclass(frozen=True)
class Rows:
    """A source of attention rows, a tap or a full map, of which ``shape`` is [B, heads, Q, K].

    ``grid`` (h, w) is that of the queries, ``key_grid`` that of the keys after the first ``key_prefix``: None where
    these lie on none.
    """

    source: Tensor | AttentionTap
    grid: tuple[int, int]
    key_grid: tuple[int, int] | None
    key_prefix: int = 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Images, heads, queries, keys."""
        if isinstance(self.source, AttentionTap):
            batch, heads, queries, _ = self.source.query.shape
            return batch, heads, queries, self.source.key.shape[2]
        batch, heads, queries, keys = self.source.shape
        return batch, heads, queries, keys

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What rows are made of and have gradients by: queries and keys [B, ...], or the map."""
        return (self.source.query, self.source.key) if isinstance(self.source, AttentionTap) else (self.source,)

    @property
    def mask_learns(self) -> bool:
        """Whether a learned bias is added to the rows: its gradient is as large as a map."""
        return isinstance(self.source, AttentionTap) and self.source.mask is not None and self.source.mask.requires_grad

    def of(self, tensors: Sequence[Tensor]) -> Rows:
        """The same, made of others."""
        if isinstance(self.source, AttentionTap):
            query, key = tensors
            return replace(self, source=replace(self.source, query=query, key=key))
        return replace(self, source=tensors[0])

    @property
    def way(self) -> Way:
        """How the device works on which they are."""
        return way_of(self.tensors[0].device)

    @property
    def together(self) -> int:
        """How many images to take at a time."""
        _, heads, queries, keys = self.shape
        return self.way.rows.images(heads * queries * keys)

    def split(self, images: int) -> list[Rows]:
        """The same, ``images`` at a time."""
        return [replace(self, source=part) for part in self.source.split(images)]

    def pieces(self, wanted: Tensor | None) -> list[Queries]:
        """The ``wanted`` queries (bool [B, Q]) of each image, in pieces whose rows fit in memory; None: all of them.

        Images that want fewer than the one that wants most are filled up with unwanted ones, whose weights are 0.
        """
        batch, heads, queries, keys = self.shape
        count = max(1, self.way.rows.elements // (batch * heads * keys))
        if wanted is None:
            return [slice(start, min(start + count, queries)) for start in range(0, queries, count)]
        longest = int(wanted.sum(dim=1).max())
        first = wanted.byte().argsort(dim=1, descending=True, stable=True)[:, :longest]
        return list(torch.split(first, count, dim=1))

    def read(self, queries: Queries) -> Tensor:
        """The rows [B, heads, q, K] of each image's ``queries``."""
        if isinstance(self.source, AttentionTap):
            if isinstance(queries, slice):
                return self.source.rows(queries.start, queries.stop)
            return self.source.pick(queries).rows()
        some = self.source[:, :, queries].contiguous() if isinstance(queries, slice) else picked(self.source, queries)
        return some.float()


def as_rows(attention: Tensor | AttentionTap, grid: tuple[int, int] | None, key_grid: tuple[int, int] | None) -> Rows:
    """``attention`` as rows; the grids given go before those that a tap knows, or that a square map would have."""
    if isinstance(attention, AttentionTap):
        return Rows(attention, grid or attention.grid, key_grid or attention.key_grid, attention.key_prefix)
    side, key_side = math.isqrt(attention.shape[2]), math.isqrt(attention.shape[3])
    return Rows(attention, grid or (side, side), key_grid or (key_side, key_side))
