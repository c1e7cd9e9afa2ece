"""Images and masks of a new class, gathered one by one in a folder: what lies there is all there is."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sats.data.convert import convert
from sats.data.formats.binary import values_of
from sats.data.formats.labelled import Item, Labelled, check_size
from sats.data.index import IMAGE_SUFFIXES, SUFFIXES_SHOWN, image_size, read_image, read_mask
from sats.files import replacing
from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Labels = NDArray[np.uint8]

NEW = BACKGROUND + 1
"""The new class in a mask."""
MOST_IMAGES = 1000
MOST_IDS = 64
"""Values beside 0 and 255 that a mask may hold as ids of classes; more are shades."""
SPLIT = "train"
UNLABELLED = "background"
"""What class 0 is called: pixels at which nobody looked."""


@dataclass(frozen=True)
class Collected:
    """An image, and its mask if it has one."""

    name: str
    image: Path
    mask: Path | None

    def size(self) -> tuple[int, int]:
        """Height and width of the image, upright."""
        return image_size(str(self.image))

    def labels(self) -> Labels:
        """The mask [H, W]; all zero where there is none."""
        if self.mask is None:
            return np.zeros(self.size(), dtype=np.uint8)
        return np.asarray(read_mask(str(self.mask)), dtype=np.uint8)


@dataclass(frozen=True)
class Collection:
    """What was gathered in ``folder``. Names tell images from each other: file names without suffix."""

    folder: Path

    @property
    def _images(self) -> Path:
        return self.folder / "images"

    @property
    def _masks(self) -> Path:
        return self.folder / "masks"

    def items(self) -> list[Collected]:
        """Every image, by name."""
        found = sorted(self._images.glob("[!.]*")) if self._images.is_dir() else []
        masks = {path.stem: path for path in self._masks.glob("[!.]*.png")} if self._masks.is_dir() else {}
        return [Collected(path.stem, path, masks.get(path.stem)) for path in found]

    def item(self, name: str) -> Collected:
        """The image called ``name``; ValueError if there is none."""
        for item in self.items():
            if item.name == name:
                return item
        raise ValueError(f"There is no image called {name} any more: choose another.")

    def add_images(self, files: Sequence[str]) -> list[str]:
        """Take over image files; returns a sentence on each that cannot be."""
        return _problems(files, self._add_image)

    def add_masks(self, files: Sequence[str]) -> list[str]:
        """Take over mask files, each of the image of its name; returns a sentence on each that cannot be.

        What is not 0 is the new class. Beside other values, 255 is IGNORE.
        """
        return _problems(files, self._add_mask)

    def _add_image(self, file: Path) -> None:
        items = self.items()
        if len(items) >= MOST_IMAGES:
            raise ValueError(f"{file.name} is left out: there are {MOST_IMAGES} images, which is the most.")
        if file.stem in {item.name for item in items}:
            raise ValueError(f"{file.name}: an image called {file.stem} is there already; remove that, or rename this.")
        if file.suffix.lower() not in IMAGE_SUFFIXES or file.name.startswith("."):
            raise ValueError(f"{file.name} is not an image of a known kind ({SUFFIXES_SHOWN}): save it as one.")
        read_image(file.name, content=file.read_bytes())
        self._images.mkdir(parents=True, exist_ok=True)
        with replacing(self._images / file.name) as beside:
            shutil.copyfile(file, beside)

    def _add_mask(self, file: Path) -> None:
        names = {item.name for item in self.items()}
        if file.stem not in names:
            raise ValueError(
                f"{file.name} is the mask of no image here: call it like its image, and upload that first."
            )
        item = self.item(file.stem)
        stored = values_of(read_mask(file.name, file.read_bytes())).astype(np.uint8)
        check_size(file.name, (stored.shape[0], stored.shape[1]), item.image.name, *item.size())
        if (shades := np.setdiff1d(stored, (BACKGROUND, IGNORE)).size) > MOST_IDS:
            fix = "save it with hard ones, as 0 and 255"
            raise ValueError(
                f"{file.name} has {shades} values between 0 and 255, as drawings with soft edges do: {fix}."
            )
        self.set_mask(file.stem, as_new_class(stored))

    def set_mask(self, name: str, labels: Labels) -> None:
        """Keep ``labels`` [H, W] as the mask of the image ``name``, in place of what it had."""
        path = self._masks / f"{self.item(name).name}.png"
        self._masks.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside:
            Image.fromarray(labels).save(beside, format="PNG")

    def remove_mask(self, name: str) -> None:
        """Take the mask of an image away."""
        if mask := self.item(name).mask:
            mask.unlink()

    def remove(self, name: str) -> None:
        """Take an image and its mask away."""
        self.remove_mask(name)
        self.item(name).image.unlink()

    def clear(self) -> None:
        """Take everything away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def labelled(self) -> list[Collected]:
        """The images that have a mask."""
        return [item for item in self.items() if item.mask]

    def write(self, out: Path, class_name: str) -> None:
        """Make a data folder ``out`` of the images that have a mask, which teaches the class ``class_name``.

        ValueError for anything that is wrong with them.
        """
        items = [Item(item.image.name, item.image, _drawn(item)) for item in self.labelled()]
        convert(Labelled((UNLABELLED, class_name), items, len(items)), out, SPLIT)


def as_new_class(stored: Labels) -> Labels:
    """The mask that somebody's file with values ``stored`` [H, W] means: NEW where it is not 0; IGNORE stays.

    In a mask of nothing but 0 and 255, 255 is the class.
    """
    has_ignore = bool(((stored != 0) & (stored != IGNORE)).any())
    found = np.where(stored != 0, NEW, BACKGROUND).astype(np.uint8)
    return np.where(stored == IGNORE, IGNORE, found).astype(np.uint8) if has_ignore else found


def _problems(files: Sequence[str], take: Callable[[Path], None]) -> list[str]:
    found = []
    for file in files:
        try:
            take(Path(file))
        except (ValueError, OSError) as error:
            found.append(str(error))
    return found


def _drawn(item: Collected) -> Callable[[int, int], Labels]:
    def draw(height: int, width: int) -> Labels:
        labels = item.labels()
        check_size(f"The mask of {item.name}", (labels.shape[0], labels.shape[1]), item.image.name, height, width)
        return labels

    return draw
