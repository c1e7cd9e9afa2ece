"""Text and tables in Markdown, whatever the names in them contain."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from sats.words import LONGEST_NAME, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_{}[]()#+!|~$"})
"""What Markdown would take for more than text."""


def escaped(name: object, limit: int = LONGEST_NAME) -> str:
    """``name`` as text on one line, of ``limit`` characters at most."""
    return html.escape(shown(name, limit), quote=False).translate(MARKS)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
