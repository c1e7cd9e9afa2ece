"""A sweep's results as files, results.md and results.json, and as a table on the terminal."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from sats import __version__
from sats.bench.gather import FIGURES, Result, as_json
from sats.bench.summary import REFERENCE, Row, Summary
from sats.evaluation.spread import spread_text
from sats.files import write_text
from sats.markdown import escaped, table
from sats.words import NOTHING, count, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MARKDOWN, JSON = "results.md", "results.json"
LONGEST_ERROR = 400
"""Characters of what is said of a cell that failed."""
LONGEST_UNBROKEN = 16
"""Characters of a name that a narrow terminal shows on one line."""


@dataclass(frozen=True)
class Outcome:
    """What is known of a sweep: the name of its suite, every cell's result, the summary, sums of weights and data."""

    name: str
    results: Sequence[Result]
    summary: Summary
    sums: Mapping[str, str]


def write_results(folder: Path, outcome: Outcome) -> None:
    """Write both files into ``folder``."""
    write_text(folder / JSON, as_text(outcome))
    write_text(folder / MARKDOWN, as_markdown(outcome))


def as_text(outcome: Outcome) -> str:
    """The raw scores of every cell and step, and the rows of the table, as JSON."""
    rows = [{**dataclasses.asdict(row), "best": sorted(row.best)} for row in outcome.summary.rows]
    values: dict[str, Any] = {
        "suite": outcome.name,
        "sats": __version__,
        "sha256": dict(outcome.sums),
        "rows": rows,
        "cells": [as_json(result) for result in outcome.results],
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def as_markdown(outcome: Outcome) -> str:
    """The table, what its figures are, and which cells are missing."""
    titles, lines = _cells(outcome.summary, escaped, lambda text: f"**{text}**")
    missing = [result for result in outcome.results if not result.is_done]
    parts = [
        f"# {escaped(outcome.name)}\n",
        table(titles, lines),
        notes(outcome.summary) + "\n",
    ]
    if missing:
        parts.append(f"{count(len(missing), 'cell')} of {len(outcome.results)} not finished:\n")
        parts.append("".join(f"- {escaped(result.name)}: {_why(result)}\n" for result in missing))
    if outcome.sums:
        parts.append("SHA-256 of weights, and of what the index knows of the data:\n")
        parts.append("".join(f"- {escaped(name)}: `{digest}`\n" for name, digest in outcome.sums.items()))
    return "\n".join(parts)


def _why(result: Result) -> str:
    return f"failed: {escaped(result.error, LONGEST_ERROR)}" if result.error else result.state


def terminal_table(outcome: Outcome) -> Table:
    """The same table for a terminal."""
    titles, lines = _cells(outcome.summary, lambda text: escape(shown(text)), lambda text: f"[bold]{text}[/bold]")
    shown_table = Table(title=f"{escape(outcome.name)}: after the last step, %", title_justify="left")
    words = 1 + len(outcome.summary.axes)
    for place, title in enumerate(titles):
        unbroken = place < words and max(len(line[place]) for line in lines) <= LONGEST_UNBROKEN
        shown_table.add_column(title, justify="left" if place < words else "right", overflow="fold", no_wrap=unbroken)
    for line in lines:
        shown_table.add_row(*line)
    return shown_table


def notes(summary: Summary) -> str:
    """What the figures are."""
    spreads = any(row.finished > 1 for row in summary.rows)
    over = ", mean ± standard deviation over n cells (seeds, class orders)" if spreads else ""
    timed = any(row.time is not None for row in summary.rows)
    time = f" Time: an iteration of a later step (upper bounds: of their only one) over {REFERENCE}'s, medians."
    return (
        f"After the last step, in percent{over}. Old (the classes of step 0), new and all: mIoU; avg: mean of all "
        "over the steps; forgot: mean over the classes known before of best IoU so far minus IoU now. The best of each "
        f"column is bold, upper bounds aside.{time if timed else ''}"
    )


def _cells(
    summary: Summary, text: Callable[[object], str], mark: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    """Titles and lines of the table; ``text`` makes names harmless, ``mark`` marks the best."""
    timed = any(row.time is not None for row in summary.rows)
    titles = ["variant", *(text(name) for name in summary.axes.values()), "n", *FIGURES.values()]
    lines = [_line(row, summary, text, mark) for row in summary.rows]
    if timed:
        titles.append("time")
        for line, row in zip(lines, summary.rows, strict=True):
            line.append(NOTHING if row.time is None else f"{row.time:.2f}")
    return titles, lines


def _line(row: Row, summary: Summary, text: Callable[[object], str], mark: Callable[[str], str]) -> list[str]:
    n = str(row.finished) if row.finished == row.planned else f"{row.finished} of {row.planned}"
    values = [text(_value(row.values[name])) if name in row.values else NOTHING for name in summary.axes]
    figures = [
        mark(spread_text(figure)) if name in row.best else spread_text(figure) for name, figure in row.figures.items()
    ]
    return [text(row.variant), *values, n, *figures]


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
