"""What a run says while it works: a progress bar with ETA, and metrics.jsonl."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rich.progress import TaskID


Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run is: iteration ``iteration`` of ``iterations`` in ``epoch`` of ``epochs`` of a step."""

    step: int
    epoch: int
    epochs: int
    iteration: int
    iterations: int


@dataclass
class Log:
    """Writes one run's metrics and shows how far it is.

    ``quiet`` processes (all but the first of a run) write and show nothing. Where the terminal is none, a plain line
    at every tenth of a step takes the place of the bar.
    """

    metrics_path: Path
    quiet: bool = False
    console: Console = field(default_factory=lambda: Console(stderr=True))
    _bar: Progress | None = None
    _task: TaskID | None = None
    _since: float = 0.0

    def say(self, text: str) -> None:
        """Print a line."""
        if not self.quiet:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0) -> Iterator[None]:
        """Show a bar with ``total`` items, ``done`` of them already, as long as the context lasts."""
        self._since = time.perf_counter()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        disable = self.quiet or not self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=disable) as bar:
            self._bar, self._task = bar, bar.add_task(title, total=total, completed=done, note="")
            try:
                yield
            finally:
                self._bar = self._task = None

    def follow(self, items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
        """Yield ``items`` under a bar of their own."""
        with self.progress(title, total):
            for item in items:
                yield item
                self.advance()

    def advance(self, note: str = "") -> None:
        """One item of the bar is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=1, note=note)

    def iteration(self, position: Position, losses: dict[str, float], rates: dict[str, float], images: int) -> None:
        """Log an iteration: ``images`` were learned from since the last logged one, at these losses and rates."""
        if self.quiet:
            return
        now = time.perf_counter()
        speed = images / max(now - self._since, 1e-9)
        self._since = now
        line = {
            "step": position.step,
            "epoch": position.epoch,
            "iteration": position.iteration,
            "losses": losses,
            "total": sum(losses.values()),
            "lr": rates,
            "images_per_second": round(speed, 2),
        }
        with self.metrics_path.open("a", encoding="utf-8") as metrics:
            metrics.write(json.dumps(line) + "\n")
        self._show(position, losses, speed)

    def _show(self, position: Position, losses: dict[str, float], speed: float) -> None:
        terms = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
        note = f"epoch {position.epoch + 1}/{position.epochs}  {terms}  {speed:.1f} images/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, note=note)
        tenth = max(1, position.iterations // 10)
        if not self.console.is_terminal and position.iteration % tenth < 1:
            self.say(f"step {position.step}  iteration {position.iteration}/{position.iterations}  {note}")
