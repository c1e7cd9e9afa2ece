"""What every format gives: the names of the classes, and each image with a way to make its mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.data.index import IMAGE_SUFFIXES
from sats.data.pairs import by_stem, counted
from sats.types import BACKGROUND, BACKGROUND_NAMES, IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sats.types import Void

    Draw = Callable[[int, int], NDArray[np.uint8]]

UNNAMED_BACKGROUND = "background"
"""What class 0 is called where a format has no background of its own."""


@dataclass(frozen=True)
class Embedded:
    """An image that has no file of its own: what messages call it, and what gives its content."""

    where: str
    content: Callable[[], bytes]


@dataclass(frozen=True)
class Item:
    """An image: its path below the split, with suffix unless it is embedded; where it is; and its mask.

    ``draw`` makes the mask [H, W] of class indices and IGNORE for a height and a width, those of the image once
    upright; ValueError if it cannot.
    """

    name: str
    image: Path | Embedded
    draw: Draw


@dataclass(frozen=True)
class Labelled:
    """Images with labels in some format: the ``classes``, the background first, and the ``items``.

    ``count`` is their number, None where nobody knows; ``problems`` were found before any was read; ``notes`` are
    sentences that the user should see.
    """

    classes: tuple[str, ...]
    items: Iterable[Item]
    count: int | None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def arrange(given: Sequence[object], where: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The classes that the names ``given`` stand for, the background first; and the class index of each name.

    A background is known by its name, wherever it is among them; without one, class 0 is an additional `background`.
    Names that are given twice are one class. ValueError for a name that is none, and for too many.
    """
    names = [_on_one_line(name, where) for name in given]
    background = next((name for name in names if name.casefold() in BACKGROUND_NAMES), UNNAMED_BACKGROUND)
    classes = tuple(dict.fromkeys([background, *names]))
    if len(classes) == 1:
        raise ValueError(f"{where} names no class beside the background: name one.")
    if len(classes) > IGNORE:
        raise ValueError(f"{where} names {len(classes)} classes with the background: a mask holds {IGNORE} at most.")
    return classes, tuple(classes.index(name) for name in names)


def _on_one_line(name: object, where: str) -> str:
    """A name as a line of classes.txt can hold it."""
    if isinstance(name, int | float) and not isinstance(name, bool):
        raise ValueError(f'{where} has the class name {name}, which is a number: write it in quotes, as "{name}".')
    if not isinstance(name, str):
        raise ValueError(f"{where} has the class name {name!r}, which is not text: write it in quotes.")
    plain = " ".join(name.encode("utf-8", "replace").decode().split())
    if not plain:
        raise ValueError(f"{where} has a class without a name: give it one.")
    return plain


def unlabelled_value(unlabelled: Void) -> int:
    """What pixels without a label hold in a mask."""
    return IGNORE if unlabelled == "ignore" else BACKGROUND


def check_folder(folder: Path, flag: str) -> None:
    """ValueError unless ``folder``, which ``flag`` names, is one."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: fix {flag}.")


def images_below(folder: Path, problems: list[str]) -> dict[str, str]:
    """The images below ``folder``, their paths there by those without suffix; ValueError if there are none."""
    check_folder(folder, "--images")
    files = by_stem(folder, IMAGE_SUFFIXES, problems)
    if not files:
        raise ValueError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}): fix --images.")
    return {stem: file[0] for stem, file in files.items()}


def without_image(stems: Iterable[str], images: Collection[str], what: str, where: Path) -> list[str]:
    """A sentence on labels, ``what`` they are called, for which there is no image in ``where``; or none."""
    lacking = [stem for stem in stems if stem not in images]
    fix = f"put their images below {where}, with the same names, or take them away"
    return counted(lacking, f"{what} without an image", f"{what}s without an image", fix)


def check_size(labels: str, size: tuple[int, int], image: object, height: int, width: int) -> None:
    """ValueError unless ``labels`` of a height and width are of the size of their image."""
    if size != (height, width):
        sizes = f"{size[1]} x {size[0]} pixels, its image {image} {width} x {height}"
        raise ValueError(f"{labels} has {sizes}: give both the same size (the image after its EXIF rotation).")
