"""What training costs against image size, classes and processes, and what a large stream would take by that.

    python benchmarks/scaling.py [--rounds 3] [--json FILE]

An iteration of SATS in step 1, SegFormer-B0, batches of 2, one thread for each process, without loading: CPU seconds
for an image (medians of rounds), and peak resident memory of a process over what it had before. With two processes each
has half of the batch, and CPU seconds are those of both. Every figure is of fresh processes. Ends with the tables of
docs/scaling.md: the second one is computed, from these figures and benchmarks/index.json.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from iteration import cpu_seconds, iterate, make_batch, make_learner, make_model, peak_here

from sats.engine import launch, processes
from sats.engine.loop import Learner
from sats.engine.optim import make_optimizer
from sats.losses.pseudo_labels import BINS
from sats.methods import METHODS
from sats.models.checkpoint import save

SIZES, CLASSES, PROCESSES = (128, 256, 512), (21, 151, 1001), (1, 2)
SHARED = (21, 151)
"""The classes at which two processes are measured: what they exchange are gradients, whatever the classes."""
BATCH = 2
STREAM_IMAGES, STREAM_CLASSES, STREAM_STEPS, STREAM_EPOCHS, STREAM_SIZE = 1_000_000, 1001, 10, 20, 512
HERE = Path(__file__).parent
Row = dict[str, float]


def child(size: int, classes: int, rounds: int) -> None:
    """Print CPU seconds for an iteration, and the peak, of this process."""
    torch.set_num_threads(1)
    processes.join()
    settings = argparse.Namespace(model="segformer-b0", size=size, classes=classes)
    learner = make_learner(METHODS["sats"](), settings)
    if launch.world_size() > 1:
        learner = shared(learner)
    batch = make_batch(learner.context.step, size, BATCH // launch.world_size())
    one = partial(iterate, learner, batch)
    peak_mib = peak_here(one)  # first, as memory that was freed is kept; warms up, too
    seconds = statistics.median(cpu_seconds(one) for _ in range(rounds))
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib}))


def shared(learner: Learner) -> Learner:
    """The same, whose gradients are those of all processes."""
    run, context = learner.run, learner.context
    optimizer = make_optimizer(context.model, run.config.optim, context.step.index)
    return Learner(run, context, *run.accelerator.prepare(context.model, optimizer))


def measured(size: int, classes: int, number: int, rounds: int) -> Row:
    """CPU seconds for an image, and MiB of a process, of ``number`` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1"}
    words = [sys.executable, __file__, "--child", str(size), str(classes), str(rounds)]
    started = [
        subprocess.Popen(  # noqa: S603 (this file itself)
            words,
            env={**os.environ, **common, "MASTER_PORT": port, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]
    found: list[Row] = [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]
    assert all(process.returncode == 0 for process in started)
    return {
        "size": size,
        "classes": classes,
        "processes": number,
        "seconds_per_image": round(sum(one["seconds"] for one in found) / BATCH, 4),
        "peak_mib": round(max(one["peak_mib"] for one in found)),
    }


def step_folder(classes: int) -> dict[str, float]:
    """MB of a step's model folder, and of its classifier alone."""
    model = make_model("segformer-b0", classes)
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder, "model"), 0)
        whole = sum(file.stat().st_size for file in Path(folder, "model").iterdir())
    rows = sum(parameter.numel() for parameter in model.classifier.parameters())
    return {"model": whole / 1e6, "classifier": 4 * rows / 1e6}


def computed(rows: list[Row]) -> list[tuple[str, str, str]]:
    """What the large stream would take: name, formula, figure."""
    index = json.loads((HERE / "index.json").read_text())
    share = STREAM_IMAGES / index["images"]
    again = statistics.median(index["again, seconds"])
    (cost,) = (
        row["seconds_per_image"]
        for row in rows
        if (row["size"], row["classes"], row["processes"]) == (STREAM_SIZE, STREAM_CLASSES, 1)
    )
    disk = step_folder(STREAM_CLASSES)
    matrix = 8 * STREAM_CLASSES**2 / 1e6
    hours = STREAM_IMAGES * STREAM_EPOCHS * cost / 3600
    logits = 4 * STREAM_CLASSES * STREAM_SIZE**2 / 2**20
    return [
        ("indexing, once", "images x first / 100,000", f"{share * index['first, seconds'] / 60:.1f} min"),
        ("checking the index, each start", "images x again / 100,000", f"{share * again:.0f} s"),
        ("training", f"images x {STREAM_EPOCHS} epochs x {cost:.2f} s", f"{hours:,.0f} core hours"),
        ("a step's model", "as saved", f"{disk['model']:.1f} MB"),
        (f"models of {STREAM_STEPS} steps", "steps x model", f"{STREAM_STEPS * disk['model']:.0f} MB at most"),
        ("the classifier", "4 B x classes x (decoder + 1)", f"{disk['classifier']:.2f} MB"),
        ("the confusion matrix", "8 B x classes^2", f"{matrix:.1f} MB"),
        (
            "thresholds, while they are gathered",
            "8 B x old classes x bins",
            f"{8 * STREAM_CLASSES * BINS / 1e6:.0f} MB",
        ),
        ("logits of an image, each time", "4 B x classes x pixels", f"{logits:,.0f} MiB"),
    ]


def show(rows: list[Row]) -> None:
    """Print both tables."""
    alone = {(row["size"], row["classes"]): row["seconds_per_image"] for row in rows if row["processes"] == 1}
    print(
        "| pixels | classes | processes | CPU s an image | images/s and core | over one process | peak MiB a process |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        seconds = row["seconds_per_image"]
        over = seconds / alone[row["size"], row["classes"]]
        case = f"{row['size']} | {row['classes']} | {row['processes']}"
        print(f"| {case} | {seconds:.3f} | {1 / seconds:.2f} | {over:.2f} | {row['peak_mib']:,} |")
    print(f"\n| {STREAM_IMAGES:,} images, {STREAM_CLASSES - 1:,} classes, {STREAM_SIZE} pixels | computed by | |")
    print("|---|---|---|")
    for name, formula, figure in computed(rows):
        print(f"| {name} | {formula} | {figure} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [
        measured(size, classes, number, arguments.rounds)
        for classes in CLASSES
        for size in SIZES
        for number in PROCESSES
        if number == 1 or classes in SHARED
    ]
    show(rows)
    if arguments.json:
        found: dict[str, Any] = {"batch": BATCH, "rounds": arguments.rounds, "torch": torch.__version__, "rows": rows}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*map(int, sys.argv[2:]))
    else:
        main()
