"""Runs killed at random moments, again and again, end as runs that nobody touched: bit for bit on a CPU.

    python tests/faults/kills.py [--kills 50] [--seed 0] [--json FILE]

Each case is a run of the command (built-in scenes, two steps), alone or shared by two processes, with and without a
memory. It is started, and killed (SIGKILL, the whole process group) at a moment drawn evenly over the time that a start
takes to the end: while torch is loaded, data is looked at, a checkpoint or a step is written, a model is measured. Then
it is gone on with, and killed again, until it has had its share of kills. What it leaves is compared with the run that
was left alone: weights and states bit by bit, scores, confusion matrices and memory byte by byte. Exit code 1 if any
differ.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

COMMON = [
    "--images",
    "60",
    "--data.image-size",
    "32",
    "--crop",
    "32",
    "--batch-size",
    "6",
    "--epochs",
    "2",
    "--epochs-later",
    "2",
    "--train.checkpoint-minutes",
    "0",
    "--train.log-every",
    "1",
]
PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 60.0
"""Seconds."""
SAME = ("*.safetensors", "scores.json", "confusion.json", "memory.json", "steps.json")


@dataclass(frozen=True)
class Case:
    """A run: its method, further flags, how many processes share it."""

    method: str
    flags: tuple[str, ...] = ()
    processes: int = 1

    def start(self, folder: Path) -> list[str]:
        """The words that begin the run."""
        recipe = ["train", "scenes", "--method", self.method, "--out", str(folder), *COMMON, *self.flags]
        return self._shared(recipe)

    def go_on(self, folder: Path) -> list[str]:
        """The words that go on with it, or begin it where nothing is there yet."""
        there = (folder / "config.json").is_file()
        return self._shared(["resume", str(folder)]) if there else self.start(folder)

    def _shared(self, words: list[str]) -> list[str]:
        number = ["--processes", str(self.processes)] if self.processes > 1 else []
        return [sys.executable, "-m", "sats", *words, *number]


CASES = (
    Case("sats", ("--memory.size", "10", "--memory.copy")),
    Case("finetune"),
    Case("ewc"),
    Case("plop", ("--memory.size", "10")),
    Case("mib", processes=2),
)


def run(words: list[str], seconds: float | None = None) -> bool:
    """Run a command; kill it after so many seconds. Whether it was killed; RuntimeError if it fails by itself."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stdout=said, stderr=said, start_new_session=True)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            wait_for_children()
            return True
        if code:
            said.seek(0)
            raise RuntimeError(f"{' '.join(words)} ended with {code}:\n{said.read().decode(errors='replace')[-2000:]}")
        return False


def wait_for_children() -> None:
    """Wait until processes that a killed launcher had started have noticed, saved and ended; RuntimeError if not."""
    end = time.monotonic() + PATIENCE
    while any("sats" in child.cmdline() for child in adopted()):
        if time.monotonic() > end:
            raise RuntimeError("Processes of a killed launcher went on.")
        time.sleep(0.2)


def adopted() -> list[psutil.Process]:
    """The processes whose parent was killed, which are this one's now."""
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def differences(whole: Path, killed: Path) -> Iterator[str]:
    """Files that the two runs do not have alike."""
    for pattern in SAME:
        for path in whole.rglob(pattern):
            other = killed / path.relative_to(whole)
            if not other.is_file() or other.read_bytes() != path.read_bytes():
                yield str(path.relative_to(whole))


def torture(case: Case, kills: int, place: Path, random_moments: random.Random) -> dict[str, object]:
    """Kill a run so many times, let it end, and compare."""
    whole, killed = place / "whole", place / "killed"
    before = time.monotonic()
    run(case.start(whole))
    duration = time.monotonic() - before
    done = 0
    while done < kills:
        if run(case.go_on(killed), random_moments.uniform(0, duration)):
            done += 1
        else:  # it came to its end: once more from the start
            yielded = list(differences(whole, killed))
            if yielded:
                break
            shutil.rmtree(killed)
    run(case.go_on(killed))
    name = f"{case.method}{' with memory' if case.flags else ''}, {case.processes} process(es)"
    return {"case": name, "seconds": round(duration, 1), "kills": done, "different": list(differences(whole, killed))}


def main() -> int:
    """Torture every case and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans become this process's
    moments, found = random.Random(arguments.seed), []
    for number, case in enumerate(CASES):
        share = arguments.kills // len(CASES) + (number < arguments.kills % len(CASES))
        with tempfile.TemporaryDirectory() as place:
            found.append(torture(case, share, Path(place), moments))
        sys.stdout.write(f"{found[-1]}\n")
        sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps({"seed": arguments.seed, "cases": found}, indent=1) + "\n")
    return 1 if any(one["different"] for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
