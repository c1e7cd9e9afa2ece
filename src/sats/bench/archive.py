"""Raw scores of finished cells in a folder of their own, small enough to be committed: their runs may then be gone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sats.bench.gather import as_json, from_json
from sats.bench.settings import different
from sats.config import to_json
from sats.documents import read_json
from sats.dotted import Settings, flat
from sats.files import write_text

if TYPE_CHECKING:
    from sats.bench.gather import Result
    from sats.bench.suite import Cell

SETTINGS = "settings"


@dataclass(frozen=True)
class Archive:
    """The folder at ``path``, with a file for each cell; None: nothing is kept, and nothing is there."""

    path: Path | None = None

    def keep(self, cell: Cell, result: Result) -> None:
        """Write down what a finished cell has come to, unless that is there."""
        if self.path is None or not result.is_done or self.read(cell) == result:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        values = {**as_json(result), SETTINGS: portable(cell)}
        write_text(self.path / f"{cell.name}.json", json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def read(self, cell: Cell) -> Result | None:
        """What is kept of a cell with these settings; ValueError for a file that cannot be read."""
        values = self._values(cell)
        if values is None or values[SETTINGS] != portable(cell):
            return None
        return from_json(values, cell)

    def difference(self, cell: Cell) -> str:
        """The settings in which what is kept under the cell's name was made otherwise, in words; empty if in none."""
        values = self._values(cell)
        return "" if values is None else different(values[SETTINGS], portable(cell))

    def _values(self, cell: Cell) -> dict[str, Any] | None:
        path = None if self.path is None else self.path / f"{cell.name}.json"
        if path is None or not path.is_file():
            return None
        try:
            values: dict[str, Any] = read_json(path)
            flat(values[SETTINGS])
            from_json(values, cell)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} does not hold a cell's scores ({error}): restore or remove it.") from error
        return values


def portable(cell: Cell) -> Settings:
    """The cell's settings by their dotted names, as on any machine: of paths the last name only."""
    settings = flat(json.loads(to_json(cell.config)))
    return {name: _anywhere(value) for name, value in settings.items()}


def _anywhere(value: Any) -> Any:
    if isinstance(value, list):
        return [_anywhere(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
