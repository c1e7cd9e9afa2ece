"""How a scene looks: a textured ground, clutter that is no digit, and the digits in inks of their own.

Drawing keeps to 8 bit Pillow operations and plain arithmetic, as all of the scenes does: see `sats.data.scenes`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageColor, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Stamp = tuple[Image.Image, tuple[int, int]]
    """A digit's 8 bit coverage, and its left and top."""

# Light inks on darker grounds only: with both polarities a small network needs several times the images.
_GROUNDS: Final = (
    ("#182444", "#2e4a74"),
    ("#0e3c42", "#24686a"),
    ("#261e34", "#503c66"),
    ("#26282c", "#4c4e56"),
    ("#48202a", "#743c3c"),
    ("#1c3a28", "#3e6242"),
    ("#2a4a78", "#4a74a4"),
    ("#5c3a26", "#8a5c3a"),
    ("#46506a", "#66708c"),
    ("#5a4a2a", "#7e7044"),
    ("#6a3050", "#8e4a6c"),
    ("#3a5a5c", "#5c807c"),
)
_INKS: Final = ("#faf6ec", "#ffd65c", "#ffb090", "#98e8d6", "#b0d8ff", "#fabcd6", "#c4ea8a", "#e0ccff", "#f4e4c0")

_MARKS: Final = (
    ("0,0 .3,1 .5,.4 .7,1 1,0",),  # W
    ("0,1 .1,0 .5,.7 .9,0 1,1",),  # M
    ("0,0 1,1", "1,0 0,1"),  # X
    ("0,0 0,1", "1,0 1,1", "0,.5 1,.5"),  # H
    ("0,0 0,1", "1,0 .05,.5 1,1"),  # K
    (".5,0 .5,1", "0,.25 1,.75", "1,.25 0,.75"),  # asterisk
    (".5,0 1,1 0,1 .5,0",),  # triangle
    (".5,0 .5,1", "0,.5 1,.5"),  # plus
    ("0,.6 .2,.2 .4,.5 .6,.8 .8,.5 1,.4",),  # wave
    ("0,0 .05,.9 .5,1 .95,.9 1,0",),  # U
    ("0,.3 .8,.3", ".2,.7 1,.7"),  # equals
    ("0,.5 1,.5", ".6,.1 1,.5 .6,.9"),  # arrow
)
"""Strokes in the unit square that look written and are no digits."""

