"""Exemplars copied into a folder of the run, so that the old data may be gone."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sats.data.index import ids_in, image_size, read_image, read_mask
from sats.data.source import Source
from sats.files import replacing
from sats.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sats.data.memory import Exemplar


@dataclass(frozen=True)
class CopySource(Source):
    """The copies in ``folder`` of some exemplars; ``classes`` are those of the source they were taken from."""

    folder: Path
    exemplars: tuple[Exemplar, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.exemplars)

    def key(self, index: int) -> str:
        """The key that image ``index`` has in the source it was taken from."""
        return self.exemplars[index].key

    def image(self, index: int, scale: float = 1.0) -> Image.Image:  # noqa: ARG002 (as sources have it)
        """Copy ``index``, in RGB; ValueError if it cannot be read."""
        return read_image(str(self.folder / self.exemplars[index].image))

    def mask(self, index: int) -> NDArray[np.uint8]:
        """The class index of every pixel of copy ``index``: [H, W], IGNORE where unknown; ValueError for any other."""
        path = self.folder / self.exemplars[index].mask
        mask = read_mask(str(path))
        if strange := [value for value in ids_in(mask) if value >= len(self.classes) and value != IGNORE]:
            raise ValueError(f"{path} holds the id {strange[0]}, which is not a class: put back sats's own copy.")
        return np.asarray(mask, dtype=np.uint8)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of copy ``index``, without decoding it."""
        return image_size(str(self.folder / self.exemplars[index].image))

    def presence(self) -> NDArray[np.bool_]:
        """Which classes each copy holds: [images, classes]."""
        return self._presence

    @cached_property
    def _presence(self) -> NDArray[np.bool_]:
        found = np.zeros((len(self), len(self.classes)), dtype=bool)
        for index in range(len(self)):
            held = np.unique(self.mask(index))
            found[index, held[held != IGNORE]] = True
        return found


def copy_exemplar(exemplar: Exemplar, source: Source, index: int, folder: Path) -> Exemplar:
    """Copy image and mask ``index`` of ``source`` into ``folder``, losslessly; returns the exemplar with their names.

    The names are made of the key's digest, not of the key, which may hold anything.
    """
    digest = hashlib.sha256(exemplar.key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    copied = dataclasses.replace(exemplar, image=f"{digest}-image.png", mask=f"{digest}-mask.png")
    folder.mkdir(exist_ok=True)
    for name, pixels in ((copied.image, source.image(index)), (copied.mask, Image.fromarray(source.mask(index)))):
        with replacing(folder / name) as beside:
            pixels.save(beside, format="PNG")
    return copied


def discard_others(exemplars: Sequence[Exemplar], folder: Path) -> None:
    """Remove every file in ``folder`` that belongs to none of the exemplars."""
    kept = {name for exemplar in exemplars for name in (exemplar.image, exemplar.mask)}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in kept:
            path.unlink()
