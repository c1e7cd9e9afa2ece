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
from sats.words import verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence


EXTENDED = "extended, no old data"
"""The protocol of an extension that had no labels of old classes."""
WITHOUT_LABELS = f"{EXTENDED}: old classes were not measured, but compared with the old model's answers."


@dataclass(frozen=True)
class Line:
    """A run in the table, and a sentence that it needs below; often none."""

    cells: tuple[str, ...]
    remark: str = ""


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
    lines = [line(RunFolder(path), str(path.relative_to(parent))) for path in folders]
    for one in lines:
        table.add_row(*one.cells)
    show(table)
    for remark in dict.fromkeys(one.remark for one in lines if one.remark):
        print(verbatim(remark))


def line(folder: RunFolder, name: str) -> Line:
    """What the table says of a run called ``name``."""
    try:
        config, scores, state = folder.config(), folder.scores(), folder.state()
    except ValueError as error:
        return Line((cell(name), "", "", "unreadable", "", "", ""), f"{name}: {error}")
    figures = scores[-1].miou if scores else {}
    protocol, remark = config.stream.protocol or "steps", ""
    if config.measures_agreement:
        protocol, remark, figures = EXTENDED, WITHOUT_LABELS, {"new": figures.get("new")}
    means = [percent(figures.get(mean)) for mean in ("all", "old", "new")]
    return Line((cell(name), method_name(config.method), cell(protocol), state, *means), remark)
