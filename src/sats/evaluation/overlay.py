"""Class maps as pictures: index images with a palette, and overlays."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from numpy.typing import NDArray

DISTINCT = (  # Okabe and Ito's colours, told apart with any kind of colour vision; then those farthest from them
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (140, 60, 255),
    (90, 225, 50),
    (165, 25, 85),
    (110, 85, 20),
)
GOLDEN = 0.618034  # steps of the golden ratio spread hues evenly, however many there are


def palette(num_classes: int = 256) -> NDArray[np.uint8]:
    """A colour for each class index, [num_classes, 3]: black for background, white for IGNORE."""
    colours = [(0, 0, 0), *DISTINCT]
    for index in range(len(colours), num_classes):
        hue, round_ = (index * GOLDEN) % 1.0, index // 12 % 3
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 - 0.2 * round_, 0.95 - 0.2 * round_)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    if num_classes > IGNORE:
        colours[IGNORE] = (255, 255, 255)
    return np.array(colours[:num_classes], dtype=np.uint8)


def index_image(labels: NDArray[np.uint8]) -> Image.Image:
    """Labels [H, W] as a palette image whose pixel values are the class indices."""
    image = Image.fromarray(labels)
    image.putpalette(palette().tobytes())  # turns greyscale into palette mode
    return image


def overlay(image: Image.Image, labels: NDArray[np.uint8], strength: float = 0.6) -> Image.Image:
    """``image`` with each class's colour laid over its pixels; the background stays as it is."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    colours = palette()[labels].astype(np.float32)
    mixed = pixels * (1 - strength) + colours * strength
    shown = np.where((labels == BACKGROUND)[..., None], pixels, mixed)
    return Image.fromarray(shown.round().astype(np.uint8))
