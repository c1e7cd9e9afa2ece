"""What a sweep says while it works: a line for each running cell, or in a pipe a line for each thing that happens."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from sats.bench.pace import Pace
from sats.bench.schedule import Listener
from sats.progress import is_watched, voice
from sats.words import count, duration, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from sats.bench.schedule import Sweep
    from sats.bench.suite import Cell

LONGEST_NAME = 50
MOST_LINES = 16
"""Running cells that are shown; a screen has no room for more."""
SAY_EVERY = 300.0
"""Seconds after which a pipe is told how far things are, where nothing else happens."""


class Board:
    """Shows how far a ``sweep`` is."""

    def __init__(self, sweep: Sweep, console: Console | None = None) -> None:
        self.console = console or voice()
        self._sweep, self._pace = sweep, Pace(sweep)
        self._started: dict[str, float] = {}
        self._said = time.monotonic()
        self._live: Live | None = None

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """What is to be told of all that happens, as long as the context lasts."""
        listener = Listener(self.start, self.end, self.look, self.stop)
        if not is_watched(self.console):
            yield listener
            return
        with Live(console=self.console, transient=True, refresh_per_second=2, get_renderable=self.lines) as self._live:
            yield listener
        self._live = None

    def start(self, cell: Cell) -> None:
        """A cell has been started."""
        self._started[cell.name] = time.monotonic()
        if self._live is None:
            self.say(f"{shown(cell.name)}: started")

    def end(self, cell: Cell) -> None:
        """A cell has ended, well or not."""
        self._pace.look(cell)
        took = duration(time.monotonic() - self._started[cell.name])
        word = "failed" if cell.name in self._sweep.failed else "finished"
        self.say(f"{shown(cell.name)}: {word} after {took}; {self.counts()}")

    def look(self) -> None:
        """Some time has passed."""
        self._pace.look()
        if self._live is None and time.monotonic() - self._said > SAY_EVERY:
            self.say(self.counts())

    def stop(self) -> None:
        """The running cells are asked to stop."""
        self.say(f"Stopping {count(len(self._sweep.running), 'run')}, with a checkpoint each.")

    def say(self, text: str) -> None:
        """Print a line."""
        self._said = time.monotonic()
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def counts(self) -> str:
        """How many cells are done, run and wait, and how long that takes."""
        sweep, seconds = self._sweep, self._pace.seconds_left()
        failed = f", {len(sweep.failed)} failed" if sweep.failed else ""
        numbers = f"{sweep.num_done} of {len(sweep.cells)} done{failed}"
        if not (sweep.running or sweep.waiting):
            return numbers
        running = f", {len(sweep.running)} running" if sweep.running else ""
        waiting = f", {len(sweep.waiting)} waiting" if sweep.waiting else ""
        return f"{numbers}{running}{waiting}" + ("" if seconds is None else f", about {duration(seconds)} left")

    def lines(self) -> Text:
        """The running cells and the counts, for a terminal."""
        running = [self._line(cell) for cell in list(self._sweep.running.values())]
        more = [f"and {len(running) - MOST_LINES} more"] if len(running) > MOST_LINES else []
        return Text("\n".join([*running[:MOST_LINES], *more, self.counts()]), no_wrap=True, overflow="ellipsis")

    def _line(self, cell: Cell) -> str:
        name, progress = shown(cell.name, LONGEST_NAME), self._pace.progress(cell)
        if progress is None:
            return f"  {name}  starting"
        share = progress.done / progress.total if progress.total else 1.0
        return f"  {name}  step {progress.step} of {progress.steps - 1}  {share:.0%}"
