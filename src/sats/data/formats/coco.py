"""COCO's JSON: outlines and run lengths of objects; CVAT, Label Studio and Roboflow export it, too."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from sats.data.formats.labelled import Item, Labelled, arrange, check_folder
from sats.data.formats.regions import Region, in_runs, outlined, paint, points_of
from sats.data.formats.tables import parse_json, read_text
from sats.data.index import IMAGE_SUFFIXES, scan_files
from sats.data.pairs import DataProblemsError, counted
from sats.types import IGNORE, Crowd, Void

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Record = dict[str, Any]  # an object of the JSON file, of which nothing is known yet


@dataclass(frozen=True)
class Reader:
    """How annotations are read: the class ``indices`` by category, what crowds and pixels without a label are."""

    indices: Mapping[int, int]
    file: Path
    crowd: Crowd
    unlabelled: Void

    def draw(self, entry: Record, annotations: list[Record], height: int, width: int) -> NDArray[np.uint8]:
        """The mask of an image [H, W]; ValueError with all annotations that are wrong."""
        told = (entry.get("width", width), entry.get("height", height))
        if told != (width, height):
            raise ValueError(
                f"{self.file} says that image {entry['file_name']!r} has {told[0]} x {told[1]} pixels, but it has "
                f"{width} x {height} (after its EXIF rotation): take the images that were labelled."
            )
        regions, problems = [], []
        for annotation in annotations:
            try:
                regions.append(self._region(annotation, (height, width)))
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise DataProblemsError(problems, str(self.file), rest="")
        return paint(regions, height, width, self.unlabelled)

    def _region(self, annotation: Record, size: tuple[int, int]) -> Region:
        """The region of an annotation; crowds that are ignored, or have nothing but a box, lie below all others."""
        where = f"{self.file}: annotation {annotation.get('id')!r}"
        category = annotation.get("category_id")
        if type(category) is not int or category not in self.indices:
            raise ValueError(
                f"{where} has the category {category!r}, which `categories` does not have: export it anew."
            )
        value, outline = self.indices[category], annotation.get("segmentation")
        is_crowd = annotation.get("iscrowd") in (1, True)
        if not outline and is_crowd:
            return Region(IGNORE, np.inf, (_corners(annotation.get("bbox"), where),))
        region = _outlined(value, outline, size, where)
        if is_crowd and self.crowd == "ignore":
            return Region(IGNORE, np.inf, region.polygons, region.runs)
        return region


def _outlined(value: int, outline: object, size: tuple[int, int], where: str) -> Region:
    if isinstance(outline, dict):
        if outline.get("size") != list(size):
            raise ValueError(f"{where} has runs for the size {outline.get('size')!r}, its image {list(size)}.")
        return in_runs(value, outline.get("counts"), size, where)
    if not isinstance(outline, list) or not outline:
        raise ValueError(f"{where} has no outline (`segmentation`): export the labels for segmentation, not boxes.")
    return outlined(value, tuple(points_of(polygon, where) for polygon in outline))


def _corners(box: object, where: str) -> NDArray[np.float64]:
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"{where} has neither an outline (`segmentation`) nor a box (`bbox`): export it anew.")
    left, top, width, height = points_of([*box, 0, 0], where).ravel()[:4]
    return np.array([(left, top), (left + width, top), (left + width, top + height), (left, top + height)])


def read(images: Path, annotations: Path, crowd: Crowd = "class", unlabelled: Void = "background") -> Labelled:
    """The images in a JSON file, which ``images`` holds; those without an annotation have no object in them."""
    check_folder(images, "--images")
    document = parse_json(read_text(annotations, "--annotations"), annotations, "--annotations")
    classes, indices = _categories(_records(document, "categories", annotations), annotations)
    entries, problems = _images(_records(document, "images", annotations), annotations)
    by_image: dict[object, list[Record]] = {key: [] for key in entries}
    strays: list[Record] = []
    for annotation in _records(document, "annotations", annotations):
        found = by_image.get(_key(annotation.get("image_id")))
        (strays if found is None else found).append(annotation)
    fix = f"{annotations} does not list those images; export it anew"
    ids = [repr(stray.get("id")) for stray in strays]
    problems += counted(ids, "annotation is of no image", "annotations are of no image", fix)
    problems += _missing(entries, images, annotations)
    reader = Reader(indices, annotations, crowd, unlabelled)
    items = [
        Item(name, images / name, partial(reader.draw, entry, by_image[key]))
        for key, entry in entries.items()
        if (images / (name := _path(entry["file_name"]))).is_file()
    ]
    return Labelled(classes, items, len(items), tuple(problems), _notes(entries, images, annotations))


def _records(document: object, part: str, file: Path) -> list[Record]:
    """A list of the JSON file; ValueError if it is none, or has anything but objects in it."""
    found = document.get(part) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise ValueError(f"{file} is not a COCO file: it should have a list `{part}` of objects. Fix --annotations.")
    return found


def _categories(records: list[Record], file: Path) -> tuple[tuple[str, ...], dict[int, int]]:
    """The classes, in the order of the categories' ids, and the class index of each id."""
    ids = [record.get("id") for record in records]
    if not all(type(id_) is int for id_ in ids) or len(set(ids)) != len(ids):
        raise ValueError(f"{file} has categories whose `id` is missing, repeated or not a number: export it anew.")
    ordered = sorted(records, key=lambda record: int(record["id"]))
    classes, indices = arrange([record.get("name") for record in ordered], str(file))
    return classes, {record["id"]: index for record, index in zip(ordered, indices, strict=True)}


def _images(records: list[Record], file: Path) -> tuple[dict[object, Record], list[str]]:
    """The entries of images by id, and what is wrong with others."""
    entries: dict[object, Record] = {}
    problems = []
    for record in records:
        key, name = _key(record.get("id")), record.get("file_name")
        if key is None or key in entries:
            problems.append(f"{file} lists image {name!r} without an `id` of its own: export it anew.")
        elif not isinstance(name, str) or not _is_below(name):
            problems.append(f"{file} lists image {name!r}, which is not a path below --images: export it anew.")
        else:
            entries[key] = record
    if not records:
        raise ValueError(f"{file} lists no images: fix --annotations.")
    return entries, problems


def _key(id_: object) -> int | str | None:
    return id_ if isinstance(id_, int | str) else None


def _path(name: str) -> str:
    """A path as this system writes it, whatever system wrote it."""
    return str(PurePosixPath(name.replace("\\", "/")))


def _is_below(name: str) -> bool:
    path = PurePosixPath(_path(name))
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name and bool(path.parts)


def _missing(entries: Mapping[object, Record], images: Path, file: Path) -> list[str]:
    names = [name for entry in entries.values() if not (images / (name := _path(entry["file_name"]))).is_file()]
    fix = f"{file} lists them below {images}: fix --images, or put them there"
    return counted(names, "image is missing", "images are missing", fix)


def _notes(entries: Mapping[object, Record], images: Path, file: Path) -> tuple[str, ...]:
    listed = {_path(entry["file_name"]) for entry in entries.values()}
    others = sum(name not in listed for name, *_ in scan_files(images, IMAGE_SUFFIXES))
    return (f"Images that {file} does not list, left out: {others}.",) if others else ()
