"""Own data: a folder of images, masks of class indices, and the names of the classes.

images/<split>/**/*.jpg      also jpeg, png, webp, tif, tiff, bmp
masks/<split>/**/<stem>.png  8-bit class index, 255 = ignore
classes.txt                  line i names class i, from 0
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from sats.data.index import (
    IMAGE_SUFFIXES,
    SUFFIXES_SHOWN,
    Pair,
    cache_path,
    ids_in,
    index_pairs,
    read_image,
    read_mask,
    scan_files,
)
from sats.data.source import Source
from sats.errors import unknown
from sats.types import BACKGROUND, BACKGROUND_NAMES, IGNORE, NOT_LEARNED_YET

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from sats.data.index import File
    from sats.types import HasBackground

MASK_SUFFIXES: Final = frozenset({".png"})
LAYOUT: Final = "images/<split>/<name>.jpg, masks/<split>/<name>.png and classes.txt"
MOST_SHOWN: Final = 10


class DataProblemsError(ValueError):
    """Everything that is wrong with a data set; the message shows the first ten of ``problems``."""

    def __init__(self, problems: Sequence[str], where: str) -> None:
        self.problems = tuple(problems)
        shown = "".join(f"\n- {problem}" for problem in problems[:MOST_SHOWN])
        more = f"\nand {len(problems) - MOST_SHOWN} more; `sats data check` lists all."
        rest = more if len(problems) > MOST_SHOWN else ""
        super().__init__(problems[0] if len(problems) == 1 else f"{where} has {len(problems)} problems:{shown}{rest}")


class FolderSource(Source):
    """One split of an own data set.

    ``classes`` keeps some foreground classes, in this order, and makes the others background.
    ``has_background`` says whether class 0 of ``classes.txt`` is one; by default its name decides. A set
    without a background gets a class 0 of its own, and its classes move up by one. ``rebuild_index`` looks at
    every file again. ValueError for whatever is wrong with the folder, with all that one look at it finds.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        classes: tuple[str, ...] = (),
        has_background: HasBackground = "auto",
        rebuild_index: bool = False,
    ) -> None:
        root = Path(root)
        _check_layout(root, split)
        self._class_file = root / "classes.txt"
        names = _read_names(self._class_file)
        self.classes = _chosen_classes(names, classes, _begins_with_background(names, has_background), self._class_file)
        self._num_ids = len(names)
        self._channels = _channels(names, self.classes)
        pairs, problems = _pair_up(root, split)
        self._index = index_pairs(pairs, cache_path(root, split), rebuild_index)
        self._keys = tuple(pair.key for pair in pairs)
        self._images = tuple(pair.image for pair in pairs)
        self._masks = tuple(pair.mask for pair in pairs)
        _refuse([*problems, *self._index.problems, *self._masks_to_mend()], root, split)

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        """Name image ``index`` by its path below ``images/``, without suffix."""
        return self._keys[index]

    def image(self, index: int) -> Image.Image:
        """Read image ``index``, upright and in RGB; ValueError if it changed size since it was indexed."""
        image = read_image(self._images[index])
        self._check_size(index, self._images[index], (image.height, image.width))
        return image

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Read the class index of every pixel of image ``index``: [H, W], IGNORE where unknown."""
        path = self._masks[index]
        mask = read_mask(path)
        self._check_size(index, path, (mask.height, mask.width))
        if nameless := [value for value in ids_in(mask) if self._num_ids <= value != IGNORE]:
            raise ValueError(self._without_name(path, nameless))
        return self._channels[np.asarray(mask, dtype=np.uint8)]

    def size(self, index: int) -> tuple[int, int]:
        """Tell height and width of image ``index``, without opening it."""
        height, width = self._index.sizes[index]
        return int(height), int(width)

    def presence(self) -> NDArray[np.bool_]:
        """Tell which classes each image holds: [images, classes]."""
        present = np.zeros((len(self), len(self.classes)), dtype=bool)
        channels = self._channels[self._index.ids]
        known = channels != IGNORE
        present[self._index.owners[known], channels[known]] = True
        return present

    def _masks_to_mend(self) -> list[str]:
        """Describe each mask that holds ids without a name."""
        nameless = (self._index.ids >= self._num_ids) & (self._index.ids != IGNORE)
        by_mask: dict[str, list[int]] = {}
        for owner, value in zip(self._index.owners[nameless], self._index.ids[nameless], strict=True):
            by_mask.setdefault(self._masks[owner], []).append(int(value))
        return [self._without_name(mask, values) for mask, values in by_mask.items()]

    def _without_name(self, mask: str, ids: list[int]) -> str:
        what = "the id" if len(ids) == 1 else "the ids"
        cause = f"{mask} holds {what} {', '.join(map(str, ids))}, but {self._class_file} names only"
        last = self._num_ids - 1
        return f"{cause} 0 to {last}: add the names, or set those pixels to {IGNORE} (ignore)."

    def _check_size(self, index: int, path: str, size: tuple[int, int]) -> None:
        if size != self.size(index):
            height, width = self.size(index)
            cause = f"{path} has {size[1]} x {size[0]} pixels, but had {width} x {height} when it was indexed"
            raise ValueError(f"{cause}: it was changed since, or rotates itself; save it upright and start again.")


def read_classes(root: Path, classes: tuple[str, ...] = (), has_background: HasBackground = "auto") -> tuple[str, ...]:
    """The classes of a `FolderSource` with these arguments, the background first, without a look at its images."""
    file = root / "classes.txt"
    names = _read_names(file)
    return _chosen_classes(names, classes, _begins_with_background(names, has_background), file)


def _begins_with_background(names: Sequence[str], has_background: HasBackground) -> bool:
    return has_background == "yes" or (has_background == "auto" and names[0].casefold() in BACKGROUND_NAMES)


def _check_layout(root: Path, split: str) -> None:
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder: name the one that holds {LAYOUT}.")
    for part in ("images", "masks"):
        if not (root / part).is_dir():
            raise ValueError(f"{root / part} is not a folder: {root} should hold {LAYOUT}.")
        splits = _splits(root / part)
        if split not in splits:
            there = f"use one of those there ({', '.join(splits)})" if splits else f"{root} should hold {LAYOUT}"
            raise ValueError(f"{root / part} has no split {split!r}: {there}.")


def split_names(root: Path) -> list[str]:
    """The splits that ``root`` has images or masks of; ValueError if it is no such folder."""
    for part in ("images", "masks"):
        if not (root / part).is_dir():
            raise ValueError(f"{root / part} is not a folder: {root} should hold {LAYOUT}.")
    found = sorted({*_splits(root / "images"), *_splits(root / "masks")})
    if not found:
        raise ValueError(f"{root / 'images'} holds no splits: {root} should hold {LAYOUT}.")
    return found


def _splits(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")


def _read_names(file: Path) -> list[str]:
    """Read the names of the classes: not empty, none twice, at most 255."""
    try:
        lines = file.read_text("utf-8-sig").rstrip().split("\n")
    except OSError as error:
        raise ValueError(f"{file} can't be read: write one, where line i names class i, from 0.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not in UTF-8 ({error}): save it so.") from error
    names = [line.strip() for line in lines]
    if names == [""]:
        raise ValueError(f"{file} is empty: line i should name class i, from 0.")
    if "" in names:
        raise ValueError(f"{file} has an empty line {names.index('') + 1}: give class {names.index('')} a name.")
    if len(names) > IGNORE:
        raise ValueError(f"{file} names {len(names)} classes: an 8-bit mask holds {IGNORE} at most; drop some.")
    if repeated := _repeated(names):
        raise ValueError(f"{file} repeats {repeated}: give each class a name of its own.")
    return names


def _repeated(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in dict.fromkeys(names) if names.count(name) > 1)


def _chosen_classes(names: Sequence[str], chosen: tuple[str, ...], has_background: bool, file: Path) -> tuple[str, ...]:
    """Choose the classes of the source, the background first."""
    background, foreground = (names[0], names[1:]) if has_background else (NOT_LEARNED_YET, names)
    if repeated := _repeated(chosen):
        raise ValueError(f"The classes chosen from {file} repeat {repeated}: name each once.")
    if chosen:
        kept = [name for name in chosen if name in foreground or not _is_background(name, background)]
        _check_known(kept, foreground, file)
        foreground = kept
    if not foreground:
        raise ValueError(f"{file} or the classes chosen from it name nothing but background: name a class.")
    if len(foreground) >= IGNORE:
        cause = f"{file} names {len(foreground)} classes, and with a background they are {len(foreground) + 1}"
        raise ValueError(f"{cause}: a mask holds {IGNORE} at most; choose fewer.")
    return (background, *foreground)


def _is_background(name: str, background: str) -> bool:
    return name == background or name.casefold() in BACKGROUND_NAMES


def _check_known(chosen: Iterable[str], names: Sequence[str], file: Path) -> None:
    for name in chosen:
        if name not in names:
            raise ValueError(unknown("class", name, names, str(file)))


def _channels(names: Sequence[str], classes: tuple[str, ...]) -> NDArray[np.uint8]:
    """Map each raw id [256] to its index in ``classes``: background if it was not chosen, else IGNORE."""
    position = {name: index for index, name in enumerate(classes)}
    channels = np.full(256, IGNORE, dtype=np.uint8)
    channels[: len(names)] = [position.get(name, BACKGROUND) for name in names]
    return channels


def _pair_up(root: Path, split: str) -> tuple[list[Pair], list[str]]:
    """Pair the images of a split with their masks, sorted by the images' paths, and list what is wrong."""
    problems: list[str] = []
    image_folder, mask_folder = root / "images" / split, root / "masks" / split
    images = _by_stem(image_folder, IMAGE_SUFFIXES, problems)
    masks = _by_stem(mask_folder, MASK_SUFFIXES, problems)
    if not images:
        raise ValueError(f"{image_folder} holds no images: put some there ({SUFFIXES_SHOWN}).")
    problems += _without_mask(mask_folder, [stem for stem in images if stem not in masks])
    mend = f"put each image below {image_folder} ({SUFFIXES_SHOWN}), or take the mask away"
    lacking = [stem for stem in masks if stem not in images]
    problems += _counted(lacking, "mask without an image", "masks without an image", mend)
    pairs = []
    for stem, (image, image_bytes, image_time) in images.items():
        if stem in masks:
            mask, mask_bytes, mask_time = masks[stem]
            stamp = (mask_bytes, mask_time, image_bytes, image_time)
            pairs.append(Pair(f"{split}/{stem}", f"{image_folder}/{image}", f"{mask_folder}/{mask}", stamp))
    return pairs, problems


