"""Scenes: the built-in data, real handwritten digits on synthetic backgrounds, made on the fly.

Every draw comes from a ``numpy.random.SeedSequence`` keyed by (seed, split, index), and the drawing keeps to
8 bit Pillow operations and plain arithmetic: no sine of the platform's own decides a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFilter

from sats.data.source import Source
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLITS: Final = ("train", "val", "test")
SMALLEST_SIDE: Final = 32
"""Below this many pixels a side, strokes are too thin for the visibility rule."""

_SHARES: Final = (0.0, 0.7, 0.85, 1.0)
"""Where the splits begin and end in the list of each digit's samples."""

_LIGHTEST: Final = 0.85
"""The share of each digit's samples that is used: at 8x8, the ones with the most ink are blobs."""

_CELL: Final = 5
"""Pixels of an enlarged glyph for one pixel of the 8x8 original."""

_HEIGHT: Final = (0.42, 0.6)
"""A digit's height as a share of the image's side."""

_ASPECT: Final = (0.9, 1.2)
_TURN: Final = math.radians(10)
_EDGE: Final = 112
"""The level, of 255, where a stroke's edge lies: under half, which thickens the strokes a little."""

_MIN_PIXELS: Final = 12
_MIN_VISIBLE: Final = 0.9
"""A digit is only drawn where it leaves each older one this share of its pixels, and ``_MIN_PIXELS``."""

_TRIES: Final = 8

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


@dataclass(frozen=True)
class _Digit:
    """A digit in its place: ``alpha`` is its 8 bit coverage, cropped, and ``corner`` its left and top."""

    number: int
    alpha: Image.Image
    corner: tuple[int, int]


@dataclass(frozen=True)
class _Layout:
    """The digits of a scene as drawn, and ``owner`` [H, W]: 1 + the position of the digit seen, else 0."""

    digits: tuple[_Digit, ...]
    owner: NDArray[np.uint8]


class ScenesSource(Source):
    """Composites of real handwritten digits on synthetic backgrounds: background and the ten digits.

    The scenes are not photographs. Their digits are real: the 1797 samples of 8x8 pixels bundled with
    scikit-learn (``load_digits``), the test part of *Optical Recognition of Handwritten Digits* by E. Alpaydin
    and C. Kaynak (1998), UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, which UCI licenses
    CC BY 4.0. Grounds, colours and clutter are drawn by this file; clutter counts as background.

    An image follows from ``seed``, ``split`` and its index alone. The splits differ in their scenes and in their
    digits: of each digit's samples, the 15 % with the most ink left out, "train" has the first 70 % in the file's
    order, "val" the next 15 % and "test" the rest, so no split shows another's digits. ``image_size`` is the side
    in pixels. ``classes`` keeps some digits, in the order given, and makes the others background; the scenes stay
    the same. Raises ValueError for wrong arguments.
    """

    def __init__(
        self,
        split: str = "train",
        num_images: int = 1000,
        image_size: int = 64,
        seed: int = 0,
        classes: tuple[str, ...] | None = None,
    ) -> None:
        _check_name("split", split, SPLITS)
        _check_least("num_images", num_images, 1)
        _check_least("image_size", image_size, SMALLEST_SIDE)
        _check_least("seed", seed, 0)
        self.split = split
        self.num_images = num_images
        self.image_size = image_size
        self.seed = seed
        self.classes = ("background", *_chosen(classes))
        self._labels = [self.classes.index(name) if name in self.classes else BACKGROUND for name in DIGITS]
        self._presence: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """The number of images."""
        return self.num_images

    def key(self, index: int) -> str:
        """Such as "scenes/train/000012"."""
        return f"scenes/{self.split}/{index:06d}"

    def image(self, index: int) -> Image.Image:
        """Scene ``index``, in RGB. Raises IndexError where there is none."""
        return _paint(self._rng(index, "paint"), self._layout(index))

    def mask(self, index: int) -> NDArray[np.uint8]:
        """The class index of every pixel of scene ``index``: [H, W]; raises IndexError as ``image`` does."""
        layout = self._layout(index)
        labels = [BACKGROUND, *(self._labels[digit.number] for digit in layout.digits)]
        return np.array(labels, dtype=np.uint8)[layout.owner]

    def size(self, index: int) -> tuple[int, int]:  # noqa: ARG002 - all scenes have one size
        """Height and width, the same for all scenes."""
        return self.image_size, self.image_size

    def presence(self) -> NDArray[np.bool_]:
        """Which classes each scene holds: [images, classes]; laid out once, without painting."""
        if self._presence is None:
            presence = np.zeros((len(self), len(self.classes)), dtype=np.bool_)
            for index, row in enumerate(presence):
                row[[self._labels[digit.number] for digit in self._layout(index).digits]] = True
            presence[:, BACKGROUND] = True
            self._presence = presence
        return self._presence.copy()

    def _layout(self, index: int) -> _Layout:
        return _lay_out(self._rng(index, "layout"), self.image_size, _glyphs(self.split))

    def _rng(self, index: int, purpose: str) -> np.random.Generator:
        """The stream of one purpose, so that what is painted never moves a digit."""
        if not 0 <= index < len(self):
            raise IndexError(f"Scene {index} was asked of {len(self)}; count from 0.")
        words = (SPLITS.index(self.split), ("layout", "paint").index(purpose), index, self.seed)
        return np.random.default_rng(np.random.SeedSequence(words))


