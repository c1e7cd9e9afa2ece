"""Images with labels in some format, written as a folder of images, masks and class names: a whole split or nothing."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from sats.data.folder import read_names
from sats.data.index import IMAGE_SUFFIXES, SUFFIXES_SHOWN, image_size, opened
from sats.data.pairs import DataProblemsError
from sats.files import at_home, into_place, saving, working
from sats.progress import progress_bar
from sats.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from sats.data.formats.labelled import Item, Labelled

PARTS: Final = ("images", "masks")
CLASSES: Final = "classes.txt"
SUFFIXES: Final = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
"""Of images that have no file name."""


@dataclass(frozen=True)
class Written:
    """What a conversion wrote: the number of images, and the classes that none of them holds."""

    images: int
    absent: tuple[str, ...]


def convert(labelled: Labelled, out: Path, split: str) -> Written:
    """Write ``labelled`` as the split ``split`` of the folder ``out``, which is made or gets one split more.

    DataProblemsError with everything that is wrong with the images and their labels; then, as after any other error,
    nothing is written.
    """
    check_place(out, split)
    _check_classes(out, labelled.classes)
    with saving(out), _adding(out, split) as beside:
        writer = _Writer(beside, split, labelled.problems)
        for item in progress_bar(labelled.items, "converting", labelled.count):
            writer.add(item)
        writer.finish(labelled.classes)
    return Written(len(writer.stems), writer.absent(labelled.classes))


def check_place(out: Path, split: str, inputs: Sequence[Path] = ()) -> None:
    """ValueError unless ``split`` can be added to ``out``, and that lies apart from the ``inputs``."""
    if not split or split[0] == "." or set(split) & set("/\\\0"):
        raise ValueError(f"A split is a folder, called something like train or val, not {split!r}: fix --split.")
    for folder in inputs:
        _check_apart(out, folder)
    _check_free([out / part / split for part in PARTS])
    if out.exists() and not (out / CLASSES).is_file() and not _is_empty(out):
        raise ValueError(f"{out} holds something else (no {CLASSES}): name a new folder with --out.")


def _check_free(places: Sequence[Path]) -> None:
    """ValueError if anything is in one of the ``places`` of a split: images, masks."""
    there = [place for place in places if place.exists()]
    if there:
        half = " (Masks alone are what a conversion leaves that was killed; then remove them.)"
        raise ValueError(
            f"{there[0]} is there already, and nothing is replaced: choose another --split."
            f"{half if there == [*places[1:]] else ''}"
        )


def _check_apart(out: Path, folder: Path) -> None:
    one, other = out.resolve(), at_home(folder).resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise ValueError(
            f"--out {out} and the input folder {folder} must not contain one another: choose another --out."
        )


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and all(path.name[0] == "." for path in folder.iterdir())


def _check_classes(out: Path, classes: tuple[str, ...]) -> None:
    file = out / CLASSES
    if not file.exists() or (there := tuple(read_names(file))) == classes:
        return
    differing = [name for name in (*there, *classes) if name not in there or name not in classes]
    which = f"differing in {', '.join(map(repr, differing[:10]))}" if differing else "in another order"
    raise ValueError(
        f"{file} names other classes than what is to be converted ({which}): all splits of a folder have the same, "
        "in the same order. Convert them with the same names, or choose another --out."
    )


@contextmanager
def _adding(out: Path, split: str) -> Iterator[Path]:
    """A folder to fill with a split; it becomes ``out``, or what is in it joins that, unless there was an error."""
    with working(out / split if out.exists() else out) as beside:
        yield beside
        if out.exists():  # before, or made by another conversion meanwhile
            _check_classes(out, tuple(read_names(beside / CLASSES)))
            _move_in(beside, out, split)
        else:
            into_place(beside, out)


def _move_in(beside: Path, out: Path, split: str) -> None:
    check_place(out, split)
    moved = [out / part / split for part in PARTS]
    try:
        for part, final in reversed(list(zip(PARTS, moved, strict=True))):  # masks alone are no split, images might be
            final.parent.mkdir(exist_ok=True)
            into_place(beside / part / split, final)
        if not (out / CLASSES).exists():
            (beside / CLASSES).rename(out / CLASSES)
    except BaseException:
        for final in moved:
            shutil.rmtree(final, ignore_errors=True)
        raise


class _Writer:
    """Writes images and masks into a folder for as long as nothing is wrong, and gathers what is."""

    def __init__(self, folder: Path, split: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        self.stems: set[str] = set()
        self._places = tuple(folder / part / split for part in PARTS)
        self._classes = folder / CLASSES
        self._held = np.zeros(IGNORE + 1, dtype=np.int64)  # pixels of each class

    def add(self, item: Item) -> None:
        """Look at an image and its labels, and write them."""
        try:
            self._write(item)
        except DataProblemsError as error:
            self.problems += error.problems
        except ValueError as error:
            self.problems.append(str(error))

    def _write(self, item: Item) -> None:
        where, content = (
            (str(item.image), None) if isinstance(item.image, Path) else (item.image.where, item.image.content())
        )
        name = PurePosixPath(item.name if content is None else item.name + _suffix_of(where, content))
        self._check_name(name, where)
        mask = item.draw(*image_size(where, content))
        if self.problems:
            return
        self._held += np.bincount(mask.ravel(), minlength=IGNORE + 1)
        image, drawn = (place / name for place in self._places)
        for path in (image, drawn):
            path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            shutil.copyfile(where, image)
        else:
            image.write_bytes(content)
        _save(mask, drawn.with_suffix(".png"))

    def _check_name(self, name: PurePosixPath, where: str) -> None:
        """ValueError unless a file of this path is read, stays below its split, and has no namesake."""
        if name.is_absolute() or any(part.startswith(".") for part in name.parts):
            raise ValueError(f"{where} would not be found as {name}: take leading dots out of its name.")
        if name.suffix.lower() not in IMAGE_SUFFIXES:
            raise ValueError(f"{where} is not an image of a known kind ({SUFFIXES_SHOWN}): save it as one.")
        stem = str(name.with_suffix(""))
        if stem in self.stems:
            raise ValueError(f"{where} has the name of another image but for the suffix ({stem}): rename one.")
        self.stems.add(stem)

    def finish(self, classes: tuple[str, ...]) -> None:
        """Write the names of the classes; DataProblemsError if anything was wrong."""
        if self.problems:
            raise DataProblemsError(self.problems, "What is to be converted", rest="")
        if not self.stems:
            raise ValueError("There are no images to convert: fix what the command names.")
        self._classes.write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")

    def absent(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """The classes of which no pixel was written, but for the background."""
        return tuple(name for index, name in enumerate(classes) if index and not self._held[index])


def _suffix_of(where: str, content: bytes) -> str:
    with opened(where, content) as image:
        suffix = SUFFIXES.get(image.format or "", "")
    if not suffix:
        raise ValueError(
            f"{where} is of the format {image.format}, which is not read: save it as one of {SUFFIXES_SHOWN}."
        )
    return suffix


def _save(mask: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(mask).save(path)
