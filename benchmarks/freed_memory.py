"""What it costs that freed memory goes back to the system: an iteration's time and peak memory, kept or given back.

    python benchmarks/freed_memory.py [--rounds 5] [--json FILE]

The variants are what glibc does by itself ("default") and what sats sets ("kept"). Each run is a process of its own, of
one thread: a few training iterations of a SegFormer with 21 classes. A round has one of each, in turn; figures are
medians over rounds of each process's median CPU seconds of an iteration, and its peak resident size in MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

VARIANTS = ("default", "kept")
CASES = {"segformer-tiny": (64, 8, 60), "segformer-b0": (256, 4, 6), "segformer-b2": (512, 1, 3)}
"""Side of the images, images in a batch, iterations to measure."""


def train(model_name: str) -> dict[str, float]:
    """CPU seconds of an iteration, and the peak."""
    import torch

    from sats import losses
    from sats.models import creation

    torch.set_num_threads(1)
    size, count, iterations = CASES[model_name]
    model = creation.create(model_name, ["background", *(f"class {index}" for index in range(20))]).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    images, labels = torch.randn(count, 3, size, size), torch.randint(0, 21, (count, size, size))
    seconds = []
    for _ in range(iterations + 2):
        before = time.process_time()
        losses.cross_entropy(model(images).logits, labels).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - before)
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"seconds": statistics.median(seconds[2:]), "mib": int(peak.split()[1]) / 2**10}


def measure(variant: str, model_name: str) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, __file__, "--one", variant, model_name]
    done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 (this file itself)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure every case, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        variant, model_name = arguments.one
        if variant == "kept":
            from sats.engine.runtime import keep_freed_memory

            keep_freed_memory()
        print(json.dumps(train(model_name)))
        return
    results = {}
    for model_name in CASES:
        rounds = [{variant: measure(variant, model_name) for variant in VARIANTS} for _ in range(arguments.rounds)]
        results[model_name] = {
            variant: {
                figure: round(statistics.median(one[variant][figure] for one in rounds), 4)
                for figure in ("seconds", "mib")
            }
            for variant in VARIANTS
        }
        ratio = statistics.median(one["kept"]["seconds"] / one["default"]["seconds"] for one in rounds)
        results[model_name]["ratio"] = {"seconds": round(ratio, 3)}
        print(model_name, results[model_name], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"rounds": arguments.rounds, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
