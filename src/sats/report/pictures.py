"""Pictures of a report as data URIs that need no other file: photos, class maps, what changed, what is attended to."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sats.evaluation.overlay import index_image
from sats.types import BACKGROUND, IGNORE
from sats.words import names, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Labels = NDArray[np.uint8]
    Size = tuple[int, int]

LONGEST_SIDE = 320
"""Pixels that a picture has at most; it is shown at about half of that, and screens have up to two for each."""
SMALL_SIDE = 160
"""Pictures with a longest side below this are enlarged by a whole factor, which keeps maps sharp."""
RIGHT, LOST, GAINED, WRONG = range(4)
"""What became of a pixel from one step to the next."""
CHANGES = ("right", "lost", "gained", "wrong")
CHANGE_COLOURS = ((255, 255, 255), (213, 94, 0), (0, 114, 178), (70, 70, 70))
"""Vermilion and blue are told apart with any kind of colour vision. What is right both times is seen through."""
VIOLET, STRONGEST = (110, 20, 150), 0.88
"""What is attended to, and how much it covers the photo where it is most."""
STRONGEST_FROM = 0.98
"""The share of places that are attended to less than the strongest."""


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI of ``width`` x ``height`` pixels; ``title`` says whose it is, ``text`` what it shows."""

    title: str
    uri: str
    width: int
    height: int
    text: str


def picture_size(width: int, height: int, longest_side: int = LONGEST_SIDE) -> Size:
    """The size at which an image is embedded: enlarged by a whole factor, or scaled down."""
    longest = max(width, height)
    factor = longest_side // longest if longest < SMALL_SIDE else min(1.0, longest_side / longest)
    return max(1, round(width * factor)), max(1, round(height * factor))


def photo(image: Image.Image, longest_side: int = LONGEST_SIDE) -> Picture:
    """An image as it is."""
    stored, size = io.BytesIO(), picture_size(image.width, image.height, longest_side)
    image.resize(size, Image.Resampling.BICUBIC).save(stored, "JPEG", quality=85)
    return Picture("image", _uri("jpeg", stored.getvalue()), *size, "the image")


def class_map(title: str, labels: Labels, size: Size, classes: tuple[str, ...], clear: bool = False) -> Picture:
    """Indices into ``classes`` [H, W], each in its colour; with ``clear`` the background is seen through."""
    text = f"{title}: {names(present(labels, classes)) or 'background only'}"
    seen_through = {"transparency": b"\0"} if clear else {}
    return Picture(title, _png(index_image(resized_labels(labels, size)), **seen_through), *size, text)


def resized_labels(labels: Labels, size: Size) -> Labels:
    """Labels [H, W] at another (width, height), nearest neighbour."""
    return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))


def change_map(title: str, maps: tuple[Labels, Labels, Labels], size: Size) -> Picture:
    """What the prediction of a step lost and gained over that of the step before, and where both are wrong.

    ``maps`` are the truth and both predictions, each [H, W] of any size.
    """
    truth, before, after = (resized_labels(labels, size) for labels in maps)
    found = changes(truth, before, after)
    picture = Image.fromarray(found)
    picture.putpalette(np.array(CHANGE_COLOURS, dtype=np.uint8).tobytes())
    counted = np.bincount(found[truth != IGNORE], minlength=len(CHANGES)) / max(1, int((truth != IGNORE).sum()))
    shares = ", ".join(f"{CHANGES[kind]} {percent(float(counted[kind]))} %" for kind in (LOST, GAINED, WRONG))
    return Picture(title, _png(picture, transparency=bytes([0, 235, 235, 170])), *size, shares)


def changes(truth: Labels, before: Labels, after: Labels) -> Labels:
    """What became of each pixel, RIGHT where nobody labelled it: arrays [H, W] of one size."""
    was, is_now = before == truth, after == truth
    found = np.select([was & is_now, was, is_now], [RIGHT, LOST, GAINED], WRONG)
    return np.where(truth == IGNORE, RIGHT, found).astype(np.uint8)


def shades(maps: Sequence[NDArray[np.float32]]) -> list[str]:
    """Attention maps [h, w] as violet to lay over a photo: from clear where it is least to strong where it is most.

    The scale is that of all maps together. Most is a quantile: a single key may draw so much attention that in
    proportion nothing else would be seen.
    """
    values = np.concatenate([one.ravel() for one in maps])
    least, most = float(values.min()), float(np.quantile(values, STRONGEST_FROM))
    return [_shade(np.clip((one - least) / max(most - least, 1e-9), 0, 1)) for one in maps]


def _shade(strength: NDArray[np.float32]) -> str:
    alpha = Image.fromarray((255 * STRONGEST * strength).round().astype(np.uint8))
    picture = Image.new("RGB", alpha.size, VIOLET)
    picture.putalpha(alpha)
    return _png(picture)


def present(labels: Labels, classes: tuple[str, ...]) -> list[str]:
    """The names of the foreground classes in a map."""
    return [classes[index] for index in np.unique(labels) if index not in (BACKGROUND, IGNORE)]


def _png(picture: Image.Image, **options: bytes) -> str:
    stored = io.BytesIO()
    picture.save(stored, "PNG", optimize=True, **options)
    return _uri("png", stored.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