def _check_name(what: str, name: str, known: tuple[str, ...]) -> None:
    """Raise ValueError, with the nearest right name, unless ``name`` is known."""
    if name not in known:
        near = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ValueError(f"Scenes have no {what} '{name}'; {hint}Choose from {', '.join(known)}.")


def _check_least(what: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"Scenes need {what} of at least {least}, got {value}.")


def _chosen(classes: tuple[str, ...] | None) -> tuple[str, ...]:
    """The digits' names asked for, the background's left out; all ten for None."""
    names = DIGITS if classes is None else tuple(name for name in classes if name != "background")
    for name in names:
        _check_name("class", name, DIGITS)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Scenes need at least one digit and each only once, got classes={classes}.")
    return names


@cache
def _glyphs(split: str) -> tuple[tuple[Image.Image, ...], ...]:
    """The split's samples of each digit, enlarged to 8 bit images with a margin of a cell around."""
    from sklearn.datasets import load_digits

    samples = load_digits()
    levels = np.pad(samples.images * (255 / 16), ((0, 0), (1, 1), (1, 1))).round().astype(np.uint8)
    ink = levels.sum(axis=(1, 2))
    part = SPLITS.index(split)
    glyphs = []
    for number in range(len(DIGITS)):
        of_number = np.flatnonzero(samples.target == number)
        of_number = of_number[ink[of_number] <= np.quantile(ink[of_number], _LIGHTEST)]
        first, last = (int(share * len(of_number)) for share in _SHARES[part : part + 2])
        glyphs.append(tuple(_enlarged(levels[sample]) for sample in of_number[first:last]))
    return tuple(glyphs)


def _enlarged(levels: NDArray[np.uint8]) -> Image.Image:
    side = len(levels) * _CELL
    smooth = Image.fromarray(levels).resize((side, side), Image.Resampling.BICUBIC)
    return smooth.filter(ImageFilter.UnsharpMask(radius=_CELL, percent=150, threshold=0))


def _lay_out(rng: np.random.Generator, side: int, glyphs: tuple[tuple[Image.Image, ...], ...]) -> _Layout:
    """Place two to four digits; one that would hide too much of an older one everywhere is left out."""
    digits: list[_Digit] = []
    owner = np.zeros((side, side), dtype=np.uint8)
    areas: list[int] = []
    for number in rng.integers(len(DIGITS), size=rng.integers(2, 5)).tolist():
        alpha = _pose(rng, glyphs[number][rng.integers(len(glyphs[number]))], side)
        inked = np.asarray(alpha) >= 128
        corner = _free_corner(rng, inked, owner, areas)
        if corner is not None:
            digits.append(_Digit(number, alpha, corner))
            _window(owner, inked, corner)[inked] = len(digits)
            areas.append(int(inked.sum()))
    return _Layout(tuple(digits), owner)


