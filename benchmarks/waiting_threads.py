"""What it costs and saves that torch's threads spin while they wait: training speed alone, and beside busy processes.

    python benchmarks/waiting_threads.py [--model segformer-tiny] [--size 64] [--batch 8] [--rounds 3] [--json FILE]

The variants are what OpenMP does by itself ("default"), what sats sets ("brief") and sleeping at once ("sleep"). Each
run is a process of its own that trains for some seconds; a round has one of each, in turn; figures are medians of
images/s.
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

from sats.engine.runtime import BRIEF

VARIANTS: dict[str, dict[str, str]] = {
    "default": {},
    "brief": {"GOMP_SPINCOUNT": BRIEF},
    "sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
}
BUSY = (0, 1, 2)
"""How many other processes want a core."""
SECONDS = 4.0


def train(arguments: argparse.Namespace) -> float:
    """Images/s of forward, backward and update."""
    import torch

    from sats.models import creation

    model = creation.create(arguments.model, ["background", *"abcde"]).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size)

    def update() -> None:
        model(images).pixel_logits.mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(5):
        update()
    start, updates = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        update()
        updates += 1
    return updates * arguments.batch / (time.perf_counter() - start)


def measure(variant: str, busy: int) -> float:
    """Run this file as one variant, beside ``busy`` processes that count."""
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment = {**clean, **VARIANTS[variant]}
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        done = subprocess.run(  # noqa: S603 (this file itself)
            [sys.executable, *sys.argv, "--one"], env=environment, capture_output=True, text=True, check=True
        )
    finally:
        for other in others:
            other.kill()
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measure every variant beside no, one and two busy processes, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="segformer-tiny")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(train(arguments))
        return
    speeds: dict[int, dict[str, list[float]]] = {busy: {name: [] for name in VARIANTS} for busy in BUSY}
    for busy, found in speeds.items():
        for _ in range(arguments.rounds):
            for variant, values in found.items():
                values.append(round(measure(variant, busy), 1))
        medians = "  ".join(f"{name} {statistics.median(values):.1f}" for name, values in found.items())
        print(f"beside {busy} busy processes, images/s:  {medians}", flush=True)
    if arguments.json:
        settings = {name: getattr(arguments, name) for name in ("model", "size", "batch", "rounds")}
        values = {"settings": settings, "cores": os.cpu_count(), "images_per_second": speeds}
        arguments.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
