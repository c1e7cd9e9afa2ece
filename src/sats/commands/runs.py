"""``sats runs``: the runs in a folder, and how far each is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from sats.engine.run_folder import CONFIG, EXTENSION, RunFolder, is_run
from sats.evaluation.table import cell, percent, show
from sats.files import at_home
from sats.methods import method_name

if TYPE_CHECKING:
    from collections.abc import Sequence


PROTOCOL = 2
"""The place of the protocol in a line."""
EXTENDED = "extended, no old data"
"""The protocol of an extension that had no labels of old classes."""


@dataclass(frozen=True, kw_only=True)
class RunsArguments:
    """List the runs in a folder: method, progress, last mIoU in percent."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Where the runs are."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parent = at_home(tyro.cli(RunsArguments, args=words, prog="sats runs").folder)
    if not parent.is_dir():
        raise ValueError(f"{parent} is not a folder: name the one that holds the runs.")
    found = [*parent.glob(f"*/{CONFIG}"), *parent.glob(f"*/{EXTENSION}/{CONFIG}")]
    folders = sorted(path.parent for path in found if is_run(path.parent))
    if not folders:
        raise ValueError(f"{parent} holds no runs: `sats train` makes some.")
    table = Table()
    for title in ("run", "method", "protocol", "state"):
        table.add_column(title, overflow="fold")
    for title in ("all", "old", "new"):
        table.add_column(title, justify="right")
    rows = [row(RunFolder(path), str(path.relative_to(parent))) for path in folders]
    for cells in rows:
        table.add_row(*cells)
    show(table)
    if any(cells[PROTOCOL] == EXTENDED for cells in rows):
        print(f"{EXTENDED}: old classes were not measured, but compared with the old model's answers.")


def row(folder: RunFolder, name: str) -> list[str]:
    """A line of the table on a run called ``name``."""
    try:
        config, scores, state = folder.config(), folder.scores(), folder.state()
    except ValueError:
        return [cell(name), "", "", "unreadable", "", "", ""]
    figures = scores[-1].miou if scores else {}
    protocol = config.stream.protocol or "steps"
    if config.measures_agreement:
        protocol, figures = EXTENDED, {"new": figures.get("new")}
    return [
        cell(name),
        method_name(config.method),
        cell(protocol),
        state,
        *[percent(figures.get(name)) for name in ("all", "old", "new")],
    ]
