"""How long 100,000 small images take to index, to check again on a warm disk, and what memory an epoch over them takes.

    python benchmarks/index.py [--images 100000] [--json FILE]

The images (32 x 32) are hard links to a few files in a temporary folder, each with a name and an entry of its own, so
that making them takes seconds and the disk little. "first" reads every mask; "again" checks sizes and times of change,
as every start does; memory is the process's resident set, every tenth of an epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from sats.data.folder import open_folder
from sats.data.loader import TrainLoader
from sats.data.stream import Samples
from sats.data.transforms import TrainTransform

KINDS, SIDE, BATCH = 50, 32, 16


def make(root: Path, images: int) -> None:
    """The folder layout with so many images, in folders of 1,000."""
    rng = np.random.default_rng(0)
    root.mkdir()
    (root / "classes.txt").write_text("\n".join(["background", *(f"class {index}" for index in range(1, 11))]))
    for part in ("images", "masks"):
        (root / "kinds" / part).mkdir(parents=True)
    for kind in range(KINDS):
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "kinds" / "images" / f"{kind}.jpg")
        mask = rng.integers(0, 11, (4, 4), dtype=np.uint8).repeat(SIDE // 4, 0).repeat(SIDE // 4, 1)
        Image.fromarray(mask).save(root / "kinds" / "masks" / f"{kind}.png")
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        for index in range(images):
            folder = root / part / "train" / str(index // 1000)
            if index % 1000 == 0:
                folder.mkdir(parents=True)
            os.link(root / "kinds" / part / f"{index % KINDS}.{suffix}", folder / f"{index}.{suffix}")


def opened(root: Path) -> float:
    """Seconds to open the folder."""
    start = time.perf_counter()
    open_folder(root, "train")
    return round(time.perf_counter() - start, 2)


def memory_over_an_epoch(root: Path) -> list[int]:
    """MiB of resident memory before an epoch and after each tenth of it."""
    source = open_folder(root, "train")
    table = np.arange(256).astype(np.uint8)
    loader = TrainLoader(
        samples=Samples(source, np.arange(len(source)), table),
        transform=TrainTransform(SIDE),
        batch_size=BATCH,
        seed=(0,),
    )
    process, found = psutil.Process(), []
    total = loader.iterations_per_epoch
    for iteration, _ in enumerate(loader.batches(0, total)):
        if iteration % max(1, total // 10) == 0:
            found.append(round(process.memory_info().rss / 2**20))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        os.environ["SATS_CACHE"] = str(Path(folder, "cache"))
        make(root, arguments.images)
        found = {
            "images": arguments.images,
            "first, seconds": opened(root),
            "again, seconds": [opened(root) for _ in range(5)],
            "memory over an epoch, MiB": memory_over_an_epoch(root),
        }
    print(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
