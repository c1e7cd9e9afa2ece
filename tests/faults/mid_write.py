"""Commands killed at each change that they make to a file leave nothing half-written, and once more they end well.

    python tests/faults/mid_write.py [--onnx] [--only TEXT] [--json FILE]

For each kill a process is forked, which counts its changes to files below its own folder (opened to be written, folders
made, renamed, removed) and kills itself right before the n-th, for every n that there is. Then nothing may lie under a
final name that is not whole, and the same command again must leave the bytes that an undisturbed one does, and nothing
that was begun beside. Killed three times in a row it may leave no more than killed once. Exit code 1 for any fault.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from faults.leavings import half_written, strays, whole_files
from sats.cli import main
from sats.engine import runtime

AGAIN = 3
"""How often in a row the same kill comes, to see whether what is left adds up."""
WRITING = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")


@dataclass(frozen=True)
class Command:
    """A command that writes below {place}; what it reads is in {sources}."""

    name: str
    words: str
    output: str = ""
    """What it refuses to replace."""

    def run(self, place: Path, sources: Path, changes: int = 0) -> int:
        """Run it in a process that kills itself before so many changes (0: never); the exit code, or -9."""
        place.mkdir(exist_ok=True)
        process = os.fork()
        if not process:
            self._child(place, sources, changes)
        _, status = os.waitpid(process, 0)
        return os.waitstatus_to_exitcode(status)

    def _child(self, place: Path, sources: Path, changes: int) -> None:
        code = 1
        try:
            os.environ["SATS_CACHE"] = str(place / "cache")
            output = os.open(place.with_name("output.txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if changes:
                sys.addaudithook(Killer(place, changes))
            code = main([word.format(place=place, sources=sources) for word in self.words.split()])
        finally:
            os._exit(code)

    def is_done(self, place: Path) -> bool:
        """Whether it would refuse to run again, as its output is there."""
        return bool(self.output) and (place / self.output).exists()


@dataclass
class Killer:
    """Kills this process right before its ``left``-th change below ``place``."""

    place: Path
    left: int

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Hear of what Python is about to do."""
        is_change = event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING)
        if is_change and self._is_below(arguments[0]):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)

    def _is_below(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and str(path).startswith(f"{self.place}{os.sep}")


COMMANDS = (
    Command("index", "data check {sources}/data"),
    Command("report", "report {sources}/run --images 0 --out {place}/report.html"),
    Command("export hf", "export {sources}/model --format hf --out {place}/model", "model"),
)
ONNX = (
    Command("export onnx", "export {sources}/model --size 64 64 --out {place}/model.onnx", "model.onnx"),
    Command(
        "export int8",
        "export {sources}/model --size 64 64 --int8 --data {sources}/data --split train --out {place}/model.onnx",
        "model.onnx",
    ),
)


def make_sources(folder: Path) -> None:
    """What the commands read: data, a run that was only written down, a model."""
    from conftest import tiny_network
    from reports import groups_of, write_run
    from sats.models import checkpoint
    from sats.models.segmenter import Segmenter
    from test_extend import make_data

    names = ("background", "cat", "dog")
    make_data(folder / "data", names, splits=("train",))
    write_run(folder / "run", groups_of(3, 2))
    checkpoint.save(Segmenter(tiny_network(3), names), folder / "model")


def torture(command: Command, sources: Path, folder: Path) -> Iterator[str]:
    """Kill the command before each of its changes; a word for every kill, "" if all was well after it."""
    whole = folder / "whole"
    if code := command.run(whole, sources):
        raise RuntimeError(f"{command.name} ended with {code}: {(folder / 'output.txt').read_text()[-2000:]}")
    expected = whole_files(whole)
    if not expected:
        raise RuntimeError(f"{command.name} wrote nothing.")
    place, changes = folder / "killed", 1
    while (code := command.run(place, sources, changes)) == -signal.SIGKILL:
        faults = [*_left(place, expected), *_again(command, sources, place, changes)]
        if not command.is_done(place):
            faults += _ended(command.run(place, sources), place, expected)
        yield "; ".join(f"killed before change {changes}: {fault}" for fault in faults)
        shutil.rmtree(place)
        changes += 1
    yield "; ".join(_ended(code, place, expected))


def _left(place: Path, expected: dict[str, bytes]) -> list[str]:
    return [f"{name} is half-written" for name in half_written(place, expected)]


def _again(command: Command, sources: Path, place: Path, changes: int) -> Iterator[str]:
    """What adds up when the same kill comes again and again."""
    once = len(strays(place))
    for _ in range(AGAIN - 1 if once and not command.is_done(place) else 0):
        command.run(place, sources, changes)
    if (often := len(strays(place))) > once:
        yield f"{often} files beside after {AGAIN} kills, {once} after one"


def _ended(code: int, place: Path, expected: dict[str, bytes]) -> list[str]:
    """What is not as after an undisturbed run."""
    differing = [] if whole_files(place) == expected else ["other bytes than undisturbed"]
    beside = [f"{path.name} is left" for path in strays(place)]
    return [*([f"exit code {code}"] if code else []), *differing, *beside]


def cli() -> int:
    """Torture every command and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx", action="store_true", help="also the slow exports")
    parser.add_argument("--only", default="", help="the commands in whose name this is")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    runtime.prepare()
    found = []
    with tempfile.TemporaryDirectory() as name:
        sources = Path(name, "sources")
        make_sources(sources)
        asked_for = (*COMMANDS, *(ONNX if asked.onnx else ()))
        for command in (command for command in asked_for if asked.only in command.name):
            folder = Path(name, command.name.replace(" ", "-"))
            folder.mkdir()
            words = list(torture(command, sources, folder))
            found.append({"command": command.name, "kills": len(words) - 1, "faults": [word for word in words if word]})
            print(found[-1], flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(any(one["faults"] for one in found))


if __name__ == "__main__":
    sys.exit(cli())
