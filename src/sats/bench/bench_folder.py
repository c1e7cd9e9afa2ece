"""The folder of a sweep: a run for each cell, their logs, the results. Nothing in it is ever deleted."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sats.bench.archive import Archive
from sats.bench.settings import different
from sats.config import to_json
from sats.dotted import flat
from sats.engine.run_folder import CONFIG, RunFolder, create_run, is_run, unused_folder
from sats.engine.tracking import followed
from sats.holding import held, is_held

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sats.bench.suite import Cell
    from sats.config import RunConfig
    from sats.methods import Method

State = Literal["done", "begun", "new"]
REPLACED = "replaced"
"""Where runs go whose settings the suite has changed."""


@dataclass(frozen=True)
class BenchFolder:
    """The folder at ``path``; cells whose scores are in the ``archive`` are done, wherever their runs are.

    ``trackers`` follow the runs that go on from now; without any, those that did.
    """

    path: Path
    archive: Archive = field(default_factory=Archive)
    trackers: tuple[str, ...] = ()

    def held(self) -> AbstractContextManager[None]:
        """Keep a second sweep off the folder; ValueError says who has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        return held(self.path)

    def run(self, cell: Cell) -> RunFolder:
        """The run of a cell, there or not."""
        return RunFolder(self.path / cell.name)

    @property
    def logs(self) -> Path:
        """Where the cells' output is; a run that cannot begin removes its own folder."""
        return self.path / "logs"

    def log(self, cell: Cell) -> Path:
        """Where a cell's output goes."""
        return self.logs / f"{cell.name}.txt"

    def state(self, cell: Cell) -> State:
        """How far a cell is."""
        run = self.run(cell)
        if self.archive.read(cell):
            return "done"
        if not run.config_path.is_file():
            return "new"
        if run.is_finished():
            return "done"
        return "begun" if run.metrics_path.is_file() or self.has_step0(cell) else "new"

    def has_step0(self, cell: Cell) -> bool:
        """Whether a cell has finished its step 0, or taken it over."""
        return self.run(cell).step(0).is_dir()

    def prepare(self, cell: Cell, start_from: Path | None) -> RunFolder:
        """The run of a cell, ready to be gone on with; a new one takes its step 0 from ``start_from``."""
        run = self.run(cell)
        if run.config_path.is_file() and self.state(cell) == "new" and not is_held(run.path):
            run.discard_unless_begun()  # what it was to start from may be gone
        if not run.config_path.is_file():
            source = str(start_from.resolve()) if start_from else ""
            create_run(run.path, dataclasses.replace(cell.config, start_from=source))
        return followed(run, self.trackers)

    def changed(self, cells: Sequence[Cell]) -> dict[str, str]:
        """The cells whose runs here were begun with other settings, and which these were."""
        found = {}
        for cell in cells:
            run = self.run(cell)
            words = differences(run.config(), cell.config) if run.config_path.is_file() else ""
            if words := words or self.archive.difference(cell):
                found[cell.name] = words
        return found

    def put_aside(self, name: str) -> Path | None:
        """Rename a run with other settings out of the way, and return where it is now; None where there is none."""
        if not (self.path / name).is_dir():
            return None
        aside = self.path / REPLACED
        aside.mkdir(exist_ok=True)
        return (self.path / name).rename(unused_folder(aside, name))

    def strays(self, cells: Sequence[Cell]) -> list[str]:
        """The runs here that are none of the ``cells``."""
        names = {cell.name for cell in cells}
        found = sorted(path.parent for path in self.path.glob(f"*/{CONFIG}"))
        return [path.name for path in found if path.name not in names and is_run(path)]

    def others(self, cells: Sequence[Cell]) -> Iterator[tuple[RunConfig[Method], RunFolder]]:
        """The runs here that have a step 0 and are none of the ``cells``, put aside or no longer named; by settings."""
        aside = sorted(path.parent for path in (self.path / REPLACED).glob(f"*/{CONFIG}"))
        for run in map(RunFolder, [*(self.path / name for name in self.strays(cells)), *aside]):
            with suppress(ValueError):  # of another version: nothing to start from
                if run.step(0).is_dir():
                    yield run.config(), run


def differences(was: RunConfig[Method], is_now: RunConfig[Method]) -> str:
    """The settings in which two configurations differ, in words; empty if none. Where step 0 comes from is none."""
    before, after = (flat(json.loads(to_json(dataclasses.replace(config, start_from="")))) for config in (was, is_now))
    return different(before, after)
