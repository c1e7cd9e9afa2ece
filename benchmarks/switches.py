"""What the switches of training cost and save: checkpointing, channels last, bf16 and torch.compile, each alone.

    python benchmarks/switches.py [--model segformer-b0] [--size 256] [--method sats] [--switches compile] [--json]

The method stands in step 1 as in `iteration.py`, on one thread. A round has one update with each switch and one
without, in turn; ``time_ratio`` is the median over rounds of its CPU time to that without. Memory is the peak resident
size of a fresh process for each over what it had before its first update, in MiB; ``compile`` holds the compiler in it.
``first_seconds`` is the CPU time of the first update, in which ``compile`` compiles. ``--json`` prints one line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from contextlib import ExitStack
from functools import partial

import torch
from iteration import OLD, cpu_seconds, make_batch, make_learner, peak_here  # first, as it settles the threads

from sats.config import TrainConfig
from sats.engine import switches
from sats.engine.loop import Learner, update
from sats.methods import METHODS

SWITCHES = {
    "none": TrainConfig(),
    "checkpointing": TrainConfig(checkpointing=True),
    "channels_last": TrainConfig(channels_last=True),
    "bf16": TrainConfig(precision="bf16"),
    "compile": TrainConfig(compile=True),
}


def make_switched(name: str, arguments: argparse.Namespace, until: ExitStack) -> Learner:
    """The method with one switch on, its model compiled ``until`` the stack is closed."""
    settings = SWITCHES[name]
    learner = make_learner(METHODS[arguments.method](), arguments)
    networks = [network for network in (learner.context.model, learner.context.teacher) if network is not None]
    for network in networks:
        switches.arrange(network, settings)
    if settings.precision == "bf16":  # one process has but one precision for all that accelerate makes
        learner.run.accelerator.autocast = partial(torch.autocast, "cpu", torch.bfloat16)
    if settings.compile:
        until.enter_context(switches.compiled(*networks))
    return learner


def peak(name: str) -> float:
    """MiB that updates with a switch take at most, in a process of its own."""
    words = [sys.executable, __file__, *(word for word in sys.argv[1:] if word != "--json"), "--only", name]
    done = subprocess.run(words, check=True, capture_output=True, text=True)  # noqa: S603 (this file itself)
    return float(done.stdout.strip().split("\n")[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="segformer-b0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--classes", type=int, choices=tuple(OLD), default=21)
    parser.add_argument("--method", default="sats")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--switches", nargs="+", choices=tuple(SWITCHES)[1:], default=tuple(SWITCHES)[1:])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=tuple(SWITCHES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with ExitStack() as until:
        if arguments.only:
            learner = make_switched(arguments.only, arguments, until)
            batch = make_batch(learner.context.step, arguments.size, arguments.batch)
            print(peak_here(lambda: update(learner, [batch])))
            return
        chosen = ("none", *arguments.switches)
        learners = {name: make_switched(name, arguments, until) for name in chosen}
        batch = make_batch(learners["none"].context.step, arguments.size, arguments.batch)
        times: dict[str, list[float]] = {name: [] for name in chosen}
        for _ in range(arguments.rounds + 1):  # the first warms up
            for name, each in learners.items():
                times[name].append(cpu_seconds(partial(update, each, [batch])))
    plain = times["none"][1:]
    found = {
        **{name: getattr(arguments, name) for name in ("model", "size", "classes", "method", "batch", "rounds")},
        "seconds": {name: round(statistics.median(own[1:]), 4) for name, own in times.items()},
        "time_ratio": {
            name: round(statistics.median(mine / base for mine, base in zip(own[1:], plain, strict=True)), 3)
            for name, own in times.items()
        },
        "first_seconds": {name: round(own[0], 2) for name, own in times.items()},
        "peak_mib": {name: round(peak(name)) for name in chosen},
        "torch": torch.__version__,
    }
    print(json.dumps(found) if arguments.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
