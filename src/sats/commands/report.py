"""``sats report``: one HTML page about a run, or about several side by side; or their numbers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sats.files import at_home
from sats.report.formats import Format, make_tables
from sats.report.gather import left_out
from sats.report.html import IMAGES, make_report
from sats.words import verbatim

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
    images: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Test images to show with predictions on the page; 0 for none, which is faster. Default: 4."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    arguments = tyro.cli(ReportArguments, args=words, prog="sats report")
    out = at_home(arguments.out) if arguments.out else None
    if arguments.format == "html":
        images = IMAGES if arguments.images is None else arguments.images
        print(f"report: {make_report(arguments.runs, out, images)}")
    elif arguments.images is not None:
        raise ValueError(f"--images is for a page, and {arguments.format} has none: leave out --images or --format.")
    else:
        print(f"report: {make_tables(arguments.runs, arguments.format, out)}")
    for sentence in left_out(arguments.runs):
        print(f"left out: {verbatim(sentence)}", file=sys.stderr)
