"""``sats bench``: a sweep of methods over protocols, class orders and seeds, and one table of what came of it."""

from __future__ import annotations

import math
import signal
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from sats.bench.archive import Archive
from sats.bench.bench_folder import BenchFolder
from sats.bench.board import Board
from sats.bench.gather import gather, keep_scores
from sats.bench.local import LocalExecutor
from sats.bench.results import MARKDOWN, Outcome, notes, terminal_table, write_results
from sats.bench.schedule import Sweep, work
from sats.bench.settings import Places
from sats.bench.suite import cells, read_suite
from sats.bench.summary import summarise
from sats.bench.sums import data_sums, weights_sums
from sats.config import Names
from sats.engine.tracking import check_trackers
from sats.errors import RunError
from sats.evaluation.table import show
from sats.files import at_home
from sats.words import count, names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from sats.bench.executor import Executor
    from sats.bench.suite import Cell

WIDTH = 79
"""Columns of a terminal that text takes."""


@dataclass(frozen=True, kw_only=True)
class BenchArguments:
    """Run a suite (methods x protocols x orders x seeds), make one table of it.

    What is done is kept; the same command goes on. Format: docs/bench.md.
    """

    suite: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SUITE.json")]
    """What to run."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the runs and the table go. Default: runs/ and the suite's name."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder with the data; a suite's own data.root is below it."""
    weights: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder with the weights to start from; a suite's own model.weights are below it."""
    scores: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Keep the scores of finished cells there too, a small file each: those that have one are done, run or no run."""
    jobs: int = 0
    """Runs side by side, each in a process of one thread; 0: one, or on Ray as many as there is room for."""
    minutes: float = 0.0
    """Stop, with checkpoints, after so many minutes; 0: go on to the end."""
    dry_run: bool = False
    """Only list the cells: what is done, and which share a step 0."""
    replace: bool = False
    """Put runs aside whose settings the suite has changed, and run them anew."""
    ray: bool = False
    """Run the cells as tasks of Ray, started on this machine (extra `ray`)."""
    ray_address: str = ""
    """A Ray cluster to join instead, as in "auto" or "ray://HOST:10001"; its machines see the same files."""
    cpus: float = 1.0
    """On Ray: cores that a run asks for, and its threads."""
    gpus: float = 0.0
    """On Ray: GPUs that a run asks for."""
    tracker: Names = ()
    """What follows the runs from now on: tensorboard, mlflow, wandb, or none; see docs/tracking.md."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    arguments = tyro.cli(BenchArguments, args=words, prog="sats bench")
    if min(arguments.jobs, arguments.minutes, arguments.gpus) < 0 or arguments.cpus <= 0:
        raise ValueError("--jobs, --minutes and --gpus are 0 or more, --cpus is more than 0.")
    suite = read_suite(at_home(arguments.suite))
    places = Places(*(path and at_home(path).resolve() for path in (arguments.data, arguments.weights)))
    places.check()
    every = cells(suite, places, str(arguments.suite))
    archive = Archive(arguments.scores and at_home(arguments.scores))
    trackers = check_trackers(arguments.tracker)
    folder = BenchFolder(at_home(arguments.out or Path("runs") / suite.name), archive, trackers)
    if arguments.dry_run:
        show(plan_table(Sweep(folder, every)))
        tell_of_others(folder, every)
        return
    with folder.held():
        settle_changed(folder, every, arguments.replace)
        tell_of_others(folder, every)
        sweep = Sweep(folder, every)
        keep_scores(folder, every)
        try:
            in_time = run(sweep, arguments)
        except KeyboardInterrupt:
            done = f"{sweep.num_done} of {count(len(every), 'cell')} done"
            raise KeyboardInterrupt(f"{done}: the same command goes on from here.") from None
        finally:
            outcome = write(suite.name, sweep)
    tell(folder, sweep, outcome, in_time)


def run(sweep: Sweep, arguments: BenchArguments) -> bool:
    """Run what is left; whether that came to an end in time."""
    board = Board(sweep)
    board.say(board.counts())
    if not sweep.waiting:
        return True
    executor = make_executor(arguments)
    with terminable(), board.listening() as listener:
        return work(sweep, executor, listener, 60 * arguments.minutes or math.inf)


def make_executor(arguments: BenchArguments) -> Executor:
    """What runs the cells, as the flags ask."""
    if not (arguments.ray or arguments.ray_address):
        return LocalExecutor(arguments.jobs or 1)
    from sats.bench.on_ray import RayExecutor

    return RayExecutor(arguments.ray_address, arguments.cpus, arguments.gpus, arguments.jobs)


@contextmanager
def terminable() -> Iterator[None]:
    """Within this context SIGTERM is like Ctrl-C, so that the cells stop in order."""

    def interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 (a handler's signature)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def settle_changed(folder: BenchFolder, every: Sequence[Cell], replace: bool) -> None:
    """Put runs with other settings aside if the user said so; else ValueError names them."""
    changed = folder.changed(every)
    if changed and not replace:
        lines = "".join(f"\n- {name}: {words}" for name, words in changed.items())
        raise ValueError(
            f"{folder.path} has {count(len(changed), 'cell')} with other settings than the suite has now:{lines}\n"
            "Put them aside and run them anew with --replace, or choose another folder with --out."
        )
    for name in changed:
        aside = folder.put_aside(name)
        print(f"{name}: its settings have changed{f'; the run from before is now {aside}' if aside else ''}")


def tell_of_others(folder: BenchFolder, every: Sequence[Cell]) -> None:
    """Say which runs in the folder are none of the suite's."""
    if strays := folder.strays(every):
        print(f"{count(len(strays), 'run')} here that the suite does not name, left out of the table: {names(strays)}")


def plan_table(sweep: Sweep) -> Table:
    """Every cell: how far it is, and where its step 0 comes from."""
    table = Table(title=f"{count(len(sweep.cells), 'cell')}, {sweep.num_done} done", title_justify="left")
    for title in ("cell", "state", "step 0"):
        table.add_column(title, overflow="fold")
    changed = sweep.folder.changed(sweep.cells)
    for cell in sweep.cells:
        state = "changed" if cell.name in changed else sweep.folder.state(cell)
        table.add_row(escape(cell.name), state, escape(sweep.source(cell)))
    return table


def write(name: str, sweep: Sweep) -> Outcome:
    """Gather what there is and write the results' files."""
    results = gather(sweep.folder, sweep.cells, sweep.failed)
    opened = [cell.config for cell in sweep.cells if sweep.folder.run(cell).steps()]
    sums = {**weights_sums(opened), **data_sums(opened)}
    outcome = Outcome(name, results, summarise(results), sums)
    write_results(sweep.folder.path, outcome)
    return outcome


def tell(folder: BenchFolder, sweep: Sweep, outcome: Outcome, in_time: bool) -> None:
    """Print the table and what is not done; RunError if a cell failed."""
    show(terminal_table(outcome))
    print(textwrap.fill(notes(outcome.summary), WIDTH))
    print(f"results: {folder.path / MARKDOWN}")
    if not in_time:
        print(f"Time is up, {sweep.num_done} of {count(len(sweep.cells), 'cell')} done: the same command goes on.")
    if sweep.failed:
        lines = "".join(f"\n- {name}: {error}" for name, error in sweep.failed.items())
        logs = f"Their output is in {folder.logs}; the same command tries again."
        raise RunError(f"{count(len(sweep.failed), 'cell')} failed:{lines}\n{logs}")
    sys.stdout.flush()
