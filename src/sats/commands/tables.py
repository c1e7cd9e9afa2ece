"""Answers as tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from sats.evaluation.table import cell, kept_rows, percent, show
from sats.types import NOT_LEARNED_YET
from sats.words import names

if TYPE_CHECKING:
    from sats.engine.run_folder import RunFolder
    from sats.evaluation.scores import Scores


def show_extension(folder: RunFolder) -> None:
    """Print what was gained and what was lost."""
    before, after = folder.scores()
    config = folder.config()
    known = len(before.classes)
    gained = Table(title=f"gained: IoU on {cell(config.data.root)}, %", title_justify="left")
    gained.add_column("new class", overflow="fold")
    gained.add_column("IoU", justify="right")
    for name in after.classes[known:]:
        gained.add_row(cell(name), percent(after.iou[name]))
    where = f"on {cell(config.extends.old_data)}" if config.extends.old_data else "with the old model's answers"
    show(gained, kept_table(before, after, f"kept: IoU {where}, %"))
    known_classes = [name for name in before.classes if name != NOT_LEARNED_YET]
    if lost := [name for name in known_classes if before.iou[name] is None or after.iou[name] is None]:
        print(f"Not in the second table, as no test pixel shows them: {names(lost)}.")
    print(f"model: {folder.path.parent}\nrun: {folder.path}")


def kept_table(before: Scores, after: Scores, title: str) -> Table:
    """The IoU of each old class before and after, and the mean; classes without a pixel are left out."""
    table = Table(title=title, title_justify="left")
    table.add_column("old class", overflow="fold")
    for column in ("before", "after", "change"):
        table.add_column(column, justify="right")
    for name, old, new in kept_rows(before, after):
        table.add_row(cell(name), percent(old), percent(new), percent(new - old, "+"))
    return table
