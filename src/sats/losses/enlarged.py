"""Logits of the head's resolution, read at full resolution a few rows at a time, and differentiated the same way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from sats.losses.portions import way_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class Enlarged:
    """Of logits [B, C, h, w] those of n ``images``, brought to ``size`` (height, width) a piece at a time, bilinear.

    `read` gives rows of them, one image's below another's, in float32 or better; `add` takes the gradient in such rows,
    and `gradient` gives the one in the logits that came in. Bilinear interpolation is a product with two sparse
    matrices: columns are made at once, rows when they are asked for.
    """

    def __init__(self, logits: Tensor, size: tuple[int, int], images: slice) -> None:
        logits = logits.detach()[images]
        kind = torch.promote_types(logits.dtype, torch.float32)
        self._rows = _axis(logits.shape[2], size[0], kind, logits.device)
        self._columns = _axis(logits.shape[3], size[1], kind, logits.device)
        self._wide = _product(logits.to(kind).transpose(0, 1), self._columns.weights)
        self._wide_gradient: Tensor | None = None
        self._size = size
        self.images = images

    def pieces(self) -> Iterator[slice]:
        """Ranges of rows that are read at once, in order."""
        of_a_row = self._wide.shape[0] * self._wide.shape[1] * self._size[1]
        count = max(1, way_of(self._wide.device).logits.elements // of_a_row)
        for start in range(0, self._size[0], count):
            yield slice(start, min(start + count, self._size[0]))

    def read(self, rows: slice) -> Tensor:
        """The logits [C, n * rows, width]."""
        if self._rows.weights is None:
            return self._wide[:, :, rows].flatten(1, 2)
        sources = self._rows.sources(rows)
        return _product(self._rows.weights[sources, rows].T, self._wide[:, :, sources]).flatten(1, 2)

    def part(self, values: Tensor, rows: slice) -> Tensor:
        """The part of ``values`` [B, height, width] that lies under what `read` gives: [n * rows, width]."""
        return values[self.images, rows].flatten(0, 1)

    def put(self, part: Tensor, values: Tensor, rows: slice) -> None:
        """Write such a ``part`` into ``values`` [B, height, width]."""
        values[self.images, rows] = part.unflatten(0, (self._wide.shape[1], -1))

    def add(self, rows: slice, gradient: Tensor) -> None:
        """Count the ``gradient`` [c, n * rows, width] in the first c channels of these rows."""
        if self._wide_gradient is None:
            self._wide_gradient = torch.zeros_like(self._wide)
        found = self._wide_gradient[: len(gradient)]
        gradient = gradient.unflatten(1, (self._wide.shape[1], -1))
        if self._rows.weights is None:
            found[:, :, rows] += gradient
        else:
            sources = self._rows.sources(rows)
            found[:, :, sources] += _product(self._rows.weights[sources, rows], gradient)

    def gradient(self) -> Tensor:
        """The gradient [n, C, h, w] of all that was added."""
        assert self._wide_gradient is not None  # noqa: S101 (ours: asked for after a walk over all pieces)
        weights = self._columns.weights
        return _product(self._wide_gradient, None if weights is None else weights.T).transpose(0, 1)


def enlarged(logits: Tensor, size: tuple[int, int]) -> Iterator[Enlarged]:
    """All of ``logits`` [B, C, h, w], as many images at a time as are made at once, but at least one."""
    count = way_of(logits.device).logits.images(logits.shape[1] * size[0] * size[1])
    for start in range(0, len(logits), count):
        images = slice(start, min(start + count, len(logits)))
        yield Enlarged(logits, size, images)


@dataclass(frozen=True)
class _Axis:
    """How ``target`` places mix ``source`` ones: weights [source, target], None where they are the same places."""

    weights: Tensor | None
    first: tuple[int, ...]
    last: tuple[int, ...]

    def sources(self, targets: slice) -> slice:
        """The source places that these targets are made of."""
        return slice(self.first[targets.start], self.last[targets.stop - 1] + 1)


@lru_cache(maxsize=64)
def _axis(source: int, target: int, kind: torch.dtype, device: torch.device) -> _Axis:
    if source == target:
        return _Axis(None, (), ())
    unit = torch.eye(source, dtype=kind)[None]
    weights = functional.interpolate(unit, size=target, mode="linear", align_corners=False)[0]
    used = (weights != 0).int()
    last = source - 1 - used.flip(0).argmax(dim=0)
    return _Axis(weights.to(device), tuple(used.argmax(dim=0).tolist()), tuple(last.tolist()))


def _product(left: Tensor, right: Tensor | None) -> Tensor:
    """Their matrix product, in full precision also under autocast; ``left`` itself times None."""
    if right is None:
        return left
    with torch.autocast(left.device.type, enabled=False):
        return left @ right
