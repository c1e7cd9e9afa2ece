"""A mask that grows by paint over a picture, in the page's editor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sats.app.collection import NEW
from sats.data.index import read_image
from sats.evaluation.overlay import overlay, palette
from sats.report.pictures import picture_size, resized_labels
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from sats.app.collection import Collected, Labels

LONGEST_SIDE = 1024
"""Pixels of the picture that is painted on."""
MARKED = 6
"""The place in the palette of what is marked: vermilion."""
PAINT = tuple(palette()[MARKED].tolist())
OPAQUE = 127
"""The layers' least opacity that counts as paint, of 255."""


def to_paint(item: Collected) -> Image.Image:
    """The picture to paint on, with what its mask has already."""
    height, width = item.size()
    size = picture_size(width, height, LONGEST_SIDE)
    picture = read_image(str(item.image), scale=min(1.0, max(size) / max(height, width)))
    return marked(picture.resize(size, Image.Resampling.BICUBIC), resized_labels(item.labels(), size))


def marked(picture: Image.Image, labels: Labels) -> Image.Image:
    """``picture`` with the new class of ``labels``, of the same size, marked in it."""
    return overlay(picture, np.where(labels == NEW, MARKED, BACKGROUND).astype(np.uint8))


def painted(value: dict[str, Any] | None, labels: Labels) -> Labels:
    """``labels`` [H, W], and NEW where the layers of the editor's ``value``, of any size, have paint."""
    found = labels.copy()
    for layer in value["layers"] if value else ():
        opacity = np.asarray(layer.convert("RGBA"))[..., 3]
        found[resized_labels(opacity, (labels.shape[1], labels.shape[0])) > OPAQUE] = NEW
    return found
