"""How long `sats train` takes to its first iteration, over what importing torch and the model class takes.

    python benchmarks/startup.py [--data DIR] [--rounds 5] [--json FILE]

Fresh processes, in turn: one that imports torch and SegformerForSemanticSegmentation and ends; `sats train` with a
SegFormer-B0 up to the end of its first iteration (batch of 4, crops of 128), from scratch and going on with a run that
was stopped in step 0; on built-in scenes, and on the photographs of DIR (folder layout), whose index is there already.
Wall and CPU seconds are medians over rounds, ``over`` the median of the rounds' differences. ``iteration`` is the part
from the start of the step's loop, its first batch loaded, to the end of its first iteration. ``first word`` is when a
terminal shows something. It ends with the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

IMPORTS = "import os, torch; from transformers import SegformerForSemanticSegmentation; os._exit(0)"
SETTINGS = "--model.name segformer-b0 --crop 128 --batch-size 4 --workers 0 --train.log-every 1"
END, STOP = "end", "stop"
Times = dict[str, float]


def child(how: str, words: list[str]) -> None:
    """`sats WORDS`, which ends with its first iteration, or is stopped there with a checkpoint."""
    from sats import cli
    from sats.engine import log

    class FirstIteration(log.Log):
        """Says how long the first iteration took, from the start of its loop."""

        @contextmanager
        def progress(self, title: str, total: int, done: int = 0) -> Iterator[None]:
            self.started = time.perf_counter()
            with super().progress(title, total, done):
                yield

        def iteration(self, *_: object) -> None:
            if how == STOP:
                signal.raise_signal(signal.SIGINT)
                return
            os.write(1, f"iteration {time.perf_counter() - self.started}\n".encode())
            os._exit(0)

    log.Log = FirstIteration  # type: ignore[misc]
    sys.exit(cli.main(words))


def measured(command: list[str]) -> Times:
    """Wall and CPU seconds of a process, and the figures that it prints."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: S603 (ours)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    found = {"wall": time.perf_counter() - start, "cpu": usage.ru_utime + usage.ru_stime}
    assert process.returncode == 0, output
    last = output.split("\n")[-2:-1]
    return found | {name: float(value) for name, value in (line.split() for line in last)}


def first_word(words: list[str]) -> float:
    """Seconds until a terminal shows something."""
    start = time.perf_counter()
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-m", "sats", *words])  # noqa: S606 (this project's own command)
    select.select([terminal], [], [])
    seconds = time.perf_counter() - start
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    os.close(terminal)
    return seconds


def sats(how: str, words: list[str]) -> list[str]:
    """The command of a child."""
    return [sys.executable, __file__, "--child", how, *words]


def starts(words: list[str], folder: Path, rounds: int) -> dict[str, Any]:
    """The figures of one kind of data."""
    new, stopped = folder / "new", folder / "stopped"
    train = ["train", *words, *SETTINGS.split(), "--out"]
    subprocess.run(sats(STOP, [*train, str(stopped)]), capture_output=True, check=False)  # noqa: S603 (ours)
    assert list((stopped / "checkpoint").iterdir())  # and the data is indexed
    found: dict[str, list[Times]] = {"imports": [], "new run": [], "resumed": []}
    for _ in range(rounds):
        found["imports"].append(measured([sys.executable, "-c", IMPORTS]))
        found["new run"].append(measured(sats(END, [*train, str(new)])))
        found["resumed"].append(measured(sats(END, ["resume", str(stopped)])))
        shutil.rmtree(new)
    result: dict[str, Any] = {name: summary(times, found["imports"]) for name, times in found.items()}
    result["new run"]["first word"] = round(first_word([*train, str(new)]), 2)
    result["resumed"]["first word"] = round(first_word(["resume", str(stopped)]), 2)
    return result


def summary(times: list[Times], imports: list[Times]) -> Times:
    """Medians, and medians of what there is beyond the imports."""
    medians = {name: round(statistics.median(one[name] for one in times), 2) for name in times[0]}
    over = {
        f"{name} over": round(
            statistics.median(one[name] - least[name] for one, least in zip(times, imports, strict=True)), 2
        )
        for name in ("wall", "cpu")
        if times is not imports
    }
    return medians | over


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    shared = os.environ.get("SATS_SHARED")
    parser.add_argument("--data", default=f"{shared}/data/camvid" if shared else "", help="a folder with classes.txt")
    parser.add_argument("--protocol", default="6-5", help="of DIR")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    kinds = {"scenes": ["scenes"]}
    if arguments.data:
        kinds["photographs"] = ["folder", "--data", arguments.data, "--protocol", arguments.protocol]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SATS_CACHE"] = str(Path(folder, "cache"))
        for name, words in kinds.items():
            found[name] = starts(words, Path(folder, name), arguments.rounds)
    print("| data | run | CPU s over the imports | wall s over | of that its first iteration | first word, s |")
    print("|---|---|---|---|---|---|")
    for name, kind in found.items():
        for run in ("new run", "resumed"):
            values = [kind[run][figure] for figure in ("cpu over", "wall over", "iteration", "first word")]
            print(f"| {name} | {run} | {' | '.join(f'{value:.2f}' for value in values)} |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rounds": arguments.rounds, **found}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        main()
