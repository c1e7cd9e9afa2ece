"""Answers as tables on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from sats.evaluation.table import class_table, figure_table, unmeasured_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from sats.evaluation.scores import Scores


def show(*tables: Table) -> None:
    """Print tables; where the output is no terminal, as wide as they need to be."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max([80, *(console.measure(table).maximum for table in tables)]))
    console.print(*tables)


def show_scores(history: Sequence[Scores]) -> None:
    """Print the scores after each step."""
    show(class_table(history), figure_table(history))
    print(unmeasured_note(history[-1]), end="")
