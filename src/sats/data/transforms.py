"""Operations on an image and its mask together: one pass of scaling, cropping and flipping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sats.data.source import UNCHANGED
from sats.types import IGNORE, MIN_SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]

ASPECT = (3 / 4, 4 / 3)
"""Width over height of a box cut out by area."""
FILL = (124, 116, 104)
"""MEAN in 0 to 255: what lies outside an image, near 0 after normalisation."""


def resized(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """(height, width) scaled so that the shorter is ``short_side``; 0 leaves them, unless that is below MIN_SIDE."""
    if not short_side and min(size) >= MIN_SIDE:
        return size
    short_side = short_side or MIN_SIDE
    factor = short_side / min(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


@dataclass(frozen=True)
class TrainTransform:
    """Random zoom, crop, flip and colour for training; every draw comes from the generator it is called with.

    Images are scaled to a short side of ``resize`` pixels (0: not), then by a factor drawn from ``scale``, and
    ``crop`` x ``crop`` pixels are taken from them; what lies outside the image is FILL and IGNORE. With ``area``, as
    MiB's code and its successors do, ``scale`` is a range of shares of the image's area instead: a box of such an area,
    its sides 3:4 to 4:3, is cut out and brought to ``crop`` x ``crop`` (``resize`` has no effect then). ``colour`` is
    the strength of the random brightness, contrast and saturation, 0 for none.
    """

    crop: int
    scale: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    resize: int = 0
    colour: float = 0.0
    area: bool = False

    def __call__(self, image: Image.Image, mask: NDArray[np.uint8], rng: np.random.Generator) -> Pair:
        """An image [crop, crop, 3] and its labels [crop, crop], both uint8."""
        return self.apply(self.draw((image.height, image.width), rng), image, mask, rng)

    def repeats(self, size: tuple[int, int]) -> bool:
        """Whether all draws take the same of an image of ``size`` (height, width), but for mirroring it."""
        if self.area or self.colour or self.scale[0] < self.scale[1]:
            return False
        factor = self.scale[0] * (self.resize / min(size) if self.resize else 1.0)
        return all(max(1, round(length * factor)) == self.crop for length in size)

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> Cut:
        """What to take of an image of ``size`` (height, width)."""
        height, width = size
        if self.area:
            return Cut(*_area_windows(width, height, self.crop, self.scale, rng))
        factor = rng.uniform(*self.scale)
        if self.resize:
            factor *= self.resize / min(size)
        across = _window(width, self.crop, factor, rng)
        return Cut(across, _window(height, self.crop, factor, rng))

    def apply(
        self,
        cut: Cut,
        image: Image.Image,
        ids: NDArray[np.uint8],
        rng: np.random.Generator,
        table: NDArray[np.uint8] = UNCHANGED,
    ) -> Pair:
        """What was drawn, of an image that may have been reduced, and of the ``ids`` of its mask, which were not.

        ``table`` has the label of each id [256].
        """
        box, size = cut.box, cut.size
        across, down = image.width / ids.shape[1], image.height / ids.shape[0]
        own = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        part = image.resize(size, Image.Resampling.BILINEAR, box=own, reducing_gap=2.0)
        stored = Image.fromarray(ids).resize(size, Image.Resampling.NEAREST, box=box)
        labels = Image.fromarray(table.take(np.asarray(stored)))
        if self.colour:
            part = Image.fromarray(_jitter(np.asarray(part), self.colour, rng))
        left = cut.across.offset
        if self.flip and rng.random() < 0.5:  # Pillow mirrors ten times as fast as NumPy copies backwards
            part, labels = (side.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for side in (part, labels))
            left = self.crop - left - size[0]
        place = (left, cut.down.offset)
        return _pasted(part, place, self.crop, FILL), _pasted(labels, place, self.crop, IGNORE)


def _pasted(part: Image.Image, place: tuple[int, int], crop: int, fill: tuple[int, ...] | int) -> NDArray[np.uint8]:
    """``part`` as an array, with its corner at ``place`` (from left, from top) in a square that is ``fill``."""
    if part.size != (crop, crop):
        square = Image.new(part.mode, (crop, crop), fill)
        square.paste(part, place)
        part = square
    return np.array(part)


@dataclass(frozen=True)
class Cut:
    """What is taken of an image's width and height."""

    across: _Window
    down: _Window

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom, in the image's pixels."""
        return (self.across.start, self.down.start, self.across.stop, self.down.stop)

    @property
    def size(self) -> tuple[int, int]:
        """The width and height in pixels that the box is brought to."""
        return (self.across.size, self.down.size)

    @property
    def scale(self) -> float:
        """The larger of the factors by which the box is enlarged."""
        return max(side.size / (side.stop - side.start) for side in (self.across, self.down))


@dataclass(frozen=True)
class _Window:
    """Along one side: pixels ``start`` to ``stop`` of the image fill ``size`` pixels of the crop from ``offset``."""

    start: float
    stop: float
    size: int
    offset: int


def _window(length: int, crop: int, factor: float, rng: np.random.Generator) -> _Window:
    scaled = max(1, round(length * factor))
    if scaled <= crop:  # the whole side, somewhere within the crop
        return _Window(0.0, float(length), scaled, int(rng.integers(crop - scaled + 1)))
    start = int(rng.integers(scaled - crop + 1)) * length / scaled
    return _Window(start, min(float(length), start + crop * length / scaled), crop, 0)


def _area_windows(
    width: int, height: int, crop: int, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[_Window, _Window]:
    """A random box, by its share of the area and its aspect ratio (ten tries), or the middle of the image."""
    low, high = ASPECT
    for _ in range(10):
        pixels = width * height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
        wide, tall = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - tall + 1))
            break
    else:
        wide, tall = min(width, round(height * high)), min(height, round(width / low))
        left, top = (width - wide) // 2, (height - tall) // 2
    return _Window(left, left + wide, crop, 0), _Window(top, top + tall, crop, 0)


def _jitter(pixels: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random brightness, contrast and saturation, each a factor within 1 +- ``strength``."""
    if not strength:
        return pixels
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, size=3)
    values = pixels.astype(np.float32) * brightness
    values = (values - values.mean()) * contrast + values.mean()
    grey = values.mean(axis=2, keepdims=True)
    jittered: NDArray[np.uint8] = ((values - grey) * saturation + grey).clip(0, 255).astype(np.uint8)
    return jittered


@dataclass(frozen=True)
class TestTransform:
    """What a test image goes through, always the same.

    Without ``crop``, the image is scaled to a short side of ``resize`` pixels (0: not) and its labels stay at their
    own size: predictions are brought to them. With ``crop``, image and labels are scaled to a short side of
    ``crop`` and the middle ``crop`` x ``crop`` pixels are kept, as the field's published codes test.
    """

    __test__ = False  # it is no test of pytest's

    resize: int = 0
    crop: int = 0

    def __call__(self, image: Image.Image, mask: NDArray[np.uint8]) -> Pair:
        """An image [h, w, 3] and labels, both uint8."""
        height, width = resized((image.height, image.width), self.crop or self.resize)
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if not self.crop:
            return np.asarray(image), mask
        resized_mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
        top, left = (height - self.crop) // 2, (width - self.crop) // 2
        middle = (slice(top, top + self.crop), slice(left, left + self.crop))
        return np.asarray(image)[middle], resized_mask[middle]

    def shape(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """What decides which images may share a batch: the (h, w) that the model sees, and the labels' (H, W)."""
        if self.crop:
            return (self.crop, self.crop, self.crop, self.crop)
        return (*resized(size, self.resize), *size)