def _by_stem(folder: Path, suffixes: frozenset[str], problems: list[str]) -> dict[str, File]:
    """Name the files below a folder by their path without suffix, in the order of the paths with it."""
    files: dict[str, File] = {}
    for file in sorted(scan_files(folder, suffixes)):
        stem = file[0].rpartition(".")[0]
        if stem in files:
            both = f"{folder / files[stem][0]} and {folder / file[0]}"
            problems.append(f"{both} have the same name but for the suffix: rename or remove one.")
        files.setdefault(stem, file)
    return files


def _without_mask(folder: Path, stems: list[str]) -> list[str]:
    if not stems:
        return []
    others = _by_stem(folder, IMAGE_SUFFIXES - MASK_SUFFIXES, [])
    problems = [
        f"{folder / others[stem][0]} is not a PNG: save the mask as {stem}.png, from where it was made."
        for stem in stems
        if stem in others
    ]
    lacking = [stem for stem in stems if stem not in others]
    mend = f"put each mask at {folder}/<same name>.png, or take the image away"
    return problems + _counted(lacking, "image without a mask", "images without a mask", mend)


def _counted(stems: list[str], one: str, many: str, mend: str) -> list[str]:
    if not stems:
        return []
    what = one if len(stems) == 1 else many
    shown = ", ".join(stems[:MOST_SHOWN]) + (", ..." if len(stems) > MOST_SHOWN else "")
    return [f"{len(stems)} {what} ({shown}): {mend}."]


def _refuse(problems: list[str], root: Path, split: str) -> None:
    """Raise one error for all problems, if there are any."""
    if problems:
        raise DataProblemsError(problems, f"{root}, split {split},")
