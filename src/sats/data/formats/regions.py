"""Regions of an image, as outlines or as runs of pixels, painted into a mask: the smaller ones on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from sats.data.formats.labelled import unlabelled_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from sats.types import Void

    Points = NDArray[np.float64]

FARTHEST: Final = 1e7
"""Pixels from the corner of an image: what is farther away is no coordinate."""
LONGEST: Final = 6
"""Characters of a run's length, 5 bits each: longer ones are no image."""


@dataclass(frozen=True)
class Region:
    """Pixels of one ``value``, a class index or IGNORE: within any of ``polygons`` ([N, 2]: x and y), or in ``runs``.

    ``runs`` are lengths of turns outside and inside, down the columns, as in COCO. ``area`` decides who lies on top.
    """

    value: int
    area: float
    polygons: tuple[Points, ...] = ()
    runs: NDArray[np.int64] | None = None


def outlined(value: int, polygons: tuple[Points, ...]) -> Region:
    """The region within any of ``polygons``."""
    return Region(value, sum(map(_area, polygons)), polygons)


def paint(regions: Iterable[Region], height: int, width: int, unlabelled: Void) -> NDArray[np.uint8]:
    """A mask [H, W] of ``regions``: smaller ones over larger ones, of equals the later one on top."""
    mask = np.full((height, width), unlabelled_value(unlabelled), dtype=np.uint8)
    for region in sorted(regions, key=lambda region: -region.area):
        for polygon in region.polygons:
            _fill(mask, polygon, region.value)
        if region.runs is not None:
            mask[_in_runs(region.runs, height, width)] = region.value
    return mask


def _area(points: Points) -> float:
    x, y = points.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _fill(mask: NDArray[np.uint8], points: Points, value: int) -> None:
    """Set the pixels of ``mask`` whose centre lies within the polygon; where it overlaps itself, it is outside."""
    height, width = mask.shape
    first = _first_centre(points.min(axis=0))
    last = _first_centre(points.max(axis=0))
    left, right = np.clip((first[0], last[0]), 0, width).astype(int)
    top, bottom = np.clip((first[1], last[1]), 0, height).astype(int)
    if left < right and top < bottom:
        window = mask[top:bottom, left:right]
        window[_inside(points - (left, top), bottom - top, right - left)] = value


def _inside(points: Points, height: int, width: int) -> NDArray[np.bool_]:
    """Which pixels of a window have their centre inside: each edge turns all pixels to its right over, row by row."""
    following = np.roll(points, -1, axis=0)
    upper = np.where((points[:, 1] <= following[:, 1])[:, None], points, following)
    lower = np.where((points[:, 1] <= following[:, 1])[:, None], following, points)
    starts = _first_centre(upper[:, 1]).clip(0, height).astype(np.int64)
    lengths = _first_centre(lower[:, 1]).clip(0, height).astype(np.int64) - starts
    edges = np.repeat(np.arange(len(points)), lengths)
    rows = np.arange(len(edges)) - np.repeat(lengths.cumsum() - lengths, lengths) + starts[edges]
    slope = (lower[edges, 0] - upper[edges, 0]) / (lower[edges, 1] - upper[edges, 1])
    crossings = upper[edges, 0] + (rows + 0.5 - upper[edges, 1]) * slope
    columns = _first_centre(crossings).clip(0, width).astype(np.int64)
    turns = np.zeros((height, width + 1), dtype=bool)
    np.logical_xor.at(turns, (rows, columns), True)
    return np.logical_xor.accumulate(turns[:, :width], axis=1)


def _first_centre(position: Points) -> Points:
    """The first pixel whose centre is at ``position`` or behind it."""
    return np.ceil(position - 0.5)


def _in_runs(runs: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def points_of(values: object, where: str) -> Points:
    """Points [N, 2] of a flat list x1, y1, x2, y2, ...; ValueError if it is no outline."""
    if not isinstance(values, list) or not all(_is_number(value) for value in values):
        raise ValueError(f"{where} has an outline that is not a list of numbers below {FARTHEST:.0f}: export it anew.")
    if len(values) % 2 or len(values) < 6:
        raise ValueError(
            f"{where} has an outline of {len(values)} numbers: it takes three points or more, each an x and a y."
        )
    return np.array(values, dtype=np.float64).reshape(-1, 2)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < FARTHEST


def in_runs(value: int, counts: object, size: tuple[int, int], where: str) -> Region:
    """The region of COCO's run lengths, a list or a text (compressed); ValueError unless they make up ``size``."""
    runs = _uncompressed(counts, where) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(length) is int and length >= 0 for length in runs):
        raise ValueError(f"{where} has run lengths (`counts`) that are neither numbers nor COCO's text of them.")
    height, width = size
    if sum(runs) != height * width:
        raise ValueError(f"{where} has run lengths for {sum(runs)} pixels; its image has {width} x {height}.")
    return Region(value, float(sum(runs[1::2])), runs=np.array(runs, dtype=np.int64))


def _uncompressed(text: str, where: str) -> list[int]:
    """The run lengths in COCO's text: 5 bits a character, from the third one on differences to the last but one."""
    codes = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    is_sound = len(ends) > 0 and ends[-1] == len(codes) - 1 and (ends - starts).max() < LONGEST
    if not is_sound or codes.min() < 0 or codes.max() >= 64:
        raise ValueError(f"{where} has run lengths (`counts`) that are not COCO's text of them: export it anew.")
    places = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((codes & 31) << 5 * places, starts)
    is_negative = codes[ends] & 16 != 0
    values[is_negative] -= 1 << 5 * (ends - starts + 1)[is_negative]
    for first in (1, 2):  # the differences run over every other length; the very first one stands alone
        values[first::2] = values[first::2].cumsum()
    return [int(value) for value in values]
