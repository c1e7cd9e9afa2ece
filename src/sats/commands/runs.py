"""``sats runs``: the runs in a folder, and how far each is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from sats.commands.tables import show
from sats.engine.run_folder import CONFIG, RunFolder
from sats.evaluation.table import percent
from sats.methods import method_name

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class RunsArguments:
    """List the runs in a folder: method, progress, last mIoU in percent."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Where the runs are."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    parent = tyro.cli(RunsArguments, args=words, prog="sats runs").folder.expanduser()
    if not parent.is_dir():
        raise ValueError(f"{parent} is no folder: name the one that holds the runs.")
    folders = sorted(path.parent for path in parent.glob(f"*/{CONFIG}"))
    if not folders:
        raise ValueError(f"{parent} holds no runs: `sats train` makes some.")
    table = Table()
    for title in ("run", "method", "protocol", "state"):
        table.add_column(title, overflow="fold")
    for title in ("all", "old", "new"):
        table.add_column(title, justify="right")
    for path in folders:
        table.add_row(*row(RunFolder(path)))
    show(table)


def row(folder: RunFolder) -> list[str]:
    """A line of the table."""
    try:
        config, scores = folder.config(), folder.scores()
    except ValueError:
        return [escape(folder.path.name), "", "", "unreadable", "", "", ""]
    figures = scores[-1].miou if scores else {}
    return [
        escape(folder.path.name),
        method_name(config.method),
        config.stream.protocol or "steps",
        folder.state(),
        *[percent(figures.get(name)) for name in ("all", "old", "new")],
    ]
