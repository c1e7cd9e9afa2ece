"""Runs and commands killed at random moments, again and again, end as those that nobody touched: bit for bit on a CPU.

    python tests/faults/kills.py [--kills 50] [--seed 0] [--json FILE] [--only TEXT]

A case is a run of the command (built-in scenes, two steps), alone or shared by two processes, with and without a
memory; or a command that writes a file: an index of data, a report, an export. It is started, and killed (SIGKILL, the
whole process group) at a moment drawn evenly over the time that a start takes to the end: while torch is loaded, data
is looked at, a checkpoint or a step is written, a model is measured. Then it is gone on with, and killed again, until
it has had its share of kills. What a run leaves is compared with the run that was left alone: weights and states bit by
bit, scores, confusion matrices and memory byte by byte. What lies under the final name of a command's output is
compared after every kill and at the end. Nothing that was only begun may be left at the end. Exit code 1 if anything
differs.
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

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.leavings import half_written, strays, whole_files

COMMON = (
    "--images 60 --data.image-size 32 --crop 32 --batch-size 6 --epochs 2 --epochs-later 2 "
    "--train.checkpoint-minutes 0 --train.log-every 1"
)
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

    def __str__(self) -> str:
        return f"{self.method}{' with memory' if self.flags else ''}, {self.processes} process(es)"

    def start(self, folder: Path) -> list[str]:
        """The words that begin the run."""
        return self._shared(
            ["train", "scenes", "--method", self.method, "--out", str(folder), *COMMON.split(), *self.flags]
        )

    def go_on(self, folder: Path) -> list[str]:
        """The words that go on with it, or begin it where nothing is there yet."""
        there = (folder / "config.json").is_file()
        return self._shared(["resume", str(folder)]) if there else self.start(folder)

    def _shared(self, words: list[str]) -> list[str]:
        return [*words, *(["--processes", str(self.processes)] if self.processes > 1 else [])]

    def torture(self, kills: int, place: Path, moments: random.Random) -> dict[str, object]:
        """Kill a run so many times, let it end, and compare."""
        whole, killed = place / "whole", place / "killed"
        before = time.monotonic()
        run(self.start(whole))
        duration, done = time.monotonic() - before, 0
        while done < kills:
            if run(self.go_on(killed), moments.uniform(0, duration)):
                done += 1
            elif list(differences(whole, killed)):
                break
            else:  # it came to its end: once more from the start
                shutil.rmtree(killed)
        run(self.go_on(killed))
        faults = [*differences(whole, killed), *(f"{path} is left" for path in strays(killed))]
        return {"case": str(self), "seconds": round(duration, 1), "kills": done, "different": faults}


@dataclass(frozen=True)
class Command:
    """A command that reads below {sources}, writes below {place}, and does not replace its ``output``."""

    name: str
    words: str
    output: str = ""

    def __str__(self) -> str:
        return self.name

    def torture(self, kills: int, place: Path, moments: random.Random) -> dict[str, object]:
        """Kill it so many times; compare after each, and whenever it came to its end."""
        whole, killed = place / "whole", place / "killed"
        if not self._sources(place).exists():
            make_sources(self._sources(place))
        before = time.monotonic()
        self._run(whole)
        duration, done, begun, faults = time.monotonic() - before, 0, 0, list[str]()
        expected = whole_files(whole)
        while done < kills and not faults:
            was_killed = self._run(killed, moments.uniform(0, duration))
            done += was_killed
            begun += bool(strays(killed))
            faults = list(half_written(killed, expected))
            if not was_killed or (self.output and (killed / self.output).exists()):
                shutil.rmtree(killed)
        if not faults:
            self._run(killed)
            faults = [*(["other bytes"] if whole_files(killed) != expected else []), *map(str, strays(killed))]
        return {
            "case": self.name,
            "seconds": round(duration, 1),
            "kills": done,
            "while something was begun": begun,
            "different": faults,
        }

    def _sources(self, place: Path) -> Path:
        """What all commands read: beside the ``place`` of each."""
        return place.with_name("sources")

    def _run(self, place: Path, seconds: float | None = None) -> bool:
        place.mkdir(exist_ok=True)
        words = [word.format(place=place, sources=self._sources(place.parent)) for word in self.words.split()]
        return run(words, seconds, {"SATS_CACHE": str(place / "cache")})


CASES = (
    Command("index", "data check {sources}/data"),
    Command("report", "report {sources}/run --images 2 --out {place}/report.html"),
    Command("export hf", "export {sources}/run --format hf --out {place}/model", "model"),
    Command("export onnx", "export {sources}/run --size 64 64 --out {place}/model.onnx", "model.onnx"),
    Case("sats", ("--memory.size", "10", "--memory.copy")),
    Case("finetune"),
    Case("ewc"),
    Case("plop", ("--memory.size", "10")),
    Case("mib", processes=2),
)


def make_sources(folder: Path) -> None:
    """Data whose index takes a while, and a run."""
    from test_extend import make_data

    make_data(folder / "data", ("background", "cat", "dog"), images=400)
    run(["train", "scenes", "--method", "finetune", "--out", str(folder / "run"), *COMMON.split()])


def run(words: list[str], seconds: float | None = None, environment: dict[str, str] | None = None) -> bool:
    """Run a command; kill it after so many seconds. Whether it was killed; RuntimeError if it fails by itself."""
    command = [sys.executable, "-m", "sats", *words]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, start_new_session=True, env={**os.environ, **(environment or {})}
        )
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


def main() -> int:
    """Torture every case and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="", help="the cases in whose name this is")
    arguments = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans become this process's
    moments, found = random.Random(arguments.seed), []
    cases = [case for case in CASES if arguments.only in str(case)]
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(cases):
            share = arguments.kills // len(cases) + (number < arguments.kills % len(cases))
            place = Path(folder, str(number))
            place.mkdir()
            found.append(case.torture(share, place, moments))
            shutil.rmtree(place)
            sys.stdout.write(f"{found[-1]}\n")
            sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps({"seed": arguments.seed, "cases": found}, indent=1) + "\n")
    return 1 if any(one["different"] for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
