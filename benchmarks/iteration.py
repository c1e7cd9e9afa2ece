"""What an iteration of a method takes over the floor: the teacher's forward, and a plain training iteration.

    python benchmarks/iteration.py [--model segformer-b0] [--size 256] [--classes 21] [--method sats] [--json]

The floor is forward, cross-entropy at full resolution, backward and update of the same model, and one forward of its
teacher to logits without gradients: what nobody can leave out. Both stand in step 1, with 16 old channels of 21 or 101
of 151, on one thread, without loading. A round has one iteration of each, in turn; times are medians of CPU seconds
over rounds, ``ratio_to_floor`` the median of the rounds' ratios. ``phases`` parts the method's own iteration. Memory is
the peak resident size of a fresh process for each of the two over what it had before its first iteration, in MiB.

``--model dinov2-small`` is an UperNet over a DINOv2-small of random weights. ``--json`` prints one line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

os.environ.setdefault("OMP_NUM_THREADS", "1")

from sats.engine import runtime

runtime.prepare()  # as the command does

import psutil
import torch
from accelerate import Accelerator
from torch.nn import functional
from transformers import Dinov2Config, UperNetForSemanticSegmentation

from sats.engine.frozen_encoder import frozen_encoder
from sats.engine.log import Log
from sats.engine.loop import Learner, apply_gradients
from sats.engine.optim import make_optimizer
from sats.engine.recollection import keep_features
from sats.engine.run import Run
from sats.engine.run_folder import RunFolder
from sats.methods import METHODS, Method
from sats.methods.attention_transfer import AttentionTransfer
from sats.methods.base import all_losses, begin_step, needs_teacher, prepare_model
from sats.methods.context import Context
from sats.models import creation
from sats.models.segmenter import Segmenter
from sats.models.upernet import upernet_config
from sats.recipes import recipe
from sats.types import BACKGROUND, IGNORE, Batch, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OLD = {21: 16, 151: 101, 1001: 501}
"""Old channels, by channels in all: VOC 15-5, ADE20K 100-50, and a stream of a thousand classes in two steps."""
DINO = "dinov2-small"
CELL = 16
SETTINGS = ("model", "size", "classes", "method", "at", "batch", "attention", "rounds")


def make_model(name: str, num_old: int) -> Segmenter:
    """The network before step 1, with random weights."""
    names = ["background", *(f"old {index}" for index in range(1, num_old))]
    if name != DINO:
        return creation.create(name, names)
    sizes = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "image_size": 518, "patch_size": 14}
    backbone = Dinov2Config(**sizes, out_indices=[3, 6, 9, 12], reshape_hidden_states=True)
    return Segmenter(UperNetForSemanticSegmentation(upernet_config(backbone, num_old)), names)


def make_batch(step: Step, size: int, count: int, device: torch.device | str = "cpu") -> Batch:
    """Noise, with blocks of background and of the step's classes; some background is salient."""
    side = -(-size // CELL)
    blocks = torch.randint(step.first_new - step.num_new, step.num_seen, (count, side, side))
    labels = torch.where(blocks < step.first_new, BACKGROUND, blocks)
    labels = labels.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)[:, :size, :size].contiguous()
    salient = (torch.rand(labels.shape) < 0.3) & (labels == BACKGROUND)
    return Batch(torch.randn(count, 3, size, size).to(device), labels.to(device), salient.to(device))


def make_learner(method: Method, arguments: argparse.Namespace, accelerator: Accelerator | None = None) -> Learner:
    """The method in step 1, with what its step 0 leaves behind; on the CPU, or where the ``accelerator`` is."""
    torch.manual_seed(0)
    accelerator = accelerator or Accelerator(cpu=True)
    device = accelerator.device
    old = OLD[arguments.classes]
    steps = Step(0, 0, old, num_future=arguments.classes - old), Step(1, old, arguments.classes - old)
    run = Run(
        dataclasses.replace(recipe("scenes", "finetune"), method=method),
        RunFolder(Path("nowhere")),
        cast("Any", None),
        accelerator,
        Log(Path("nowhere"), quiet=True),
    )
    model = make_model(arguments.model, old).to(device)
    prepare_model(method, model.train(), steps[0])
    first = Context(steps[0], model, None, {})
    small = make_batch(steps[0], arguments.size, 2, device)
    with torch.no_grad():
        begin_step(method, first, [])
    if method.step0_key() != METHODS["finetune"]().step0_key():
        iterate(learner_of(run, first), small)
    with torch.no_grad():
        method.end_step(first, [])
    teacher = model.frozen_copy() if needs_teacher(method, steps[1]) else None
    model.grow(steps[1], [f"new {index}" for index in range(steps[1].num_new)], method.init)
    prepare_model(method, model.to(device).train(), steps[1])
    context = Context(steps[1], model, teacher, first.state)
    with torch.no_grad():
        begin_step(method, context, [make_batch(steps[1], arguments.size, 2, device)])
        if method.feature_replay.weight:
            for step in steps:
                keep_features(method.feature_replay, context, [make_batch(step, arguments.size, 2, device)], step)
    return learner_of(run, context)


