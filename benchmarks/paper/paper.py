"""The paper's tables: what each cell takes, tried without a GPU, and the page that puts measured beside published.

    python benchmarks/paper/paper.py dry-run --classes DIR [--out benchmarks/paper/dry_run.json]
    python benchmarks/paper/paper.py page [--results RESULTS.json ...] [--out docs/paper.md]

`dry-run` opens every cell of voc.json and ade.json, counts the images of its steps by the classes that each image of
the data sets holds (DIR has voc_train_classes.txt.gz and ade_train_classes.txt.gz: a line an image, its name and class
ids), runs one iteration of each method on a generated image of 512 x 512 with the recipe's network, random weights, on
one thread, and says what the cell would take. `page` puts the results of `sats bench` beside the published figures.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np

from sats.bench.settings import Places
from sats.bench.step0 import step0_of
from sats.bench.suite import Cell, cells, read_suite
from sats.data.arrivals import assign_images
from sats.data.protocol import class_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUITES = ("voc.json", "ade.json")
CLASSES = {"voc": 20, "ade20k": 150}
GFLOP_FORWARD = 50.3
"""A MiT-B2 with SATS's head on 512 x 512 (benchmarks/flops.py)."""
PASSES = {"joint": 3, "finetune": 3, "ilt": 4, "mib": 4, "plop": 4, "ssul": 2, "sats": 4}
"""Forwards that an image of a later step takes: a backward counts as two. SSUL's encoder is frozen, and runs once."""
SUSTAINED = 20.0
"""TFLOP/s of a GPU: an H100 in bf16 sustained 14 to 27 (benchmarks/gpu.json)."""
FIGURES = ("old", "new", "all")


def every_cell() -> list[Cell]:
    """The cells of both suites."""
    places = Places(data=Path.cwd())
    return [cell for name in SUITES for cell in cells(read_suite(HERE / name), places, name)]


def presence(folder: Path, source: str) -> NDArray[np.bool_]:
    """Which classes each training image holds: [images, classes + 1]."""
    name = {"voc": "voc", "ade20k": "ade"}[source]
    text = gzip.decompress((folder / f"{name}_train_classes.txt.gz").read_bytes()).decode()
    rows = [[int(word) for word in line.split()[1:]] for line in text.splitlines()]
    found = np.zeros((len(rows), CLASSES[source] + 1), dtype=bool)
    for row, held in enumerate(rows):
        found[row, held] = True
    return found


def images_by_step(cell: Cell, held: NDArray[np.bool_]) -> list[int]:
    """How many training images each step of a cell has."""
    config = cell.config
    if config.method.data == "all":
        return [int(held[:, 1:].any(axis=1).sum())]
    names = [str(index) for index in range(held.shape[1])]
    groups = class_groups(names, config.stream.protocol, (), (), None)
    return [len(images) for images in assign_images(held, groups, config.stream.setting)]


