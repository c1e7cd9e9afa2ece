"""What iterations take on a GPU at the paper's scale: milliseconds, memory, and the price of each method.

    python benchmarks/gpu.py [--cases paper precision dinov2 compile] [--json benchmarks/gpu.json]

Each case is a method in step 1 as in `iteration.py`, by the engine's own update, with autocast and gradient scaling. A
time is the median over iterations of wall time between synchronisations, after five that warm up; memory is the most
that tensors took (MiB), weights, optimizer and teacher included. A case that does not fit says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from iteration import make_batch, make_learner  # first, as it settles the threads

from sats.config import TrainConfig
from sats.engine import switches
from sats.engine.loop import update
from sats.methods import METHODS
from sats.methods.attention_transfer import AttentionTransfer

HERE = Path(__file__).parent
WARM_UP = 5


def case(method: str, precision: str = "bf16", **rest: Any) -> dict[str, Any]:
    """The settings of one measurement: the paper's network, size and batch unless ``rest`` says otherwise."""
    common = {"model": "segformer-b2", "size": 512, "classes": 21, "batch": 24, "attention": True, "compile": False}
    return {**common, "method": method, "precision": precision, **rest}


CASES = {
    "paper": [
        *(case(method) for method in ("finetune", "mib", "plop", "ssul", "sats")),
        case("sats", attention=False),
        case("sats-plus"),
        *(case(method, classes=151) for method in ("finetune", "mib", "sats")),
    ],
    "precision": [case(method, precision) for precision in ("no", "fp16") for method in ("finetune", "sats")],
    "dinov2": [
        *(case(method, model="dinov2-small", size=518, batch=16) for method in ("finetune", "mib", "sats")),
        case("sats", model="dinov2-small", size=518, batch=16, attention=False),
    ],
    "compile": [case(method, compile=True) for method in ("finetune", "sats")],
}


def measure(settings: dict[str, Any], iterations: int) -> dict[str, Any]:
    """Milliseconds, images a second and MiB of one case."""
    AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001 (a process has but one precision otherwise)
    arguments = argparse.Namespace(**settings)
    method = METHODS[arguments.method]()
    if not arguments.attention:
        method = dataclasses.replace(method, attention_transfer=AttentionTransfer(weight=0))
    accelerator = Accelerator(mixed_precision=arguments.precision)
    learner = make_learner(method, arguments, accelerator)
    batch = make_batch(learner.context.step, arguments.size, arguments.batch, accelerator.device)
    networks = [network for network in (learner.context.model, learner.context.teacher) if network is not None]
    with ExitStack() as until:
        if arguments.compile:
            for network in networks:
                switches.arrange(network, TrainConfig(compile=True))
            until.enter_context(switches.compiled(*networks))
        torch.cuda.reset_peak_memory_stats()
        seconds = []
        for _ in range(WARM_UP + iterations):
            torch.cuda.synchronize()
            before = time.perf_counter()
            update(learner, [batch])
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - before)
    median = statistics.median(seconds[WARM_UP:])
    return {
        "ms": round(1000 * median, 1),
        "first_ms": round(1000 * seconds[0]),
        "images_per_second": round(arguments.batch / median, 1),
        "peak_mib": torch.cuda.max_memory_allocated() >> 20,
    }


def tried(settings: dict[str, Any], iterations: int) -> dict[str, Any]:
    """What `measure` finds, or why it does not."""
    try:
        return measure(settings, iterations)
    except torch.OutOfMemoryError:
        return {"failed": "not enough memory"}
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=("paper", "precision", "dinov2"))
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--json", type=Path, default=HERE / "gpu.json")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("No GPU is here.")
    rows = []
    for settings in (one for name in arguments.cases for one in CASES[name]):
        rows.append({**settings, **tried(settings, arguments.iterations)})
        print(json.dumps(rows[-1]), flush=True)
        found = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cases": rows}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
