"""What an iteration of each method costs beside fine-tuning, measured side by side in one process.

    python benchmarks/method_cost.py [--model segformer-b0] [--size 128] [--batch 4] [--rounds 15] [--json FILE]

Each method stands in step 1 of 15-5 (16 old channels, 5 new ones). A round makes one update with each method in turn;
the figure is the median over rounds of its CPU time over fine-tuning's in the same round. Loading is left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator

from sats.engine.frozen_encoder import frozen_encoder
from sats.engine.log import Log
from sats.engine.loop import Learner, update
from sats.engine.optim import make_optimizer
from sats.engine.recollection import keep_features
from sats.engine.run import Run
from sats.engine.run_folder import RunFolder
from sats.methods import METHODS, Method
from sats.methods.base import begin_step, needs_teacher, prepare_model
from sats.methods.context import Context
from sats.models import creation
from sats.recipes import recipe
from sats.types import BACKGROUND, Batch, Step

STEP_0, STEP_1 = Step(0, 0, 16, num_future=5), Step(1, 16, 5)
NOWHERE = RunFolder(Path("nowhere"))


def make_batch(step: Step, size: int, count: int) -> Batch:
    """Noise with blocks of the step's classes, a third of whose background is salient."""
    images = torch.randn(count, 3, size, size)
    blocks = torch.randint(step.first_new - 2, step.num_seen, (count, size // 16, size // 16))
    labels = torch.where(blocks < step.first_new, BACKGROUND, blocks)
    labels = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    return Batch(images, labels, (torch.rand(labels.shape) < 0.3) & (labels == BACKGROUND))


def make_learner(method: Method, arguments: argparse.Namespace, accelerator: Accelerator) -> Learner:
    """A method in step 1, with the state that an update of step 0 leaves behind."""
    torch.manual_seed(0)
    config = dataclasses.replace(recipe("scenes", "finetune"), method=method)
    run = Run(config, NOWHERE, cast("Any", None), accelerator, Log(Path("nowhere"), quiet=True))
    names = ["background", *(f"class {index}" for index in range(1, 16))]
    model = creation.create(arguments.model, names)
    prepare_model(method, model.train(), STEP_0)
    first = Context(STEP_0, model, None, {})
    with torch.no_grad():
        begin_step(method, first, [])
    update(_learner(run, first), [make_batch(STEP_0, arguments.size, 2)])
    with torch.no_grad():
        method.end_step(first, [])
    teacher = model.frozen_copy() if needs_teacher(method, STEP_1) else None
    model.grow(STEP_1, [f"new {index}" for index in range(5)], method.init)
    prepare_model(method, model.train(), STEP_1)
    context = Context(STEP_1, model, teacher, first.state)
    with torch.no_grad():
        begin_step(method, context, [make_batch(STEP_1, arguments.size, 2)])
        if method.feature_replay.weight:
            for step in (STEP_0, STEP_1):
                keep_features(method.feature_replay, context, [make_batch(step, arguments.size, 2)], step)
    return _learner(run, context)


def _learner(run: Run, context: Context) -> Learner:
    optimizer = run.accelerator.prepare(make_optimizer(context.model, run.config.optim, context.step.index))
    return Learner(run, context, context.model, optimizer, frozen_encoder(run, context, cast("Any", None)))


def cpu_seconds(learner: Learner, batch: Batch) -> float:
    """CPU time of one update."""
    before = time.process_time()
    update(learner, [batch])
    return time.process_time() - before


def main(words: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="segformer-b0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", default="")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    methods = {name: kind() for name, kind in METHODS.items() if kind.data == "stream"}
    learners = {name: make_learner(method, arguments, accelerator) for name, method in methods.items()}
    batch = make_batch(STEP_1, arguments.size, arguments.batch)
    times: dict[str, list[float]] = {name: [] for name in learners}
    for round_number in range(arguments.rounds + 1):
        for name, learner in learners.items():
            seconds = cpu_seconds(learner, batch)
            if round_number:  # the first warms up
                times[name].append(seconds)
    ratios = {
        name: statistics.median(own / base for own, base in zip(mine, times["finetune"], strict=True))
        for name, mine in times.items()
    }
    for name in sorted(ratios, key=lambda name: ratios[name]):
        print(f"{name:10} {ratios[name]:5.2f} x fine-tuning   {1000 * statistics.median(times[name]):7.1f} ms")
    if arguments.json:
        settings = {name: getattr(arguments, name) for name in ("model", "size", "batch", "rounds")}
        document = {**settings, "torch": torch.__version__, "threads": 1, "ratio_to_finetune": ratios}
        Path(arguments.json).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