def _pose(rng: np.random.Generator, glyph: Image.Image, side: int) -> Image.Image:
    """Turn and scale a glyph, sharpen its edge to about a pixel, and crop it: coverage of 0 to 255."""
    scale, aspect, turn = (rng.uniform(*span) for span in (_HEIGHT, _ASPECT, (-_TURN, _TURN)))
    step = 8 * _CELL / (scale * side)
    # Rounded, the last bit of the platform's sine cannot reach a pixel.
    cos, sin = round(math.cos(turn), 6), round(math.sin(turn), 6)
    a, b, d, e = step * cos / aspect, step * sin / aspect, -step * sin, step * cos
    box, middle = math.ceil(1.6 * scale * side), glyph.width / 2
    offsets = (middle - (a + b) * box / 2, middle - (d + e) * box / 2)
    turned = glyph.transform(
        (box, box), Image.Transform.AFFINE, (a, b, offsets[0], d, e, offsets[1]), Image.Resampling.BILINEAR
    )
    gain = max(1.0, _CELL / step)
    coverage = (128 + gain * (np.arange(256) - _EDGE)).clip(0, 255).astype(np.uint8)
    alpha = Image.fromarray(coverage[np.asarray(turned)])
    return alpha.crop(alpha.getbbox())


def _free_corner(
    rng: np.random.Generator, inked: NDArray[np.bool_], owner: NDArray[np.uint8], areas: list[int]
) -> tuple[int, int] | None:
    """A random left and top where every older digit stays visible enough, or None after some tries."""
    seen = np.bincount(owner.ravel(), minlength=len(areas) + 1)[1:]
    needed = np.maximum(np.array(areas, dtype=np.float64) * _MIN_VISIBLE, _MIN_PIXELS)
    high, wide = owner.shape[0] - inked.shape[0] + 1, owner.shape[1] - inked.shape[1] + 1
    for left, top in rng.integers((wide, high), size=(_TRIES, 2)).tolist():
        hidden = np.bincount(_window(owner, inked, (left, top))[inked], minlength=len(areas) + 1)[1:]
        if (seen - hidden >= needed).all():
            return left, top
    return None


def _window(owner: NDArray[np.uint8], inked: NDArray[np.bool_], corner: tuple[int, int]) -> NDArray[np.uint8]:
    """The view of ``owner`` under a digit put at ``corner`` (left, top)."""
    (left, top), (high, wide) = corner, inked.shape
    return owner[top : top + high, left : left + wide]


def _paint(rng: np.random.Generator, layout: _Layout) -> Image.Image:
    """Draw ground, clutter, then the digits, each with a soft shadow and an ink of its own."""
    side = len(layout.owner)
    ground = np.array([ImageColor.getrgb(colour) for colour in _GROUNDS[rng.integers(len(_GROUNDS))]])
    scene = Image.fromarray(_texture(rng, side, ground))
    inks = rng.permutation([ImageColor.getrgb(ink) for ink in _INKS])
    for _ in range(rng.integers(3, 6)):
        _stamp(scene, _patch(rng, side), _corner(rng, side), _tint(rng, ground))
    for _ in range(rng.integers(1, 3)):
        _stamp(scene, _mark(rng, side), _corner(rng, side), _shaken(rng, inks[rng.integers(len(inks))]))
    for digit, ink in zip(layout.digits, inks, strict=False):
        left, top = digit.corner
        shift = max(1, side // 48)
        _stamp(scene, digit.alpha.point(_SHADOW), (left + shift, top + shift), (0, 0, 0))
        _stamp(scene, digit.alpha, (left, top), _shaken(rng, ink))
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
