"""How many training images a core can load in a second, against a plain pipeline on the same files.

    python benchmarks/loader.py --data DIR [--large] [--rounds 5] [--images 300] [--json FILE]

DIR has the folder layout. Both pipelines zoom by 0.5 to 2, cut out a square of 512 pixels, mirror half of the time
and normalise; the plain one as most training codes do it: decode all of the image, scale all of it, pad, cut, and make
floats of it in NumPy. ``--large`` first makes photographs of 3,000 pixels of DIR's images, in a temporary folder,
which are scaled to a short side of 512. A round has one run of each, in turn; figures are medians of images/s, in one
process and one thread, batches of 8.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from sats.data.folder import open_folder
from sats.data.loader import TrainLoader
from sats.data.stream import Samples
from sats.data.transforms import TrainTransform
from sats.types import IGNORE, MEAN, STD

if TYPE_CHECKING:
    from sats.data.pairs import PairsSource

CROP, SCALE, BATCH = 512, (0.5, 2.0), 8
LARGE = 3000


class Plain(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The files of a source, as a plain pipeline reads them."""

    def __init__(self, source: PairsSource, resize: int) -> None:
        self.images, self.masks, self.resize = source._images, source._masks, resize  # noqa: SLF001 (its files)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng(index)
        image, mask = Image.open(self.images[index]).convert("RGB"), Image.open(self.masks[index])
        factor = rng.uniform(*SCALE) * (self.resize / min(image.size) if self.resize else 1)
        size = (round(image.width * factor), round(image.height * factor))
        image, mask = image.resize(size, Image.Resampling.BILINEAR), mask.resize(size, Image.Resampling.NEAREST)
        pixels = np.asarray(image, dtype=np.float32) / 255
        labels = np.asarray(mask)
        right, below = max(0, CROP - size[0]), max(0, CROP - size[1])
        pixels = (pixels - np.array(MEAN, dtype=np.float32)) / np.array(STD, dtype=np.float32)
        pixels = np.pad(pixels, ((0, below), (0, right), (0, 0)))
        labels = np.pad(labels, ((0, below), (0, right)), constant_values=IGNORE)
        top, left = (int(rng.integers(side - CROP + 1)) for side in labels.shape)
        pixels, labels = (part[top : top + CROP, left : left + CROP] for part in (pixels, labels))
        if rng.random() < 0.5:
            pixels, labels = pixels[:, ::-1], labels[:, ::-1]
        chosen = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        return chosen, torch.from_numpy(labels.astype(np.int64))


def plain_speed(source: PairsSource, resize: int, images: int) -> float:
    """Images/s of the plain pipeline."""
    order = np.random.default_rng(0).permutation(len(source)).tolist()
    wanted = (order * (images // len(order) + 1))[: images // BATCH * BATCH]
    loader = DataLoader(Plain(source, resize), BATCH, sampler=wanted)
    start = time.perf_counter()
    loaded = sum(len(pixels) for pixels, _ in loader)
    return loaded / (time.perf_counter() - start)


def our_speed(source: PairsSource, resize: int, images: int) -> float:
    """Images/s of `TrainLoader`, batches normalised."""
    samples = Samples(source, np.arange(len(source)), np.arange(256).astype(np.uint8))
    loader = TrainLoader(
        samples=samples, transform=TrainTransform(CROP, SCALE, resize=resize), batch_size=BATCH, seed=(0,)
    )
    start = time.perf_counter()
    loaded = sum(len(batch.images) for batch in loader.batches(0, images // BATCH))
    return loaded / (time.perf_counter() - start)


def enlarge(data: Path, into: Path, images: int) -> None:
    """Photographs of LARGE pixels of some of the training images in ``data``."""
    (into / "classes.txt").write_text((data / "classes.txt").read_text())
    for part in ("images", "masks"):
        (into / part / "train").mkdir(parents=True)
    for path in sorted((data / "images" / "train").iterdir())[:images]:
        image, mask = Image.open(path), Image.open(data / "masks" / "train" / f"{path.stem}.png")
        size = (LARGE, round(LARGE * image.height / image.width))
        image.resize(size, Image.Resampling.BICUBIC).save(into / "images" / "train" / f"{path.stem}.jpg", quality=90)
        mask.resize(size, Image.Resampling.NEAREST).save(into / "masks" / "train" / f"{path.stem}.png")


def measure(data: Path, resize: int, arguments: argparse.Namespace) -> dict[str, object]:
    """The medians of both, in turn."""
    source = open_folder(data, "train")
    source.image(0), source.mask(0)
    speeds: dict[str, list[float]] = {"plain": [], "sats": []}
    for _ in range(arguments.rounds):
        speeds["plain"].append(plain_speed(source, resize, arguments.images))
        speeds["sats"].append(our_speed(source, resize, arguments.images))
        print({name: round(values[-1], 1) for name, values in speeds.items()}, flush=True)
    height, width = source.size(0)
    medians = {name: round(statistics.median(values), 1) for name, values in speeds.items()}
    ratio = round(statistics.median(new / old for new, old in zip(speeds["sats"], speeds["plain"], strict=True)), 2)
    return {"first image": f"{width} x {height}", "resize": resize, "images/s": medians, "ratio": ratio, "raw": speeds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.large:
        with tempfile.TemporaryDirectory() as folder:
            enlarge(arguments.data, Path(folder), images=40)
            found = measure(Path(folder), CROP, arguments)
    else:
        found = measure(arguments.data, 0, arguments)
    print({name: value for name, value in found.items() if name != "raw"})
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
