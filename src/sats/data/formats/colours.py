"""Masks whose colours stand for classes, with a table of the colours; CVAT's "segmentation mask" is one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from sats.data.formats.labelled import Item, Labelled, arrange, check_folder, check_size
from sats.data.formats.tables import read_colours
from sats.data.index import read_image
from sats.data.pairs import Place, pair_up
from sats.types import BACKGROUND, IGNORE, Unknown

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_COLOURS: Final = 5
"""Unknown colours of a mask that are listed."""


@dataclass(frozen=True)
class Palette:
    """What colours mean: ``codes`` [N] (0xRRGGBB, ascending) and the class ``indices`` [N] of them.

    ``unknown`` says what becomes of other colours; ``where`` they should have been named.
    """

    classes: tuple[str, ...]
    codes: NDArray[np.int32]
    indices: NDArray[np.uint8]
    unknown: Unknown
    where: str

    def decode(self, pixels: NDArray[np.uint8], mask: str) -> NDArray[np.uint8]:
        """The class of every pixel [H, W, 3] of ``mask``; ValueError for colours that may not be there."""
        codes = pixels.astype(np.int32) @ np.array([0x10000, 0x100, 1], dtype=np.int32)
        places = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        strange = self.codes[places] != codes
        found: NDArray[np.uint8] = self.indices[places]
        if strange.any():
            if self.unknown == "refuse":
                raise ValueError(self._without_name(codes[strange], mask))
            found[strange] = IGNORE if self.unknown == "ignore" else BACKGROUND
        return found

    def _without_name(self, codes: NDArray[np.int32], mask: str) -> str:
        values, counts = np.unique(codes, return_counts=True)
        often = np.argsort(-counts, kind="stable")[:MOST_COLOURS]
        shown = ", ".join(f"{_words(int(values[place]))} in {counts[place]} pixels" for place in often)
        more = f" and {len(values) - MOST_COLOURS} more" if len(values) > MOST_COLOURS else ""
        fix = "name them there, or say --unknown ignore or --unknown background"
        return f"{mask} has colours that {self.where} does not name ({shown}{more}): {fix}."


def _words(code: int) -> str:
    return f"{code >> 16} {code >> 8 & 255} {code & 255}"


def read_palette(table: Path, unknown: Unknown) -> Palette:
    """What the colours in a ``table`` mean."""
    colours = read_colours(table)
    classes, indices = arrange(list(colours.values()), str(table))
    codes = np.array([red << 16 | green << 8 | blue for red, green, blue in colours], dtype=np.int32)
    order = np.argsort(codes)
    return Palette(classes, codes[order], np.array(indices, dtype=np.uint8)[order], unknown, str(table))


def read(images: Path, masks: Path, mask_ending: str, table: Path, unknown: Unknown = "refuse") -> Labelled:
    """Images and masks of the same name, but for the ``mask_ending`` before a mask's suffix."""
    palette = read_palette(table, unknown)
    check_folder(images, "--images")
    check_folder(masks, "--masks")
    pairs, problems = pair_up(Place("", images, masks, mask_ending=mask_ending))
    items = [
        Item(
            str(Path(pair.image).relative_to(images)), Path(pair.image), partial(_draw, palette, pair.mask, pair.image)
        )
        for pair in pairs
    ]
    return Labelled(palette.classes, items, len(items), tuple(problems))


def _draw(palette: Palette, mask: str, image: str, height: int, width: int) -> NDArray[np.uint8]:
    colours = read_image(mask)
    check_size(mask, (colours.height, colours.width), image, height, width)
    return palette.decode(np.asarray(colours), mask)
