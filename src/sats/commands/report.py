"""``sats report``: one HTML page about a run, or about several side by side; or their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sats.files import at_home
from sats.report.formats import Format, make_tables
from sats.report.html import make_report

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class ReportArguments:
    """Write one HTML file about a run, or several compared; or their numbers alone."""

    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="")
    ]
    """The runs' folders, or a folder that holds runs."""
    out: str = ""
    """The file to write. Default: report.html in the run, or in the folder that holds the runs."""
    format: Annotated[Format, tyro.conf.arg(metavar="KIND")] = "html"
    """html: a page. Numbers alone: md (Markdown), csv (for spreadsheets), tex (LaTeX with booktabs)."""
    images: int = 4
    """Test images to show with predictions on the page; 0 for none, which is faster."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    arguments = tyro.cli(ReportArguments, args=words, prog="sats report")
    out = at_home(arguments.out) if arguments.out else None
    if arguments.format == "html":
        print(f"report: {make_report(arguments.runs, out, arguments.images)}")
    else:
        print(f"report: {make_tables(arguments.runs, arguments.format, out)}")
