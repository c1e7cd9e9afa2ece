"""Own data: a folder of images, masks of class indices, and the names of the classes.

images/<split>/**/*.jpg      also jpeg, png, webp, tif, tiff, bmp
masks/<split>/**/<stem>.png  8-bit class index, 255 = ignore
classes.txt                  line i names class i, from 0
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sats.data.index import cache_path
from sats.data.pairs import PairsSource, Place, chosen_classes, make_labels, pair_up
from sats.errors import repeated
from sats.types import BACKGROUND_NAMES, IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.types import HasBackground, OnError

LAYOUT: Final = "images/<split>/<name>.jpg, masks/<split>/<name>.png and classes.txt"


def open_folder(
    root: Path,
    split: str,
    classes: tuple[str, ...] = (),
    has_background: HasBackground = "auto",
    rebuild_index: bool = False,
    on_error: OnError = "error",
) -> PairsSource:
    """One split of an own data set.

    ``classes`` keeps some foreground classes, in this order, and makes the others background.
    ``has_background`` says whether class 0 of ``classes.txt`` is one; by default its name decides. A set
    without a background gets a class 0 of its own, and its classes move up by one. ``rebuild_index`` looks at
    every file again. ValueError for whatever is wrong with the folder, with all that one look at it finds; with
    ``on_error`` "skip", pairs that cannot be used are left out instead.
    """
    root = Path(root)
    _check_layout(root, split)
    file = root / "classes.txt"
    names = read_names(file)
    last = len(names) - 1
    fix = f"but {file} names only 0 to {last}: add the names, or set those pixels to {IGNORE} (ignore)."
    ids = {index: index for index in range(len(names))}
    labels = make_labels(names, classes, _begins_with_background(names, has_background), ids, str(file), fix)
    pairs, problems = pair_up(Place(split, root / "images" / split, root / "masks" / split))
    where = f"{root}, split {split},"
    return PairsSource(pairs, problems, labels, cache_path(root, split), where, rebuild_index, on_error)


def read_classes(root: Path, classes: tuple[str, ...] = (), has_background: HasBackground = "auto") -> tuple[str, ...]:
    """The classes of a `open_folder` with these arguments, the background first, without a look at its images."""
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder: name the one that holds {LAYOUT}.")
    file = root / "classes.txt"
    names = read_names(file)
    return chosen_classes(names, classes, _begins_with_background(names, has_background), str(file))


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


def split_to_measure(root: Path, split: str) -> str:
    """``split``, or the only one that ``root`` has: images that nothing learns from may be in any."""
    splits = split_names(root)
    return splits[0] if len(splits) == 1 else split


def is_there(root: Path, split: str) -> bool:
    """Whether ``root`` has any file among the images or masks of the ``split``."""
    return any(path.is_file() for part in ("images", "masks") for path in (root / part / split).rglob("[!.]*"))


def _splits(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")


def read_names(file: Path) -> list[str]:
    """The names in a classes.txt, line i being class i: not empty, none twice, at most 255; else ValueError."""
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
    if repeats := repeated(names):
        raise ValueError(f"{file} repeats {repeats}: give each class a name of its own.")
    return names
