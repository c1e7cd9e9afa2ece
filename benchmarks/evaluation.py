"""What measuring a model costs over a plain loop: load, forward, upsample, take the highest class, count nothing.

    python benchmarks/evaluation.py [--model segformer-b0] [--images 8] [--batch 4] [--rounds 5] [--json FILE]

Both read the same photographs of noise, in a temporary folder, by the same loader, on one thread, for 21 and 151
classes and 256 and 512 pixels. A round has one pass of each, in turn; times are medians of CPU seconds over rounds,
``ratio`` the median of the rounds' ratios. Memory is the peak resident size of a pass over what there was before, in
MiB. It ends with the table of docs/performance.md.
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
from iteration import peak_here
from PIL import Image
from torch.nn import functional

from sats.data.folder import open_folder
from sats.data.loader import EvaluationBatches
from sats.data.stream import Samples
from sats.data.transforms import TestTransform
from sats.evaluation.confusion import confusion_matrix
from sats.methods import METHODS
from sats.models import creation

if TYPE_CHECKING:
    from collections.abc import Callable

    from sats.models.segmenter import Segmenter

CLASSES, SIZES = (21, 151), (256, 512)
CELL = 16
SCORES = METHODS["sats"]().scores


def make(root: Path, images: int, classes: int, size: int) -> None:
    """A data folder of noise, with labels in blocks."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (root / part / "val").mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(["background", *(f"class {index}" for index in range(1, classes))]))
    side = size // CELL
    for index in range(images):
        pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / "val" / f"{index}.jpg")
        labels = rng.integers(0, classes, (side, side), dtype=np.uint8).repeat(CELL, 0).repeat(CELL, 1)
        Image.fromarray(labels).save(root / "masks" / "val" / f"{index}.png")


def plain(model: Segmenter, batches: EvaluationBatches) -> None:
    """The classes of every image, and nothing done with them."""
    with torch.no_grad():
        for batch in batches:
            logits = model.network(pixel_values=batch.images).logits
            logits = functional.interpolate(logits, size=batch.labels.shape[1:], mode="bilinear", align_corners=False)
            logits.max(dim=1)


def cpu_seconds(function: Callable[[], object]) -> float:
    """CPU time of one call."""
    before = time.process_time()
    function()
    return time.process_time() - before


def compare(arguments: argparse.Namespace, classes: int, size: int) -> dict[str, object]:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        os.environ["SATS_CACHE"] = str(Path(folder, "cache"))
        make(root, arguments.images, classes, size)
        source = open_folder(root, "val")
        samples = Samples(source, np.arange(len(source)), np.arange(256).astype(np.uint8))
        batches = EvaluationBatches(samples, TestTransform(), arguments.batch, 0, torch.device("cpu"))
        torch.manual_seed(0)
        model = creation.create(arguments.model, source.classes).eval()

        def floor() -> None:
            plain(model, batches)

        def own() -> None:
            confusion_matrix(model, batches, SCORES)

        rounds = [(cpu_seconds(floor), cpu_seconds(own)) for _ in range(arguments.rounds + 1)][1:]  # the first warms up
        return {
            "classes": classes,
            "size": size,
            "ratio": round(statistics.median(mine / least for least, mine in rounds), 3),
            "seconds": round(statistics.median(mine for _, mine in rounds), 3),
            "plain_seconds": round(statistics.median(least for least, _ in rounds), 3),
            "peak_mib": round(peak_here(own)),
            "plain_peak_mib": round(peak_here(floor)),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="segformer-b0")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [compare(arguments, classes, size) for classes in CLASSES for size in SIZES]
    print("| classes | pixels | measuring / plain loop | peak memory, MiB: its own / the loop's |\n|---|---|---|---|")
    for row in rows:
        memory = f"{row['peak_mib']} / {row['plain_peak_mib']}"
        print(f"| {row['classes']} | {row['size']} | {row['ratio']:.2f} | {memory} |")
    if arguments.json:
        asked = {name: getattr(arguments, name) for name in ("model", "images", "batch", "rounds")}
        arguments.json.write_text(json.dumps({**asked, "torch": torch.__version__, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