def learner_of(run: Run, context: Context) -> Learner:
    """With an optimizer for the context's model."""
    optimizer = run.accelerator.prepare(make_optimizer(context.model, run.config.optim, context.step.index))
    return Learner(run, context, context.model, optimizer, frozen_encoder(run, context, cast("Any", None)))


class Phases:
    """CPU seconds of the parts of iterations."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add what happens in this context to the phase ``name``."""
        before = time.process_time()
        yield
        self.seconds[name].append(time.process_time() - before)


def iterate(learner: Learner, batch: Batch, phases: Phases | None = None) -> None:
    """One iteration as the engine makes it."""
    phases = phases or Phases()
    context, method = learner.context, learner.run.method
    taps = method.attention_transfer.taps(context.model) if context.teacher is not None else ()
    with ExitStack() as shared:
        with phases.timed("shared encoder"):
            shared.enter_context(learner.encoder.encoded(batch.images))
        with phases.timed("teacher"), torch.no_grad():
            old = context.teacher(batch.images, taps) if context.teacher else None
        with phases.timed("student forward"):
            new = learner.model(batch.images, taps)
    with phases.timed("losses"):
        loss = torch.stack(list(all_losses(method, context, batch, new, old).values())).sum()
    with phases.timed("backward"):
        loss.backward()
    with phases.timed("optimizer"):
        apply_gradients(learner)


def floor(learner: Learner, teacher: Segmenter | None) -> Callable[[Batch], None]:
    """A plain iteration of the same kind of model, and the forward of ``teacher``."""

    def run(batch: Batch) -> None:
        if teacher is not None:
            with torch.no_grad():
                teacher(batch.images)
        logits = learner.model(batch.images).logits
        logits = functional.interpolate(logits, size=batch.labels.shape[1:], mode="bilinear", align_corners=False)
        functional.cross_entropy(logits, batch.labels, ignore_index=IGNORE).backward()
        apply_gradients(learner)

    return run


def cpu_seconds(function: Callable[[], None]) -> float:
    """CPU time of one call."""
    before = time.process_time()
    function()
    return time.process_time() - before


def peak(variant: str) -> float:
    """MiB that a variant's iterations take at most, in a process of its own."""
    words = [sys.executable, __file__, *sys.argv[1:], "--only", variant]
    done = subprocess.run([word for word in words if word != "--json"], check=True, capture_output=True, text=True)  # noqa: S603 (this file itself)
    return float(done.stdout.strip().split("\n")[-1])


def peak_here(iteration: Callable[[], None]) -> float:
    """MiB of this process's peak over what it has now, after three iterations."""
    Path("/proc/self/clear_refs").write_text("5")  # what the preparation took at most is forgotten
    before = psutil.Process().memory_info().rss / 2**20
    for _ in range(3):
        iteration()
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10 - before


def profiled(iteration: Callable[[], None]) -> str:
    """The operations of three iterations that take most of a thread's own time, as torch's profiler tells them."""
    iteration()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(3):
            iteration()
    found: str = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="segformer-b0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--classes", type=int, choices=tuple(OLD), default=21)
    parser.add_argument(
        "--method", choices=[name for name, kind in METHODS.items() if kind.data == "stream"], default="sats"
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--at", choices=("pixels", "logits"), default="pixels", help="where the teacher is asked")
    parser.add_argument("--no-attention", dest="attention", action="store_false", help="switch its transfer off")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--profile", type=Path, help="write what an iteration's operations take to this file")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=("method", "floor"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    method = METHODS[arguments.method](distill_at=arguments.at)
    if not arguments.attention:
        method = dataclasses.replace(method, attention_transfer=AttentionTransfer(weight=0))
    learner = make_learner(method, arguments)
    batch = make_batch(learner.context.step, arguments.size, arguments.batch)
    if arguments.only == "method":
        print(peak_here(lambda: iterate(learner, batch)))
        return
    if arguments.profile:
        arguments.profile.write_text(profiled(lambda: iterate(learner, batch)))
        return
    plain = floor(make_learner(METHODS["finetune"](), arguments), learner.context.teacher)
    if arguments.only == "floor":
        print(peak_here(lambda: plain(batch)))
        return
    phases, own, least = Phases(), [], []
    for round_number in range(arguments.rounds + 1):
        seconds = cpu_seconds(lambda: plain(batch)), cpu_seconds(lambda: iterate(learner, batch, phases))
        if round_number:  # the first warms up
            least.append(seconds[0])
            own.append(seconds[1])
    found = {
        **{name: getattr(arguments, name) for name in SETTINGS},
        "ratio_to_floor": round(statistics.median(mine / best for mine, best in zip(own, least, strict=True)), 3),
        "seconds": round(statistics.median(own), 4),
        "floor_seconds": round(statistics.median(least), 4),
        "phases": {name: round(statistics.median(times[1:]), 4) for name, times in phases.seconds.items()},
        "peak_mib": round(peak("method")),
        "floor_peak_mib": round(peak("floor")),
        "torch": torch.__version__,
    }
    print(json.dumps(found) if arguments.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
