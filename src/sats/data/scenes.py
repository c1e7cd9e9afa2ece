"""Scenes: the built-in data, real handwritten digits on synthetic backgrounds, made on the fly.

Every draw comes from a ``numpy.random.SeedSequence`` keyed by (seed, split, index), and the drawing keeps to
8 bit Pillow operations and plain arithmetic: no sine of the platform's own decides a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageFilter

from sats.data import painting
from sats.data.scenes_index import kept
from sats.data.source import Source
from sats.errors import unknown
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Callable

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

_KEPT_PIXELS: Final = 2**24
"""Pixels of scenes that a process keeps (80 MiB): to draw one takes as long as to learn from it."""


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


@dataclass(frozen=True)
class _Scene:
    """A scene as drawn: ``owner`` [H, W] is 1 + the position in ``numbers`` of the digit seen, else 0."""

    picture: Image.Image
    numbers: tuple[int, ...]
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

    def image(self, index: int, scale: float = 1.0) -> Image.Image:  # noqa: ARG002 (as sources have it)
        """Scene ``index``, in RGB. Raises IndexError where there is none."""
        return self._scene(index).picture.copy()

    def mask(self, index: int) -> NDArray[np.uint8]:
        """The class index of every pixel of scene ``index``: [H, W]; raises IndexError as ``image`` does."""
        scene = self._scene(index)
        labels = [BACKGROUND, *(self._labels[number] for number in scene.numbers)]
        return np.array(labels, dtype=np.uint8)[scene.owner]

    def size(self, index: int) -> tuple[int, int]:  # noqa: ARG002 - all scenes have one size
        """Height and width, the same for all scenes."""
        return self.image_size, self.image_size

    def presence(self) -> NDArray[np.bool_]:
        """Which classes each scene holds: [images, classes]; laid out once, without painting."""
        if self._presence is None:
            name = f"{self.split}-{len(self)}-{self.image_size}-{self.seed}"
            digits = kept(name, (len(self), len(DIGITS)), __file__, self._digits_held)
            presence = np.zeros((len(self), len(self.classes)), dtype=np.bool_)
            for number, label in enumerate(self._labels):
                presence[:, label] |= digits[:, number]
            presence[:, BACKGROUND] = True
            self._presence = presence
        return self._presence.copy()

    def _digits_held(self) -> NDArray[np.bool_]:
        """Which of the ten digits each scene holds: [images, 10]."""
        held = np.zeros((len(self), len(DIGITS)), dtype=np.bool_)
        for index, row in enumerate(held):
            layout = _lay_out(self.split, self.seed, index, self.image_size)
            row[[digit.number for digit in layout.digits]] = True
        return held

    def _scene(self, index: int) -> _Scene:
        if not 0 <= index < len(self):
            raise IndexError(f"Scene {index} was asked of {len(self)}; count from 0.")
        return _memory(self.image_size)(self.split, self.seed, index)


@cache
def _memory(side: int) -> Callable[[str, int, int], _Scene]:
    """Draws scenes of ``side`` pixels by split, seed and index, and keeps those drawn last."""

    @lru_cache(maxsize=_KEPT_PIXELS // side**2)
    def scene(split: str, seed: int, index: int) -> _Scene:
        layout = _lay_out(split, seed, index, side)
        picture = painting.paint(_rng(split, seed, index, "paint"), side, [(d.alpha, d.corner) for d in layout.digits])
        return _Scene(picture, tuple(digit.number for digit in layout.digits), layout.owner)

    return scene


def _rng(split: str, seed: int, index: int, purpose: str) -> np.random.Generator:
    """The stream of one purpose, so that what is painted never moves a digit."""
    words = (SPLITS.index(split), ("layout", "paint").index(purpose), index, seed)
    return np.random.default_rng(np.random.SeedSequence(words))


def _check_name(what: str, name: str, known: tuple[str, ...]) -> None:
    """Raise ValueError, with the nearest right name, unless ``name`` is known."""
    if name not in known:
        raise ValueError(unknown(what, name, known, "scenes"))


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


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The 1797 samples [1797, 8, 8], 0 to 16, and their numbers, from scikit-learn's own file.

    Importing scikit-learn to read it would take most of a second.
    """
    package = find_spec("sklearn")
    file = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if package else Path()
    if not file.is_file():  # a version that has it elsewhere
        from sklearn.datasets import load_digits

        samples = load_digits()
        return samples.images.astype(np.uint8), samples.target.astype(np.uint8)
    rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]


@cache
def _glyphs(split: str) -> tuple[tuple[Image.Image, ...], ...]:
    """The split's samples of each digit, enlarged to 8 bit images with a margin of a cell around."""
    images, numbers = _digits()
    levels = np.pad(images * (255 / 16), ((0, 0), (1, 1), (1, 1))).round().astype(np.uint8)
    ink = levels.sum(axis=(1, 2))
    part = SPLITS.index(split)
    glyphs = []
    for number in range(len(DIGITS)):
        of_number = np.flatnonzero(numbers == number)
        of_number = of_number[ink[of_number] <= np.quantile(ink[of_number], _LIGHTEST)]
        first, last = (int(share * len(of_number)) for share in _SHARES[part : part + 2])
        glyphs.append(tuple(_enlarged(levels[sample]) for sample in of_number[first:last]))
    return tuple(glyphs)


def _enlarged(levels: NDArray[np.uint8]) -> Image.Image:
    side = len(levels) * _CELL
    smooth = Image.fromarray(levels).resize((side, side), Image.Resampling.BICUBIC)
    return smooth.filter(ImageFilter.UnsharpMask(radius=_CELL, percent=150, threshold=0))


def _lay_out(split: str, seed: int, index: int, side: int) -> _Layout:
    """Place two to four digits; one that would hide too much of an older one everywhere is left out."""
    rng, glyphs = _rng(split, seed, index, "layout"), _glyphs(split)
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
