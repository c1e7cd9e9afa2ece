"""What a run says while it works: a progress bar with ETA, and metrics.jsonl."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from sats.documents import parse_json
from sats.files import append_line, write_text
from sats.progress import bar, is_watched, voice
from sats.words import verbatim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rich.progress import Progress

    from sats.engine.followers import Followers

Item = TypeVar("Item")

NO_BREAK = "\N{NO-BREAK SPACE}"
"""Keeps a name and its value on one line of a narrow terminal."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run is: iteration ``iteration`` of ``iterations`` in ``epoch`` of ``epochs`` of a step."""

    step: int
    epoch: int
    epochs: int
    iteration: int
    iterations: int

    def is_logged(self, every: int) -> bool:
        """Whether this iteration is written down: the first, the last, and each ``every``-th."""
        return self.iteration % every == 0 or self.iteration in (1, self.iterations)


@dataclass
class Log:
    """Writes one run's metrics and shows how far it is.

    ``quiet`` processes (all but the first of a run) write and show nothing. Where nobody watches a terminal, a plain
    line at every tenth of a step takes the place of the bar.
    """

    metrics_path: Path
    quiet: bool = False
    console: Console = field(default_factory=voice)
    followers: Followers | None = None
    _bar: Progress | None = None
    _note: Text = field(default_factory=Text)
    _since: float = 0.0
    _said: tuple[int, int] = (-1, -1)

    def say(self, text: str) -> None:
        """Print a line."""
        if not self.quiet:
            self.console.print(verbatim(text), highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0) -> Iterator[None]:
        """Show a bar with ``total`` items, ``done`` of them already, as long as the context lasts."""
        self._since = time.perf_counter()
        if self.quiet or not is_watched(self.console):
            yield
            return
        self._bar = bar(self.console)
        self._bar.add_task(title, total=total, completed=done)
        try:
            with Live(Group(self._bar, self._note), console=self.console, transient=True, refresh_per_second=4):
                yield
        finally:
            self._bar = None
            self._note.plain = ""

    def follow(self, items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
        """Yield ``items`` under a bar of their own."""
        with self.progress(title, total):
            for item in items:
                yield item
                self.advance()

    def advance(self) -> None:
        """One item of the bar is done."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])

    def iteration(
        self, position: Position, losses: dict[str, float], rates: dict[str, float], images: int, memory: int
    ) -> None:
        """Log an iteration, at these losses and rates.

        ``images`` were learned from since the last logged one; ``memory`` is what training takes, in MiB.
        """
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
            "memory_mib": memory,
        }
        append_line(self.metrics_path, json.dumps(line))
        if self.followers is not None:
            self.followers.logged(line)
        self._show(position, losses, speed)

    def begin_step(self, step: int, iteration: int) -> None:
        """Go on after ``iteration`` of ``step``: drop what was logged later, and let the trackers begin."""
        if self.quiet:
            return
        if self.metrics_path.is_file():
            self._keep_until(step, iteration)
        if self.followers is not None:
            self.followers.begin(step, iteration)

    def _keep_until(self, step: int, iteration: int) -> None:
        lines = self.metrics_path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if _is_before(line, step, iteration)]
        if len(kept) < len(lines):
            write_text(self.metrics_path, "".join(kept))

    def _show(self, position: Position, losses: dict[str, float], speed: float) -> None:
        epoch = f"epoch {position.epoch + 1}/{position.epochs}"
        terms = [f"{name} {value:.3f}" for name, value in losses.items()]
        parts = [epoch, *terms, f"{speed:.1f} images/s"]
        self._note.plain = "  ".join(part.replace(" ", NO_BREAK) for part in parts)
        tenth = (position.step, 10 * position.iteration // position.iterations)
        if not is_watched(self.console) and tenth != self._said:
            self._said = tenth
            place = f"step {position.step}  iteration {position.iteration}/{position.iterations}"
            self.say("  ".join([place, *parts]))


def _is_before(line: str, step: int, iteration: int) -> bool:
    """Whether a line of metrics.jsonl is whole, and of an iteration up to this one."""
    try:
        entry = parse_json(line, "a line of metrics.jsonl")
        return bool((entry["step"], entry["iteration"]) <= (step, iteration))
    except (ValueError, TypeError, KeyError):  # cut off when the process was killed
        return False
