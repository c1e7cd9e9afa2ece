"""What a folder that is no data folder seems to be, by its names alone, and the command that converts it."""

from __future__ import annotations

import shlex
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sats.data.index import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_NAMES: Final = 200
"""Names of a folder that are looked at."""
SPLITS: Final = ("train", "valid", "val", "test")
LABEL_STUDIO: Final = "result.json"
"""What it calls its COCO file."""


def recognise(root: Path) -> str:
    """A sentence on what ``root`` seems to be and how it is converted; empty if nothing comes to mind."""
    for guess in (_coloured, _coco, _yolo, _dataset, _binary):
        if found := guess(root):
            kind, flags = found
            return f"It looks like {kind}: sats data convert {flags} --out NEW"
    return ""


def _names(folder: Path) -> list[str]:
    """The first names in a folder, sorted; none if it is not a folder, or can't be read."""
    try:
        return sorted(path.name for path in islice(folder.iterdir(), MOST_NAMES) if path.name[0] != ".")
    except OSError:
        return []


def _first(folder: Path, fits: Callable[[str], bool]) -> Path | None:
    return next((folder / name for name in _names(folder) if fits(name)), None)


def _has(folder: Path, suffix: str) -> bool:
    """Whether there is a file of that suffix in the folder, or in a folder there."""
    folders = [folder, *(folder / name for name in _names(folder)[:10])]
    return any(name.lower().endswith(suffix) for place in folders for name in _names(place))


def _folder(root: Path, *candidates: str) -> Path:
    """The first of the ``candidates`` that is there, else the first."""
    return next((root / name for name in candidates if (root / name).is_dir()), root / candidates[0])


def _coloured(root: Path) -> tuple[str, str] | None:
    table = _first(root, lambda name: name in ("labelmap.txt", "label_colors.txt", "class_dict.csv"))
    if table is None:
        return None
    images, masks = (
        _folder(root, "JPEGImages", "images", "train"),
        _folder(root, "SegmentationClass", "masks", "train_labels"),
    )
    flags = f"colours --images {_quoted(images)} --masks {_quoted(masks)} --table {_quoted(table)}"
    return "masks whose colours stand for classes", flags


def _coco(root: Path) -> tuple[str, str] | None:
    for folder in (root, root / "annotations", *(root / name for name in SPLITS)):
        file = _first(folder, _is_coco)
        if file is not None:
            flags = f"coco --images {_quoted(_images_of(file, root))} --annotations {_quoted(file)}"
            return "COCO's JSON", flags
    return None


def _is_coco(name: str) -> bool:
    return name.endswith(".json") and ("coco" in name or name.startswith("instances") or name == LABEL_STUDIO)


def _images_of(file: Path, root: Path) -> Path:
    """Where the images of a COCO file are: beside it in a split's folder, else in one that is called like it."""
    if file.parent.name in SPLITS or file.name == LABEL_STUDIO:  # Label Studio's file names begin with images/
        return file.parent
    part = file.stem.removeprefix("instances_")
    return next((folder for folder in (root / "images" / part, root / part) if folder.is_dir()), root / "images")


def _yolo(root: Path) -> tuple[str, str] | None:
    labels = _folder(root, "labels", "train/labels")
    if not _has(labels, ".txt"):
        return None
    names = _first(root, lambda name: name.endswith((".yaml", ".yml"))) or root / "classes.txt"
    inner = "train" if (labels / "train").is_dir() else ""
    images = labels.parent / "images" / inner
    return (
        "YOLO's labels",
        f"yolo --images {_quoted(images)} --labels {_quoted(labels / inner)} --names {_quoted(names)}",
    )


def _dataset(root: Path) -> tuple[str, str] | None:
    is_saved = any((root / name).is_file() for name in ("dataset_dict.json", "state.json"))
    if is_saved or _has(root, ".parquet") or _has(root, ".arrow"):
        return "a Hugging Face data set", f"dataset --data {_quoted(root)}"
    return None


def _binary(root: Path) -> tuple[str, str] | None:
    masks = root / "masks"
    inner = [name for name in _names(masks) if (masks / name).is_dir()]
    lies_flat = any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in _names(root / "images"))
    if not lies_flat or not inner or not _has(masks / inner[0], ".png"):
        return None
    flags = f"binary --images {_quoted(root / 'images')} --masks {_quoted(masks)}"
    return "binary masks, a folder for each class", flags


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
