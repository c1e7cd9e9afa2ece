"""A folder of binary masks for each class: what is not zero is the class."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sats.data.formats.labelled import (
    Item,
    Labelled,
    arrange,
    check_folder,
    check_size,
    images_below,
    unlabelled_value,
    without_image,
)
from sats.data.index import opened
from sats.data.pairs import MASK_SUFFIXES, by_stem
from sats.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

    from sats.types import Void

    Masks = list[tuple[Path, int]]  # a mask's file, and the class it shows


def read(
    images: Path, masks: Path, mask_ending: str, classes: Sequence[str] = (), unlabelled: Void = "background"
) -> Labelled:
    """Images, and for each class (a folder below ``masks``) the masks of those that have it; later classes lie on top.

    Only ``classes``, in this order; by default all, in that of the alphabet.
    """
    problems: list[str] = []
    files = images_below(images, problems)
    check_folder(masks, "--masks")
    folders = _folders(masks, classes)
    names, indices = arrange(folders, str(masks))
    found: dict[str, Masks] = {stem: [] for stem in files}
    for folder, index in zip(folders, indices, strict=True):
        of_class = by_stem(masks / folder, MASK_SUFFIXES, problems, mask_ending)
        problems += without_image(of_class, files, f"mask of {folder!r}", images)
        for stem, (path, *_) in of_class.items():
            if stem in found:
                found[stem].append((masks / folder / path, index))
    fill = unlabelled_value(unlabelled)
    items = [
        Item(file, images / file, partial(_draw, found[stem], images / file, fill)) for stem, file in files.items()
    ]
    return Labelled(names, items, len(items), tuple(problems), _notes(found))


def _folders(masks: Path, classes: Sequence[str]) -> list[str]:
    there = sorted(entry.name for entry in masks.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if not there:
        raise ValueError(f"{masks} holds no folders: put the masks of each class into a folder that is called like it.")
    for name in classes:
        if name not in there:
            raise ValueError(unknown("folder of a class", name, there, str(masks)))
    return list(dict.fromkeys(classes)) or there


def _notes(found: dict[str, Masks]) -> tuple[str, ...]:
    bare = sum(not masks for masks in found.values())
    return (f"Images without a mask of any class: {bare} of {len(found)}.",) if bare else ()


def _draw(masks: Masks, image: Path, fill: int, height: int, width: int) -> NDArray[np.uint8]:
    drawn = np.full((height, width), fill, dtype=np.uint8)
    for path, index in masks:
        shown = _is_shown(str(path))
        check_size(str(path), (shown.shape[0], shown.shape[1]), image, height, width)
        drawn[shown] = index
    return drawn


def values_of(mask: Image) -> NDArray[Any]:
    """The values of an open mask [H, W] or [H, W, channels]: ids, but of a palette in black and white its shades.

    Which of those two has the id 0 is the program's choice that wrote the palette, and says nothing.
    """
    if mask.mode == "P":
        used = mask.convert("RGB").getcolors(2)  # none if there are more
        if used is not None and {colour for _, colour in used} <= {(0, 0, 0), (255, 255, 255)}:
            return np.asarray(mask.convert("L"))
    return np.asarray(mask)


def _is_shown(path: str) -> NDArray[np.bool_]:
    """Where a mask is not zero [H, W]; transparency does not count."""
    with opened(path) as mask:
        mask.load()
    pixels = values_of(mask)
    if pixels.ndim == 2:
        return np.asarray(pixels > 0)
    colours = pixels.shape[2] - (mask.mode in ("LA", "PA", "RGBA"))
    return np.asarray(pixels[..., :colours].any(axis=2))
