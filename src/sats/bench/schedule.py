"""Which cell is run when: the first of those that share a step 0 trains it, the others start from it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sats.bench.executor import Job
from sats.bench.gather import keep_scores
from sats.bench.step0 import step0_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sats.bench.bench_folder import BenchFolder
    from sats.bench.executor import Ended, Executor
    from sats.bench.suite import Cell
    from sats.engine.run_folder import RunFolder

LOOK_EVERY = 0.5
"""Seconds after which a cell may start from a step 0 that another has finished meanwhile."""


@dataclass
class Sweep:
    """What is left to do of a sweep's ``cells``, in order, and what came of those that were tried."""

    folder: BenchFolder
    cells: Sequence[Cell]
    waiting: list[Cell] = field(default_factory=list)
    running: dict[str, Cell] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._step0 = {cell.name: step0_of(cell.config) for cell in self.cells}
        self._others = {step0_of(config): run for config, run in self.folder.others(self.cells)}
        states = {cell.name: self.folder.state(cell) for cell in self.cells}
        left = [cell for cell in self.cells if states[cell.name] != "done"]
        self.waiting = sorted(left, key=lambda cell: states[cell.name] != "begun")  # one may be training a step 0

    @property
    def num_done(self) -> int:
        """How many cells are finished."""
        return len(self.cells) - len(self.waiting) - len(self.running) - len(self.failed)

    def family(self, cell: Cell) -> list[Cell]:
        """The other cells that share the step 0 of ``cell``."""
        key = self._step0[cell.name]
        return [other for other in self.cells if key and other is not cell and self._step0[other.name] == key]

    def donor(self, cell: Cell) -> Path | None:
        """A finished step 0 that ``cell`` may start from."""
        of_cells = (self.folder.run(one) for one in self.family(cell) if self.folder.has_step0(one))
        run = next(of_cells, self._other(cell))
        return run.step(0) if run else None

    def _other(self, cell: Cell) -> RunFolder | None:
        """A run that is none of the cells, with the step 0 of ``cell``."""
        key = self._step0[cell.name]
        run = self._others.get(key) if key else None
        return run if run and run.step(0).is_dir() else None

    def source(self, cell: Cell) -> str:
        """Where the step 0 of ``cell`` comes from, in words: as it is, or as it would be if all went well."""
        if self._step0[cell.name] is None:
            return "none to share"
        run = self.folder.run(cell)
        if run.config_path.is_file() and (start := run.config().start_from):
            return f"from {Path(start).parent.name}"
        family = [one for one in self.cells if self._step0[one.name] == self._step0[cell.name]]
        begun = [one for one in family if self.folder.state(one) != "new"]
        if cell in begun:
            return "its own"
        first = begun[0].name if begun else self._first(family)
        return "its own" if first == cell.name else f"from {first}"

    def _first(self, family: Sequence[Cell]) -> str:
        """Who has or will have the step 0 of a ``family`` of which none has begun."""
        other = self._other(family[0])
        return str(other.path.relative_to(self.folder.path)) if other else family[0].name

    def is_ready(self, cell: Cell) -> bool:
        """Whether ``cell`` can start: the step 0 that it needs is there, or nobody is training it."""
        if self.folder.has_step0(cell) or self.donor(cell):
            return True
        return not any(other.name in self.running for other in self.family(cell))

    def start_one(self, executor: Executor) -> Cell | None:
        """Start the first cell that can, and return it; None where none can."""
        cell = next((cell for cell in self.waiting if self.is_ready(cell)), None)
        if cell is None:
            return None
        run = self.folder.prepare(cell, self.donor(cell))
        executor.submit(Job(cell.name, run.path.resolve(), self.folder.log(cell).resolve()))
        self.waiting.remove(cell)
        self.running[cell.name] = cell
        return cell

    def note(self, ended: Ended) -> Cell:
        """Write down what came of a cell that has ended, and return it."""
        cell = self.running.pop(ended.name)
        if ended.error:
            self.failed[cell.name] = ended.error
        keep_scores(self.folder, [cell])
        return cell


@dataclass(frozen=True)
class Listener:
    """Is told what happens: a cell ``started``, one ``ended``, some time ``passed``, the rest is ``stopping``."""

    started: Callable[[Cell], object] = lambda cell: None  # noqa: ARG005 (does nothing)
    ended: Callable[[Cell], object] = lambda cell: None  # noqa: ARG005
    passed: Callable[[], object] = lambda: None
    stopping: Callable[[], object] = lambda: None


def work(sweep: Sweep, executor: Executor, listener: Listener, seconds: float = float("inf")) -> bool:
    """Run what is left of a sweep, and return whether that came to an end within ``seconds``.

    A cell that fails is noted, and the others go on. Whatever ends this early stops the cells, with a checkpoint each.
    """
    end = time.monotonic() + seconds
    try:
        while sweep.waiting or sweep.running:
            if time.monotonic() >= end:
                return False
            while len(sweep.running) < executor.slots and (cell := sweep.start_one(executor)):
                listener.started(cell)
            for ended in executor.wait(LOOK_EVERY):
                listener.ended(sweep.note(ended))
            listener.passed()
        return True
    finally:
        if sweep.running:
            listener.stopping()
        executor.stop()
