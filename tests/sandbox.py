"""A folder in which the documentation's commands run: all that they name lies there, tiny, by that name."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import labelled
from networks import foreign
from pages import ROOT
from sats.recipes import RECIPES
from sweeps import TINY
from test_archives import make_tar, make_zip
from test_engine import run, small
from test_extend import make_data
from test_layouts import write

FIFTEEN = ("background", *(f"class {number}" for number in range(1, 16)))
PASCAL = ("2007_000001", "2007_000002", "2007_000003", "2007_000004")
CITYSCAPES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids of its 19 classes."""


def stripes(ids: Sequence[int]) -> NDArray[np.uint8]:
    """A mask of 64 rows in which every id has a stripe of four columns."""
    return np.tile(np.repeat(np.array(ids, dtype=np.uint8), 4), (64, 1))


def save_pair(image: Path, mask: Path, ids: NDArray[np.uint8]) -> None:
    for path, pixels in ((image, np.repeat(ids[..., None], 3, axis=2)), (mask, ids)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def pascal(home: Path) -> None:
    """VOC's layout: four images that hold all of its 20 classes each."""
    for name in PASCAL:
        save_pair(home / f"JPEGImages/{name}.jpg", home / f"SegmentationClassAug/{name}.png", stripes(range(21)))
    lists = home / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(PASCAL[:3]))
    (lists / "val.txt").write_text(PASCAL[3])


def pascal_archives(root: Path) -> None:
    """The same as it is published."""
    pascal(root / "packed")
    files = {path.relative_to(root / "packed").as_posix(): path.read_bytes() for path in (root / "packed").rglob("*.*")}
    masks = {name: content for name, content in files.items() if name.startswith("SegmentationClassAug")}
    rest = {f"VOCdevkit/VOC2012/{name}": content for name, content in files.items() if name not in masks}
    make_tar(root / "VOCtrainval_11-May-2012.tar", rest)
    make_zip(root / "SegmentationClassAug.zip", masks)
    shutil.rmtree(root / "packed")


def cityscapes(root: Path, split: str, names: Sequence[str]) -> None:
    """Images of Cityscapes with all 19 classes each."""
    for name in names:
        image = root / f"leftImg8bit/{split}/{name}_leftImg8bit.png"
        save_pair(image, root / f"gtFine/{split}/{name}_gtFine_labelIds.png", stripes(CITYSCAPES))


def cities(root: Path) -> None:
    """Five images of each of its 21 cities with fine labels."""
    order = RECIPES["cityscapes-cities-11-5"](small().method).stream.order
    for city in order:
        split = "val" if city in ("frankfurt", "lindau", "munster") else "train"
        cityscapes(root, split, [f"{city}/{city}_{number}" for number in range(5)])


def domains(root: Path) -> None:
    """A folder whose images come from two cities."""
    for split in ("train", "val"):
        for city in ("aachen", "bochum"):
            save_pair(root / f"images/{split}/{city}/1.png", root / f"masks/{split}/{city}/1.png", stripes((0, 1, 2)))
    (root / "classes.txt").write_text("background\ncar\ntree\n")


def to_convert(root: Path) -> None:
    """What other programs export, by the names that the pages give it."""
    one = {"one": np.kron(np.array([[0, 1], [2, 3]]), np.ones((20, 20))).astype(np.uint8)}
    writers: dict[str, Callable[[Path, labelled.Maps], list[str]]] = {
        "colours": labelled.colours,
        "binary": labelled.binary,
        "coco": labelled.coco_polygons,
        "yolo": labelled.yolo,
        "parquet": labelled.parquet,
    }
    for kind, writer in writers.items():
        writer(root / kind, one)
    (root / "colours" / "images").rename(root / "colours" / "JPEGImages")
    (root / "colours" / "masks").rename(root / "colours" / "SegmentationClass")
    (root / "coco" / "annotations").mkdir()
    shutil.copy(root / "coco" / "coco.json", root / "coco" / "annotations" / "instances_default.json")
    for part in ("images", "labels"):
        (root / "yolo" / part).rename(root / "yolo" / "train")
        (root / "yolo" / part).mkdir()
        (root / "yolo" / "train").rename(root / "yolo" / part / "train")
    shutil.copy(root / "parquet" / "id2label.json", root)
    shutil.copytree(root / "coco" / "images", root / "export" / "images")
    for name in ("annotations.json", "annotations-val.json"):
        shutil.copy(root / "coco" / "coco.json", root / "export" / name)


def data_folders(root: Path) -> None:
    """Images and masks with their classes, most with a square for each class."""
    folders = {
        "data": FIFTEEN,
        "other-data": ("background", "one", "two", "seven"),
        "first": ("background", "car"),
        "second": ("background", "tree"),
        "third": ("background", "cow"),
        "more": ("background", "cow"),
        "new": ("background", "rickshaw"),
        "old": ("background", "car", "tree"),
        "DIR": ("background", "rickshaw", "cow"),
        "india": ("background", "rickshaw", "cow"),
        "city": ("road", "car", "tree"),
    }
    for name, classes in folders.items():
        make_data(root / name, classes, images=4)
    for number, name in enumerate(("first", "second")):
        shutil.copytree(root / name, root / "arriving" / f"step-{number}")


def pictures(root: Path) -> None:
    (root / "photos").mkdir()
    for path in (root / "photo.jpg", root / "photos" / "one.jpg", root / "photos" / "two.jpg"):
        Image.new("RGB", (48, 40), (90, 120, 60)).save(path)


def models(root: Path) -> None:
    foreign(root / "MODEL", "segformer", ("background", "car", "tree"))
    foreign(root / "street-model", "segformer", ("road", "car", "tree"))


def runs(root: Path, trained: dict[str, Path]) -> None:
    """Runs on the scenes, and one on folders that arrived."""
    for name, method in (("RUN", "sats"), ("OTHER", "finetune"), ("runs/scenes/sats", "sats")):
        shutil.copytree(trained[method], root / name)
    shutil.copytree(trained["finetune"], root / "runs" / "scenes" / "finetune")
    config = small("finetune")
    data = dataclasses.replace(config.data, source="folder", root=str(root / "first"), folders=(str(root / "second"),))
    run(root / "ARRIVED", small("finetune", data=data, stream=dataclasses.replace(config.stream, protocol="all")))


def suite(root: Path) -> None:
    (root / "SUITE.json").write_text(json.dumps({"name": "suite", "base": TINY, "variants": {"finetune": {}}}))


def furnish(root: Path, trained: dict[str, Path]) -> None:
    """Put everything into ``root``."""
    data_folders(root)
    to_convert(root)
    pascal(root / "VOC")
    pascal_archives(root)
    cityscapes(root / "CITYSCAPES", "train", [f"aachen/{number}" for number in range(3)])
    cityscapes(root / "CITYSCAPES", "val", ["ulm/1"])
    cities(root / "CITIES")
    domains(root / "DOMAINS")
    write(root / "ADE", "images/training/{}.jpg", "annotations/training/{}.png", (0, 1, 150))
    pictures(root)
    models(root)
    runs(root, trained)
    suite(root)
    (root / "benchmarks").symlink_to(ROOT / "benchmarks")
