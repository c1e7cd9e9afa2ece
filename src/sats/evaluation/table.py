"""Scores as tables: for a terminal, and as HTML for a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sats.evaluation.scores import backward_transfer
from sats.words import count, evenly, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.config import RunConfig
    from sats.evaluation.scores import Scores
    from sats.methods import Method

UNLIMITED = 10_000
"""Columns: wider than any table."""
SHORT_NAME = 12
"""Columns that a class's name has at least before steps are left out for it."""
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
    for table in tables:
        title, table.title = table.title, None  # which rich would fold to the table's width
        if title:
            console.print(title, style="table.title", highlight=False, soft_wrap=True)
        console.print(table)


def show_scores(history: Sequence[Scores]) -> None:
    """Print the scores after each step; where a terminal has no room for all, of some steps, the last among them."""
    places = fitting(history, Console())
    show(class_table(history, places), figure_table(history, places))
    if len(places) < len(history):
        left_out = count(len(history) - len(places), "more step does", "more steps do")
        fix = "pipe the output or use `sats report` to see all."
        Console().print(f"{left_out} not fit here; {fix}", highlight=False)
    if note := unmeasured_note(history[-1]) + unlike_note(history):
        Console().print(note, end="", highlight=False, markup=False, soft_wrap=True)


def fitting(history: Sequence[Scores], console: Console) -> list[int]:
    """The places of the steps whose columns fit on ``console``: all, or as many as possible at even distances."""
    if not console.is_terminal:
        return list(range(len(history)))
    endless = Console(width=UNLIMITED)
    folded = max(0, max(cell_len(shown(name)) for name in history[-1].classes) - SHORT_NAME)
    for most in range(len(history), 2, -1):
        places = evenly(range(len(history)), most)
        tables = (figure_table(history, places), class_table(history, places))
        means, classes = (endless.measure(table).maximum for table in tables)
        if max(means, classes - folded) <= console.width:
            return places
    return evenly(range(len(history)), 2)


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


def class_table(history: Sequence[Scores], places: Sequence[int] = ()) -> Table:
    """IoU of each class after each step, in percent, and what the class lost since its best.

    Only the steps at ``places`` have a column, where there are any.
    """
    chosen = [history[place] for place in places] or history
    table = Table(title="IoU of each class, %", title_justify="left")
    table.add_column("class", overflow="fold")
    for scores in chosen:
        table.add_column(f"step {scores.step}", justify="right")
    table.add_column("forgot", justify="right")
    last = history[-1]
    for name in last.classes:
        cells = [percent(scores.iou[name]) if name in scores.iou else "" for scores in chosen]
        lost = percent(last.forgetting[name]) if name in last.forgetting else ""
        table.add_row(cell(name), *cells, lost)
    return table


def figure_table(history: Sequence[Scores], places: Sequence[int] = ()) -> Table:
    """The mean IoUs after each step (or those at ``places``), in percent; backward transfer in a row of its own."""
    chosen = list(places) or range(len(history))
    table = Table(title="mIoU, %", title_justify="left")
    table.add_column("mean over")
    for place in chosen:
        table.add_column(f"step {history[place].step}", justify="right")
    for key, label in FIGURES.items():
        table.add_row(label, *[percent(history[place].miou[key]) for place in chosen])
    transfers = [backward_transfer(history[: place + 1]) for place in chosen]
    table.add_row("backward transfer", *[percent(value) for value in transfers])
    return table


def kept_rows(before: Scores, after: Scores) -> list[tuple[str, float, float]]:
    """The IoU of each class of ``before``, then and ``after``, and their mean; classes without a pixel are left out."""
    rows = {name: (before.iou[name], after.iou[name]) for name in before.classes}
    rows["mean"] = (before.miou["old"], after.miou["old"])
    return [(name, old, new) for name, (old, new) in rows.items() if old is not None and new is not None]


def unlike_note(history: Sequence[Scores]) -> str:
    """A line where steps were measured otherwise than the last, and do not compare with it; empty if none was."""
    if all(scores.measured_alike(history[-1]) for scores in history):
        return ""
    return (
        "Some steps were measured with the background and some without, as a folder does not label every class: their "
        "figures do not compare.\n"
    )


def agreement_note(config: RunConfig[Method]) -> str:
    """A line where old classes are measured without labels; empty elsewhere."""
    if not config.measures_agreement:
        return ""
    return (
        "Old classes are measured by the old model's own answers on the new images, as no old data was named: that is "
        "agreement, not accuracy, and no mean mixes it with that of new classes.\n"
    )


def unmeasured_note(scores: Scores) -> str:
    """A line on the classes that no mean counts; empty if there are none."""
    names = scores.unmeasured
    if not names:
        return ""
    listed = ", ".join(map(shown, names))
    return f"{len(names)} of {len(scores.classes)} classes have no test pixel and are left out: {listed}.\n"
