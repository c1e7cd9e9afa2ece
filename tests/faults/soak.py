"""Many short steps in one process: memory, open files and threads stay as they are.

    python tests/faults/soak.py [--steps 200] [--method sats] [--json FILE]

Runs of ten steps each (built-in scenes, a digit a step, with a memory of exemplars), one after the other. What the
process holds is looked at after each run; the first runs, in which libraries load what they need, do not count. Ends
with exit code 1 if memory grew by more than GROWTH from the first quarter to the last, or if there are more files or
threads.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from sats.engine import runtime

runtime.prepare()

import psutil
import torch

from sats.config import MemoryConfig, StreamConfig
from sats.engine.log import Log
from sats.engine.run_folder import create_run
from sats.engine.train import train
from test_engine import small

STEPS_OF_A_RUN = 10
WARM_UP = 2
"""Runs that do not count."""
GROWTH = 0.02


def look() -> dict[str, int]:
    """What this process holds: KiB of memory, open files, threads."""
    gc.collect()
    process = psutil.Process()
    return {
        "kib": process.memory_info().rss >> 10,
        "files": process.num_fds(),
        "threads": process.num_threads(),
    }


def soak(steps: int, method: str, place: Path) -> list[dict[str, int]]:
    """What the process holds after each run of ten steps."""
    config = dataclasses.replace(small(method), stream=StreamConfig(protocol="1-1"), memory=MemoryConfig(size=10))
    found = []
    for number in range(WARM_UP + -(-steps // STEPS_OF_A_RUN)):
        folder = create_run(place / str(number), config)
        assert len(train(config, folder, Log(folder.metrics_path, quiet=True))) == STEPS_OF_A_RUN
        shutil.rmtree(folder.path)
        found.append(look())
    return found[WARM_UP:]


def faults(found: list[dict[str, int]]) -> list[str]:
    """What grew, in words."""
    quarter = max(1, len(found) // 4)
    first, last = (
        {name: statistics.median(one[name] for one in part) for name in found[0]}
        for part in (found[:quarter], found[-quarter:])
    )
    grown = [
        f"{name}: {first[name]:.0f} to {last[name]:.0f}" for name in ("files", "threads") if last[name] > first[name]
    ]
    if last["kib"] > (1 + GROWTH) * first["kib"]:
        grown.append(f"KiB of memory: {first['kib']:,.0f} to {last['kib']:,.0f}")
    return grown


def main() -> int:
    """Soak and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--method", default="sats")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        found = soak(arguments.steps, arguments.method, Path(place))
    if arguments.json:
        arguments.json.write_text(json.dumps({"steps": arguments.steps, "runs": found}, indent=1) + "\n")
    grown = faults(found)
    sys.stdout.write(f"{arguments.steps} steps: {found[0]} after the first ten, {found[-1]} after the last\n")
    sys.stdout.writelines(f"grew: {one}\n" for one in grown)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
