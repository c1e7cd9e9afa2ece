"""Label maps as people have them: writers of every format that `sats data convert` reads."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Maps = Mapping[str, NDArray[np.uint8]]
Write = Callable[[Path, Maps], list[str]]
"""Writes images with these class indices below a folder; returns the command's words, but for --out."""

CLASSES = ("background", "car", "traffic light", "tree")
COLOURS = ((0, 0, 0), (0, 0, 142), (250, 170, 30), (107, 142, 35))


def save(path: Path, pixels: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path, **options)


def write_images(root: Path, maps: Maps) -> None:
    for name, ids in maps.items():
        save(root / "images" / f"{name}.jpg", np.full((*ids.shape, 3), 90))


def colours(root: Path, maps: Maps) -> list[str]:
    write_images(root, maps)
    for name, ids in maps.items():
        save(root / "masks" / f"{name}.png", np.array(COLOURS)[ids])
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in zip(CLASSES, COLOURS, strict=True)]
    (root / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *lines]))
    folders = ["--images", f"{root}/images", "--masks", f"{root}/masks"]
    return ["colours", *folders, "--table", f"{root}/labelmap.txt"]


def palette(root: Path, maps: Maps) -> list[str]:
    """The same colours, in a palette in which they have other numbers."""
    words = colours(root, maps)
    for name, ids in maps.items():
        mask = Image.fromarray((9 - ids).astype(np.uint8))
        mask.putpalette([part for colour in [*[(1, 1, 1)] * 6, *COLOURS[::-1]] for part in colour])
        mask.save(root / "masks" / f"{name}.png")
    return words


def binary(root: Path, maps: Maps) -> list[str]:
    write_images(root, maps)
    for index, label in enumerate(CLASSES[1:], start=1):
        (root / "masks" / label).mkdir(parents=True)
        for name, ids in maps.items():
            if (ids == index).any():
                save(root / "masks" / label / f"{name}.png", (ids == index) * 255)
    return ["binary", "--images", f"{root}/images", "--masks", f"{root}/masks"]


def boxes(ids: NDArray[np.uint8], value: int) -> list[tuple[int, int, int, int]]:
    """The runs of a value in the rows of a label map, as left, top, right, bottom."""
    found = []
    for y, row in enumerate(ids):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row == value, [0]])))
        found += [(int(left), y, int(right), y + 1) for left, right in zip(edges[::2], edges[1::2], strict=True)]
    return found


def corners(box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    left, top, right, bottom = box
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def polygons(ids: NDArray[np.uint8], value: int) -> Any:
    return [[float(part) for corner in corners(box) for part in corner] for box in boxes(ids, value)]


def runs(ids: NDArray[np.uint8], value: int) -> Any:
    flat = (ids == value).T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(ids.shape), "counts": [0, *counts] if flat[0] else counts}


def compressed(ids: NDArray[np.uint8], value: int) -> Any:
    from pycocotools import mask

    found = mask.encode(np.asfortranarray(ids == value).astype(np.uint8))
    return {"size": list(ids.shape), "counts": found["counts"].decode()}


def write_coco(root: Path, maps: Maps, outline: Callable[[NDArray[np.uint8], int], Any]) -> list[str]:
    write_images(root, maps)
    categories = [{"id": 10 * index, "name": CLASSES[index]} for index in (3, 1, 2)]
    images, annotations = [], []
    for number, (name, ids) in enumerate(maps.items()):
        images.append({"id": number, "file_name": f"{name}.jpg", "height": ids.shape[0], "width": ids.shape[1]})
        for value in np.unique(ids[ids > 0]).tolist():
            entry = {"id": len(annotations), "image_id": number, "category_id": 10 * value, "iscrowd": 0}
            annotations.append({**entry, "segmentation": outline(ids, value)})
    document = {"images": images, "categories": categories, "annotations": annotations}
    (root / "coco.json").write_text(json.dumps(document))
    return ["coco", "--images", f"{root}/images", "--annotations", f"{root}/coco.json"]


def coco_polygons(root: Path, maps: Maps) -> list[str]:
    return write_coco(root, maps, polygons)


def coco_runs(root: Path, maps: Maps) -> list[str]:
    return write_coco(root, maps, runs)


def coco_compressed(root: Path, maps: Maps) -> list[str]:
    return write_coco(root, maps, compressed)


def yolo(root: Path, maps: Maps) -> list[str]:
    write_images(root, maps)
    for name, ids in maps.items():
        height, width = ids.shape
        lines = []
        for value in np.unique(ids[ids > 0]).tolist():
            for box in boxes(ids, value):
                shares = [f"{x / width:.6f} {y / height:.6f}" for x, y in corners(box)]
                lines.append(" ".join([str(value - 1), *shares]))
        (root / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "labels" / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    (root / "data.yaml").write_text("names:\n" + "".join(f"  {i}: {name}\n" for i, name in enumerate(CLASSES[1:])))
    folders = ["--images", f"{root}/images", "--labels", f"{root}/labels"]
    return ["yolo", *folders, "--names", f"{root}/data.yaml"]


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def few_bits(ids: Any) -> bytes:
    """``ids`` from 0 to 3 as a grey PNG of 2 bits, which Pillow reads and does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = np.shape(ids)
    bits = np.unpackbits(np.asarray(ids, dtype=np.uint8)[..., None], axis=2)[..., -2:].reshape(height, -1)
    lines = b"".join(b"\0" + np.packbits(line).tobytes() for line in bits)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 2, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def rows(maps: Maps) -> Any:
    """A Hugging Face data set of these."""
    from datasets import Dataset, Features
    from datasets import Image as Picture

    columns = {
        "image": [{"bytes": png(np.full((*ids.shape[:2], 3), 90)), "path": None} for ids in maps.values()],
        "label": [{"bytes": png(ids), "path": None} for ids in maps.values()],
    }
    return Dataset.from_dict(columns, features=Features(image=Picture(), label=Picture()))


def parquet(root: Path, maps: Maps) -> list[str]:
    (root / "data").mkdir(parents=True)
    rows(maps).to_parquet(root / "data" / "train-00000-of-00001.parquet")
    (root / "id2label.json").write_text(json.dumps(dict(enumerate(CLASSES))))
    return ["dataset", "--data", f"{root}/data", "--names", f"{root}/id2label.json"]


def saved(root: Path, maps: Maps) -> list[str]:
    from datasets import DatasetDict

    DatasetDict({"train": rows(maps)}).save_to_disk(root / "saved")
    return ["dataset", "--data", f"{root}/saved", "--classes", ",".join(CLASSES)]


FORMATS: dict[str, tuple[Write, str]] = {  # and the package that it takes
    "colours": (colours, ""),
    "palette": (palette, ""),
    "binary": (binary, ""),
    "coco, polygons": (coco_polygons, ""),
    "coco, runs": (coco_runs, ""),
    "coco, compressed": (coco_compressed, "pycocotools"),
    "yolo": (yolo, ""),
    "dataset, parquet": (parquet, "datasets"),
    "dataset, saved": (saved, "datasets"),
}
