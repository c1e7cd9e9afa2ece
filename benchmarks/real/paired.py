"""How far runs on the same test images differ, with intervals: a paired bootstrap over images.

    python benchmarks/real/paired.py COUNTS [COUNTS ...] [--runs runs/ccp] [--base sats] [--only order_seed=1]

Of each test image the folders of counts have the hits, true and predicted pixels of each class, a file for each run.
Those of ``--runs``, which ``sats bench`` wrote, are counted and added to the first folder: each finished run's last
model sees the test images once more. Then, for each other variant, the difference to the base at the same points of the
grid, in points of mIoU, mean over the points; and the interval that holds 95% of 2,000 samples of the test images, the
same for both. Images are not the only chance: a run has a seed, too. ``--json FILE`` keeps the intervals.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray

import sats
from sats.data.loader import EvaluationBatches
from sats.engine import build
from sats.engine.panel import measured_on
from sats.engine.run_folder import open_run
from sats.engine.train import open_stream
from sats.evaluation.confusion import confusion_matrix
from sats.progress import progress_bar

FIGURES = ("all", "old", "new", "hiou")
SAMPLES = 2000
Counts = NDArray[np.int32]
"""[images, 3, classes]: hits, true and predicted pixels."""


def count(run: Path, folder: Path) -> None:
    """Count each test image by the last model of a run, unless that is done or the run is not."""
    kept = folder / f"{run.name}.npz"
    opened = sats.read_run(run)
    if kept.exists() or len(opened.scores) < max(1, len(opened.steps)):
        return
    stream = open_stream(opened.config, open_run(run))
    predictor = opened.model()
    samples = measured_on(opened.config, stream, stream.steps[-1])
    batches = EvaluationBatches(samples, build.evaluation_transform(opened.config), 1, 0, predictor.device)
    images = []
    for batch in progress_bar(batches, run.name, len(batches)):
        matrix = confusion_matrix(predictor.model, [batch], predictor.method.scores)
        images.append(torch.stack([matrix.diagonal(), matrix.sum(dim=1), matrix.sum(dim=0)]))
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(kept, counts=torch.stack(images).numpy().astype(np.int32), num_first=stream.num_first)


def figures_of(counts: Counts, num_first: int, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The figures in percent [samples] where each image counts as often as ``weights`` [samples, images] say."""
    hits, true, predicted = np.moveaxis(np.tensordot(weights, counts.astype(np.float64), axes=1), 1, 0)
    with np.errstate(invalid="ignore"):
        iou = 100 * np.where(true > 0, hits / (true + predicted - hits), np.nan)
    old, new = np.nanmean(iou[:, :num_first], axis=1), np.nanmean(iou[:, num_first:], axis=1)
    return {"all": np.nanmean(iou, axis=1), "old": old, "new": new, "hiou": 2 * old * new / (old + new)}


def main() -> None:
    """Count, sample, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", type=Path, nargs="+")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--base", default="sats")
    parser.add_argument("--only", default="", help="runs at this point of the grid, as in order_seed=1")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for path in sorted(arguments.runs.glob("*/config.json")) if arguments.runs else ():
        count(path.parent, arguments.counts[0])
    found: dict[tuple[str, str], dict[str, NDArray[np.float64]]] = {}
    for path in (file for folder in arguments.counts for file in sorted(folder.glob("*.npz"))):
        variant, _, point = path.stem.partition(",")
        if not set(arguments.only.split(",")) - {""} <= set(point.split(",")):
            continue
        kept = np.load(path)
        images = len(kept["counts"])
        samples = np.random.default_rng(0).multinomial(images, [1 / images] * images, SAMPLES)
        weights = np.concatenate([np.ones((1, images)), samples])  # the first are the test images as they are
        found[variant, point] = figures_of(kept["counts"], int(kept["num_first"]), weights)
    if not any(variant == arguments.base for variant, _ in found):
        raise SystemExit(f"No counts of {arguments.base} there: give --runs, or another --base.")
    rows = []
    for variant in sorted({variant for variant, _ in found} - {arguments.base}):
        points = [point for other, point in found if other == variant and (arguments.base, point) in found]
        if not points:
            continue
        intervals: dict[str, list[float]] = {}
        for figure in FIGURES:
            pairs = [(found[variant, point], found[arguments.base, point]) for point in points]
            differences = np.mean([own[figure] - base[figure] for own, base in pairs], axis=0)
            low, high = np.percentile(differences[1:], [2.5, 97.5])
            intervals[figure] = [round(float(value), 2) for value in (differences[0], low, high)]
        rows.append({"variant": variant, "base": arguments.base, "points": points, **intervals})
        shown = ", ".join(f"{name} {at:+.1f} [{low:+.1f}, {high:+.1f}]" for name, (at, low, high) in intervals.items())
        print(f"{variant} - {arguments.base}, n = {len(points)}: {shown}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
