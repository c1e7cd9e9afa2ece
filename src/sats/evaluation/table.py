"""Scores as tables: for a terminal, and as HTML for a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sats.evaluation.scores import backward_transfer
from sats.words import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.evaluation.scores import Scores

UNLIMITED = 10_000
"""Columns: wider than any table."""
FIGURES = {
    "all": "all classes",
    "old": "old (step 0)",
    "old_without_background": "old, no background",
    "new": "new (later steps)",
    "hiou": "hIoU of old and new",
    "avg": "mean of all, so far",
}


def percent(value: float | None, sign: str = "") -> str:
    """A share as percent with one decimal, or a dash; ``sign`` "+" also marks gains."""
    return "-" if value is None else f"{100 * value:{sign}z.1f}"


def cell(name: object) -> str:
    """``name`` in a cell of a terminal's table: no markup, nothing that moves the cursor, at most 80 characters."""
    return escape(shown(name))


def show(*tables: Table) -> None:
    """Print tables; where the output is no terminal, as wide as they need to be."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=UNLIMITED)
        console = Console(width=max([80, *(console.measure(table).maximum for table in tables)]))
    console.print(*tables)


def show_scores(history: Sequence[Scores]) -> None:
    """Print the scores after each step."""
    show(class_table(history), figure_table(history))
    if note := unmeasured_note(history[-1]):
        Console().print(note, end="", highlight=False, markup=False, soft_wrap=True)


def as_html(table: Table) -> str:
    """The same table as HTML, in which names are text whatever they look like."""
    columns = table.columns
    head = "".join(f"<th{_aligned(column.justify)}>{_text(column.header)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td{_aligned(column.justify)}>{_text(text)}</td>' for column, text in row)}</tr>"
        for row in (list(zip(columns, cells, strict=True)) for cells in zip(*(c.cells for c in columns), strict=True))
    )
    caption = f"<caption>{_text(table.title)}</caption>" if table.title else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _aligned(justify: str) -> str:
    return f' style="text-align: {justify}"'


def _text(markup: object) -> str:
    """What a cell says, escaped."""
    return html.escape(Text.from_markup(str(markup)).plain)


def class_table(history: Sequence[Scores]) -> Table:
    """IoU of each class after each step, in percent, and what the class lost since its best."""
    table = Table(title="IoU of each class, %", title_justify="left")
    table.add_column("class", overflow="fold")
    for scores in history:
        table.add_column(f"step {scores.step}", justify="right")
    table.add_column("forgot", justify="right")
    last = history[-1]
    for name in last.classes:
        cells = [percent(scores.iou[name]) if name in scores.iou else "" for scores in history]
        lost = percent(last.forgetting[name]) if name in last.forgetting else ""
        table.add_row(cell(name), *cells, lost)
    return table


def figure_table(history: Sequence[Scores]) -> Table:
    """The mean IoUs after each step, in percent; backward transfer in the last column's own row."""
    table = Table(title="mIoU, %", title_justify="left")
    table.add_column("mean over")
    for scores in history:
        table.add_column(f"step {scores.step}", justify="right")
    for key, label in FIGURES.items():
        table.add_row(label, *[percent(scores.miou[key]) for scores in history])
    transfers = [backward_transfer(history[: index + 1]) for index in range(len(history))]
    table.add_row("backward transfer", *[percent(value) for value in transfers])
    return table


def unmeasured_note(scores: Scores) -> str:
    """A line on the classes that no mean counts; empty if there are none."""
    names = scores.unmeasured
    if not names:
        return ""
    listed = ", ".join(map(shown, names))
    return f"{len(names)} of {len(scores.classes)} classes have no test pixel and are left out: {listed}.\n"