def plan(cell: Cell, held: NDArray[np.bool_], trained: set[str]) -> dict[str, Any]:
    """Images and iterations of each step, and the work: step 0 counts where no cell before trains the same one."""
    train, images = cell.config.train, images_by_step(cell, held)
    of_step = train.batch_size // 2 if cell.config.memory.size else train.batch_size  # the other half are exemplars
    updates = [max(1, count // (of_step if step else train.batch_size)) for step, count in enumerate(images)]
    iterations = [train.epochs_of(step) * count for step, count in enumerate(updates)]
    key = step0_of(cell.config)
    shared = key is not None and key in trained
    trained.add(key or "")
    method = cell.config.method.__class__.__name__.lower()
    passes = [3 if step == 0 else PASSES[method] for step in range(len(images))]
    paid = [count * (not (shared and step == 0)) for step, count in enumerate(iterations)]
    tflop = GFLOP_FORWARD / 1000 * train.batch_size * sum(a * b for a, b in zip(paid, passes, strict=True))
    return {
        "cell": cell.name,
        "images": images,
        "iterations": iterations,
        "step 0 is another cell's": shared,
        "tflop": round(tflop),
        "hours": round(tflop / SUSTAINED / 3600, 2),
    }


def one_iteration(method: str) -> dict[str, float]:
    """CPU seconds of one iteration of a method in step 1, one image; the first is not counted."""
    import iteration
    import torch

    from sats.methods import METHODS

    torch.set_num_threads(1)
    arguments = argparse.Namespace(model="segformer-b2", size=512, classes=21)
    if METHODS[method].data == "all":
        method = "finetune"  # which it is, with all labels
    learner = iteration.make_learner(METHODS[method](), arguments)
    batch = iteration.make_batch(learner.context.step, 512, 1)
    iteration.iterate(learner, batch)
    before = time.process_time()
    iteration.iterate(learner, batch)
    return {"seconds": round(time.process_time() - before, 1)}


def dry_run(classes: Path, out: Path) -> None:
    """Plan every cell, try every method, write it down."""
    held = {source: presence(classes, source) for source in CLASSES}
    trained: set[str] = set()
    plans = [plan(cell, held[cell.config.data.source], trained) for cell in every_cell()]
    methods = dict.fromkeys(cell.config.method.__class__.__name__.lower() for cell in every_cell())
    tried = {method: one_iteration(method) for method in methods}
    found = {"sustained_tflops": SUSTAINED, "one image, CPU": tried, "cells": plans}
    out.write_text(json.dumps(found, indent=1) + "\n")
    hours = sum(cell["hours"] for cell in plans)
    print(f"{len(plans)} cells, {hours:.0f} hours at {SUSTAINED:.0f} TFLOP/s; {out}")


def page(results: list[Path], out: Path) -> None:
    """Write the page."""
    expected = json.loads((HERE / "expected.json").read_text())
    planned = {cell["cell"]: cell for cell in json.loads((HERE / "dry_run.json").read_text())["cells"]}
    measured = {
        cell["name"]: cell["figures"]
        for path in results
        for cell in json.loads(path.read_text())["cells"]
        if cell["figures"]
    }
    lines = [
        "| cell | published old / new / all | measured old / new / all | within | images by step | PFLOP |",
        "|---|---|---|---|---|---|",
    ]
    for variant, recipes in expected["cells"].items():
        for recipe, published in recipes.items():
            name = f"{variant},recipe={recipe}"
            lines.append(_line(name, published, measured.get(name), planned[name], expected["tolerance"]))
    text = (HERE / "page.md").read_text()
    out.write_text(text.replace("{table}", "\n".join(lines)).replace("{tolerance}", str(expected["tolerance"])))


def _line(
    name: str, published: list[float | None], figures: dict[str, float] | None, planned: dict[str, Any], limit: float
) -> str:
    own = [None] * len(FIGURES) if figures is None else [100 * figures[key] for key in FIGURES]
    within = "open" if own[-1] is None else "yes" if abs(own[-1] - (published[-1] or 0)) <= limit else "no"
    counts = planned["images"]
    shown = ", ".join(map(str, counts[:6])) + (f", ... ({len(counts)} steps)" if len(counts) > 6 else "")
    return (
        f"| `{name}` | {_numbers(published)} | {_numbers(own)} | {within} | {shown} | {planned['tflop'] / 1000:.1f} |"
    )


def _numbers(values: list[float | None]) -> str:
    return " / ".join("-" if value is None else f"{value:.1f}" for value in values)


def main() -> None:
    """Run the subcommand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    dry = commands.add_parser("dry-run")
    dry.add_argument("--classes", type=Path, required=True, metavar="DIR")
    dry.add_argument("--out", type=Path, default=HERE / "dry_run.json")
    pages = commands.add_parser("page")
    pages.add_argument("--results", type=Path, nargs="*", default=[])
    pages.add_argument("--out", type=Path, default=HERE.parent.parent / "docs" / "paper.md")
    arguments = parser.parse_args()
    if arguments.command == "dry-run":
        dry_run(arguments.classes, arguments.out)
    else:
        page(arguments.results, arguments.out)


if __name__ == "__main__":
    main()
