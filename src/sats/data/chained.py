"""Several sources as one, for data that arrives folder by folder."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

from sats.data.source import Source
from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image


class ChainedSource(Source):
    """The images of ``parts``, one after the other; ``classes`` are those of the first, then what others add.

    Classes are told from each other by name; ValueError for names that differ in case alone. Keys of the first part
    stay as they are, others begin with the part's number. Background is IGNORE in parts that do not label every class
    of ``expected``: nobody knows what it is.
    """

    def __init__(self, parts: Sequence[Source], expected: Sequence[str] = ()) -> None:
        self.parts = tuple(parts)
        foreground = dict.fromkeys(name for part in parts for name in part.classes[BACKGROUND + 1 :])
        self.classes = (parts[0].classes[BACKGROUND], *foreground)
        if len(self.classes) > IGNORE:
            raise ValueError(
                f"The folders have {len(self.classes) - 1} classes together, and a mask holds {IGNORE - 1} and a "
                "background at most: choose fewer."
            )
        self.skipped = tuple(problem for part in parts for problem in part.skipped)
        _refuse_look_alikes(self.classes)
        _refuse_late_backgrounds(parts)
        ends = np.cumsum([len(part) for part in parts])
        self._starts = [0, *ends[:-1].tolist()]
        self._length = int(ends[-1])
        self._tables = [self._table(part, expected) for part in parts]

    def _table(self, part: Source, expected: Sequence[str]) -> NDArray[np.uint8]:
        """The class index of each of a part's ids [256]."""
        table = np.full(256, IGNORE, dtype=np.uint8)
        table[BACKGROUND] = BACKGROUND if set(expected) <= set(part.classes) else IGNORE
        for index, name in enumerate(part.classes[BACKGROUND + 1 :], BACKGROUND + 1):
            table[index] = self.classes.index(name)
        return table

    def images_of(self, number: int) -> NDArray[np.int64]:
        """The indices of the images of a part."""
        start = self._starts[number]
        return np.arange(start, start + len(self.parts[number]))

    def ids_of(self, number: int) -> tuple[int, ...]:
        """The class indices of a part's own classes, without the background."""
        return tuple(self._tables[number][BACKGROUND + 1 : len(self.parts[number].classes)].tolist())

    def __len__(self) -> int:
        return self._length

    def _find(self, index: int) -> tuple[int, int]:
        """The part that holds image ``index``, and where in it."""
        number = bisect_right(self._starts, index) - 1
        return number, index - self._starts[number]

    def key(self, index: int) -> str:
        """Name image ``index`` as its part does, with the part's number before it from the second on."""
        number, place = self._find(index)
        key = self.parts[number].key(place)
        return f"{number}:{key}" if number else key

    def image(self, index: int, scale: float = 1.0) -> Image.Image:
        """Image ``index``, in RGB, perhaps reduced to no less than ``scale`` times its size."""
        number, place = self._find(index)
        return self.parts[number].image(place, scale)

    def mask(self, index: int) -> NDArray[np.uint8]:
        """The class index of every pixel of image ``index``: [H, W], IGNORE where unknown."""
        ids, table = self.stored_mask(index)
        return table.take(ids)

    def stored_mask(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The ids of image ``index`` as its part stores them, and the class index of each [256]."""
        number, place = self._find(index)
        ids, table = self.parts[number].stored_mask(place)
        return ids, self._tables[number].take(table)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of image ``index``, without decoding it."""
        number, place = self._find(index)
        return self.parts[number].size(place)

    def presence(self) -> NDArray[np.bool_]:
        """Which classes each image holds: [images, classes]."""
        found = np.zeros((len(self), len(self.classes)), dtype=bool)
        for number, part in enumerate(self.parts):
            rows = self.images_of(number)
            found[rows[:, None], [BACKGROUND, *self.ids_of(number)]] = part.presence()
        return found


class GoneSource(Source):
    """A source without images: they are gone, its ``classes`` are still known."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes

    def __len__(self) -> int:
        return 0

    def key(self, index: int) -> str:
        """IndexError: there are no images."""
        raise IndexError(index)

    def image(self, index: int, scale: float = 1.0) -> Image.Image:  # noqa: ARG002 (as sources have it)
        """IndexError: there are no images."""
        raise IndexError(index)

    def mask(self, index: int) -> NDArray[np.uint8]:
        """IndexError: there are no images."""
        raise IndexError(index)

    def size(self, index: int) -> tuple[int, int]:
        """IndexError: there are no images."""
        raise IndexError(index)

    def presence(self) -> NDArray[np.bool_]:
        """No rows."""
        return np.zeros((0, len(self.classes)), dtype=bool)


def _refuse_look_alikes(names: Sequence[str]) -> None:
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(f"The folders call a class {other!r} and {name!r}: give it one name in their classes.txt.")


def _refuse_late_backgrounds(parts: Sequence[Source]) -> None:
    backgrounds = {part.classes[BACKGROUND].casefold() for part in parts}
    for part in parts:
        for name in part.classes[BACKGROUND + 1 :]:
            if name.casefold() in backgrounds:
                raise ValueError(
                    f"One folder calls its background {name!r}, and another a class: make it the first line of "
                    "classes.txt, with the masks' ids to match, or give the class another name."
                )
