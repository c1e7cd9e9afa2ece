"""How far the cells of a sweep are, and how long the rest will take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.data.epochs import updates_per_epoch
from sats.documents import parse_json

if TYPE_CHECKING:
    from sats.bench.schedule import Sweep
    from sats.bench.suite import Cell
    from sats.config import RunConfig
    from sats.engine.run_folder import RunFolder
    from sats.methods import Method

TAIL = 4096
"""Bytes at the end of metrics.jsonl that hold its last line."""
LOOK_EVERY = 2.0
"""Seconds between two looks at the running cells' files."""
SECONDS_BEFORE_GUESS = 10.0


@dataclass(frozen=True)
class Progress:
    """Where a run is: in ``step`` of ``steps``; the batches of its training hold ``total`` images, ``done`` by now.

    Exemplars and repetitions count. ``first`` of the total are step 0's, if the run trains that itself.
    """

    step: int
    steps: int
    done: int
    total: int
    first: int


def progress_of(run: RunFolder) -> Progress | None:
    """Where a run is; None while its data was not opened yet."""
    steps = run.steps()
    if not steps:
        return None
    config, finished = run.config(), len(run.scores())
    work = [_images_of(config, index, step["images"]) for index, step in enumerate(steps)]
    if config.start_from:
        work[0] = 0  # taken over
    step, iteration = last_logged(run)
    within = min(iteration * config.train.batch_size, work[step]) if step == finished < len(steps) else 0
    return Progress(min(finished, len(steps) - 1), len(steps), sum(work[:finished]) + within, sum(work), work[0])


def _images_of(config: RunConfig[Method], step: int, own: int) -> int:
    """What the batches of a ``step`` with so many images of its ``own`` hold together; nothing where it has none."""
    if own == 0:  # somebody else trained it, as a model that is extended
        return 0
    train, with_exemplars = config.train, config.memory.size > 0 and step > 0
    updates = updates_per_epoch(own, train.batch_size, with_exemplars)
    return train.epochs_of(step) * updates * train.batch_size


def last_logged(run: RunFolder) -> tuple[int, int]:
    """Step and iteration of the last line of metrics.jsonl; step -1 without one."""
    try:
        with run.metrics_path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            values = parse_json(file.read().split(b"\n")[-2], str(run.metrics_path))
        return int(values["step"]), int(values["iteration"])
    except (OSError, ValueError, IndexError, KeyError, TypeError, OverflowError):
        return -1, 0


class Pace:
    """Measures how fast a ``sweep`` goes from now on."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._known: dict[str, Progress] = {}
        for cell in sweep.cells:
            self._look_at(cell)
        self._at_start, self._start = self._images_done(), time.monotonic()
        self._looked, self._moves = self._start, False

    def look(self, *ended: Cell) -> None:
        """Look at how far the running cells are, if the last look is a while ago, and at those that have ``ended``."""
        overdue = time.monotonic() - self._looked >= LOOK_EVERY
        if overdue:
            self._looked = time.monotonic()
        for cell in [*ended, *(self._sweep.running.values() if overdue else ())]:
            self._look_at(cell)
        if not self._moves and self._images_done() > self._at_start:  # before that, processes started
            self._at_start, self._start, self._moves = self._images_done(), time.monotonic(), True

    def progress(self, cell: Cell) -> Progress | None:
        """How far a cell is; None while nobody knows."""
        return self._known.get(cell.name)

    def seconds_left(self) -> float | None:
        """About how long what is left will take; None while nobody can tell."""
        elapsed, gained = time.monotonic() - self._start, self._images_done() - self._at_start
        if elapsed < SECONDS_BEFORE_GUESS or gained <= 0:
            return None
        left = [*self._sweep.running.values(), *self._sweep.waiting]
        return sum(self._images_left(cell) for cell in left) * elapsed / gained

    def _look_at(self, cell: Cell) -> None:
        if found := progress_of(self._sweep.folder.run(cell)):
            self._known[cell.name] = found

    def _images_done(self) -> int:
        return sum(progress.done for progress in self._all_known())

    def _images_left(self, cell: Cell) -> float:
        """What a cell still passes through: as its files say, else as a cell that shares its step 0, else as most."""
        if progress := self.progress(cell):
            return progress.total - progress.done
        family = [known for other in self._sweep.family(cell) if (known := self.progress(other))]
        if family:
            return family[0].total - family[0].first
        totals = [progress.total for progress in self._all_known()]
        return sum(totals) / len(totals)

    def _all_known(self) -> list[Progress]:
        """What is known by now: a copy, as a terminal is drawn by a thread of its own."""
        return list(self._known.values())