_SHADOW: Final = [level * 3 // 8 for level in range(256)]
"""The coverage of a digit's shadow for each coverage of its own."""


def paint(rng: np.random.Generator, side: int, digits: Iterable[Stamp]) -> Image.Image:
    """A scene of ``side`` x ``side`` pixels in RGB: ground, clutter, then ``digits``, each with a soft shadow."""
    ground = np.array([ImageColor.getrgb(colour) for colour in _GROUNDS[rng.integers(len(_GROUNDS))]])
    scene = Image.fromarray(_texture(rng, side, ground))
    inks = rng.permutation([ImageColor.getrgb(ink) for ink in _INKS])
    for _ in range(rng.integers(3, 6)):
        _stamp(scene, _patch(rng, side), _corner(rng, side), _tint(rng, ground))
    for _ in range(rng.integers(1, 3)):
        _stamp(scene, _mark(rng, side), _corner(rng, side), _shaken(rng, inks[rng.integers(len(inks))]))
    for (alpha, (left, top)), ink in zip(digits, inks, strict=False):
        shift = max(1, side // 48)
        _stamp(scene, alpha.point(_SHADOW), (left + shift, top + shift), (0, 0, 0))
        _stamp(scene, alpha, (left, top), _shaken(rng, ink))
    return scene


def _texture(rng: np.random.Generator, side: int, ground: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Mix the two colours of ``ground`` in a pattern with fine grain: [side, side, 3]."""
    patterns = (_clouds, _stripes, _checks, _dots)
    field = 0.5 * _clouds(rng, side) + 0.5 * patterns[rng.integers(len(patterns))](rng, side)
    grain = rng.integers(-8, 9, size=(side, side, 1))
    colours: NDArray[np.float64] = ground[0] + (ground[1] - ground[0]) * field[..., None] + grain
    return colours.clip(0, 255).astype(np.uint8)


def _clouds(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """Smooth noise of three grain sizes: [side, side], 0 to 1."""
    field = np.zeros((side, side))
    for cells, weight in ((3, 0.5), (7, 0.3), (15, 0.2)):
        noise = Image.fromarray(rng.integers(256, size=(cells, cells), dtype=np.uint8))
        field += weight / 255 * np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC))
    return field


def _waves(rng: np.random.Generator, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Triangle waves along two directions at right angles, 4 to 9 to a side: each [side, side], 0 to 1."""
    turn = rng.uniform(0, math.pi)
    cos, sin = round(math.cos(turn), 6), round(math.sin(turn), 6)
    down, right = np.mgrid[:side, :side] * (rng.uniform(4, 9) / side)
    phases = rng.uniform(size=2)
    along, across = cos * right + sin * down + phases[0], cos * down - sin * right + phases[1]
    return abs(along % 1 - 0.5) * 2, abs(across % 1 - 0.5) * 2


def _stripes(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    along, _ = _waves(rng, side)
    return ((along - 0.5) * 4 + 0.5).clip(0, 1)


def _checks(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    along, across = _waves(rng, side)
    return ((along - 0.5) * (across - 0.5) * 12 + 0.5).clip(0, 1)


def _dots(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    along, across = _waves(rng, side)
    return ((0.3 - along**2 - across**2) * 6 + 0.5).clip(0, 1)


def _shaken(rng: np.random.Generator, colour: NDArray[np.int64] | NDArray[np.float64]) -> tuple[int, ...]:
    return tuple((colour + rng.integers(-12, 13, size=3)).clip(0, 255).astype(np.uint8).tolist())


def _tint(rng: np.random.Generator, ground: NDArray[np.int64]) -> tuple[int, ...]:
    """Draw a colour near the ground's two, for patches."""
    return _shaken(rng, ground[0] + (ground[1] - ground[0]) * rng.uniform(-0.6, 1.6))


def _corner(rng: np.random.Generator, side: int) -> tuple[int, int]:
    """A left and top for clutter, which the frame may cut."""
    left, top = rng.integers(-side // 8, side - side // 8, size=2).tolist()
    return left, top


def _stamp(scene: Image.Image, alpha: Image.Image, corner: tuple[int, int], colour: tuple[int, ...]) -> None:
    """Lay ``colour`` over the scene with coverage ``alpha``, in place."""
    scene.paste(colour, (*corner, corner[0] + alpha.width, corner[1] + alpha.height), alpha)


def _patch(rng: np.random.Generator, side: int) -> Image.Image:
    """A filled disc or quadrangle: coverage."""
    size = int(rng.uniform(0.15, 0.5) * side)
    canvas = Image.new("L", (3 * size, 3 * size))
    draw = ImageDraw.Draw(canvas)
    if rng.integers(2):
        draw.ellipse((0, 0, 3 * size - 1, 3 * size - 1), fill=255)
    else:
        cut = rng.uniform(0, 3 * size, size=4).tolist()
        draw.polygon([(cut[0], 0), (3 * size, cut[1]), (cut[2], 3 * size), (0, cut[3])], fill=255)
    return canvas.reduce(3)


def _mark(rng: np.random.Generator, side: int) -> Image.Image:
    """A written mark that is no digit, its points shaken and its corners rounded: coverage."""
    size = int(rng.uniform(0.25, 0.45) * side)
    width = max(3, round(3 * side * rng.uniform(0.04, 0.07)))
    canvas = Image.new("L", (3 * size, 3 * size))
    draw = ImageDraw.Draw(canvas)
    for stroke in _MARKS[rng.integers(len(_MARKS))]:
        points = np.array([point.split(",") for point in stroke.split()], dtype=np.float64)
        points += rng.uniform(-0.07, 0.07, size=points.shape)
        path = (_rounded(points) * (3 * size - 2 * width) + width).ravel().tolist()
        draw.line(path, fill=255, width=width, joint="curve")
        for x, y in (path[:2], path[-2:]):
            draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return canvas.reduce(3)


def _rounded(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut the corners of a polyline, as Chaikin does: [points, 2]."""
    before, after = points[:-1], points[1:]
    cut = np.stack((0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after), axis=1).reshape(-1, 2)
    return np.concatenate((points[:1], cut, points[-1:]))
