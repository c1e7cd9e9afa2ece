"""Scores as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from sats.evaluation.scores import backward_transfer
from sats.words import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.evaluation.scores import Scores

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


def kept_rows(before: Scores, after: Scores) -> list[tuple[str, float, float]]:
    """The IoU of each class of ``before``, then and ``after``, and their mean; classes without a pixel are left out."""
    rows = {name: (before.iou[name], after.iou[name]) for name in before.classes}
    rows["mean"] = (before.miou["old"], after.miou["old"])
    return [(name, old, new) for name, (old, new) in rows.items() if old is not None and new is not None]


def unmeasured_note(scores: Scores) -> str:
    """A line on the classes that no mean counts; empty if there are none."""
    names = scores.unmeasured
    if not names:
        return ""
    listed = ", ".join(map(shown, names))
    return f"{len(names)} of {len(scores.classes)} classes have no test pixel and are left out: {listed}.\n"
