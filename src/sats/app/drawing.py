"""What models see in a picture, drawn side by side; and as mask files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from sats.api import NOT_IN_NAMES
from sats.app.text import rendered
from sats.evaluation.overlay import index_image
from sats.report.gallery import legend
from sats.report.pictures import class_map, photo, resized_labels
from sats.types import BACKGROUND
from sats.words import count, percent, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from sats.app.models import Model
    from sats.app.prediction import Labels, Photo
    from sats.report.pictures import Picture

LONGEST_SIDE = 720
"""Pixels of a picture on the page."""
MOST_SHARES = 4
"""Classes named below a picture."""
LEAST_SHARE = 0.0005
"""Of a picture: less would be shown as none."""
MOST_FAST = 2**22
"""Pixels of a mask that is packed well; larger ones would take seconds each."""


@dataclass(frozen=True)
class Figure:
    """What a model saw: a layer to lay over the photo, and how much of the photo each class takes."""

    layer: Picture
    title: str
    shares: tuple[tuple[str, str], ...]
    more: str


def side_by_side(taken: Photo, models: Sequence[Model], maps: Sequence[Labels], classes: tuple[str, ...]) -> str:
    """HTML of the photo and of each model's map, a row for each group; ``classes`` give the colours."""
    drawn = photo(taken.image, LONGEST_SIDE)
    size = (drawn.width, drawn.height)
    placed = [_places(model, classes)[labels] for model, labels in zip(models, maps, strict=True)]
    figures = [
        _figure(model, resized_labels(labels, size), classes) for model, labels in zip(models, placed, strict=True)
    ]
    rows = groupby(zip(models, figures, strict=True), key=lambda pair: pair[0].group)
    return rendered(
        "seen",
        photo=drawn,
        size=f"{taken.image.width} x {taken.image.height}",
        rows=[(group, [figure for _, figure in pairs]) for group, pairs in rows],
        legend=[entry for entry in legend(placed, classes) if entry.name != classes[BACKGROUND]],
    )


def _places(model: Model, classes: tuple[str, ...]) -> Labels:
    """For each of a model's own channels, the place of its class among ``classes``."""
    return np.array([BACKGROUND, *(classes.index(name) for name in model.classes)], dtype=np.uint8)


def _figure(model: Model, labels: Labels, classes: tuple[str, ...]) -> Figure:
    found = np.bincount(labels.ravel(), minlength=len(classes)) / labels.size
    order = np.argsort(-found, kind="stable").tolist()
    largest = [index for index in order if found[index] >= LEAST_SHARE and index != BACKGROUND]
    shares = [(shown(classes[index]), percent(float(found[index]))) for index in largest[:MOST_SHARES]]
    left = len(largest) - len(shares)
    more = f"and {count(left, 'class', 'classes')} more" if left else ""
    layer = class_map(model.title, labels, (labels.shape[1], labels.shape[0]), classes, clear=True)
    return Figure(layer, model.part, tuple(shares), more)


def write_masks(folder: Path, taken: Photo, models: Sequence[Model], maps: Sequence[Labels]) -> list[Path]:
    """Write the map of each model at the photo's own size into ``folder``, as `sats predict` does; returns the files.

    A pixel is the place of its class among the background and the model's own classes.
    """
    files = _file_names(taken.name, models)
    for name, labels in zip(files, maps, strict=True):
        mask = index_image(resized_labels(labels, taken.image.size))
        _save(mask, folder / name)
    return [folder / name for name in files]


def _save(mask: Image.Image, path: Path) -> None:
    is_large = mask.width * mask.height > MOST_FAST
    mask.save(path, compress_level=1 if is_large else 6)


def _file_names(stem: str, models: Sequence[Model]) -> list[str]:
    """A name for each mask; of two that would be called the same, the later has its number in it."""
    taken: dict[str, None] = {}
    for number, model in enumerate(models, start=1):
        name = re.sub("-+", "-", NOT_IN_NAMES.sub("-", f"{stem[:60]}-{model.title[:80]}")).strip("-.")
        taken[f"{name}.png" if f"{name}.png" not in taken else f"{name}-{number}.png"] = None
    return list(taken)
