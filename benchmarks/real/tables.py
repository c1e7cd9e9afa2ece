"""Tables of the documentation, made from the scores that sweeps keep.

    python benchmarks/real/tables.py docs/results.md docs/ablations.md

A comment in a page says what the table below it shows, and this rewrites that table:

    <!-- scores: ccp/dinov2 n avg forgot iteration
    finetune | `finetune`
    mib stream.order_seed=13 | `mib`, one order
    -->

The first line names the folder below benchmarks/real, or several with + between them, and the columns beside all, old,
new and hIoU; ``KEY=VALUE`` or ``KEY=VALUE,VALUE`` takes the cells with these settings alone, ``bold`` marks the best of
each column, upper bounds aside. Each further line is a row: a variant, settings that its cells must have, and what the
row is called, in one or more columns. Figures are means over cells, with the standard deviation where there are
several. An iteration (``iteration``) is in seconds, or (``relative``) in those of fine-tuning, that of the fastest cell
of the first folder, as others may have shared its cores with more runs.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCORES = Path(__file__).parent
BLOCK = re.compile(r"(?P<comment><!-- scores: (?P<head>.+)\n(?P<rows>(?:.+\n)+)-->\n)(?P<table>(?:\n?\|.*\n)*)")
FIGURES = {"all": "all", "old": "old", "new": "new", "hIoU": "hiou", "avg": "avg", "forgot": "forgetting"}
ALWAYS = ("all", "old", "new", "hIoU")
UPPER, LOWER = "joint", "finetune"


@dataclass(frozen=True)
class Row:
    """What the comment says of a row: which cells, and what it is called."""

    variant: str
    settings: dict[str, str]
    names: tuple[str, ...]


def read_row(line: str, only: dict[str, str]) -> Row:
    """A line of the comment."""
    where, *names = line.split(" | ")
    variant, *pairs = where.split()
    return Row(variant, {**only, **dict(pair.split("=", 1) for pair in pairs)}, tuple(names))


def cells_of(row: Row, cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells that the row takes its means over; ValueError if there is none."""
    found = [
        cell
        for cell in cells
        if cell["variant"] == row.variant
        and all(str(cell["values"].get(k)) in v.split(",") for k, v in row.settings.items())
    ]
    if not found:
        raise ValueError(f"No scores are kept of {row.variant} {row.settings}.")
    return found


def shown(values: list[float | None]) -> tuple[float | None, str]:
    """The mean in percent, and its text."""
    defined = [100 * value for value in values if value is not None]
    if not defined:
        return None, "-"
    mean = statistics.fmean(defined)
    deviation = f" ± {statistics.stdev(defined):.1f}" if len(defined) > 1 else ""
    return mean, f"{mean:.1f}{deviation}"


def make_table(head: str, lines: list[str], titles: list[str]) -> str:
    """The Markdown of one table, whose first columns are called ``titles``."""
    folder, *words = head.split()
    only = dict(word.split("=", 1) for word in words if "=" in word)
    columns = [*ALWAYS, *(word for word in words if word in FIGURES)]
    cells = [cell for name in folder.split("+") for cell in kept(name)]
    rows = [read_row(line, only) for line in lines]
    found = [cells_of(row, cells) for row in rows]
    figures = {name: [shown([c["figures"][FIGURES[name]] for c in every]) for every in found] for name in columns}
    if "bold" in words:
        figures = {name: marked(name, rows, values) for name, values in figures.items()}
    counts = [[str(len(every))] if "n" in words else [] for every in found]
    timed = "iteration" in words or "relative" in words
    seconds = [[took(row, kept(folder.split("+")[0]), "relative" in words)] if timed else [] for row in rows]
    body = [
        [*row.names, *count, *(figures[name][index][1] for name in columns), *time]
        for index, (row, count, time) in enumerate(zip(rows, counts, seconds, strict=True))
    ]
    header = [*titles, *(["n"] if "n" in words else []), *columns, *(["iteration"] if timed else [])]
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, ["---"] * len(header), *body))


def kept(folder: str) -> list[dict[str, Any]]:
    """The cells whose scores are in a folder."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((SCORES / folder).glob("*.json"))]


def took(row: Row, cells: list[dict[str, Any]], relative: bool) -> str:
    """What an iteration of a row's cells takes, in seconds or ``relative`` to fine-tuning; "-": they ran elsewhere."""
    try:
        own = fastest(cells_of(row, cells))
    except ValueError:
        return "-"
    return f"{own / (fastest(cells_of(Row(LOWER, {}, ()), cells)) if relative else 1):.2f}"


def marked(name: str, rows: list[Row], values: list[tuple[float | None, str]]) -> list[tuple[float | None, str]]:
    """The same, with the best in bold: the least forgetting, the most of all else."""
    ranked = [value for row, (value, _) in zip(rows, values, strict=True) if row.variant != UPPER and value is not None]
    best = f"{(min if name == 'forgot' else max)(ranked):.1f}"  # as shown: equal figures are equally good
    return [
        (value, f"**{text}**" if text.split(" ")[0] == best and row.variant != UPPER else text)
        for row, (value, text) in zip(rows, values, strict=True)
    ]


def fastest(cells: list[dict[str, Any]]) -> float:
    """Seconds of an iteration of the fastest cell."""
    return min(cell["seconds_per_iteration"] for cell in cells)


def filled(page: str) -> str:
    """``page`` with every table that a comment describes made anew."""

    def fill(block: re.Match[str]) -> str:
        lines = block["rows"].splitlines()
        depth = len(lines[0].split(" | ")) - 1
        titles = [part.strip() for part in block["table"].strip().split("\n")[0].strip("|").split("|")][:depth]
        table = make_table(block["head"], lines, titles if len(titles) == depth else ["method"] * depth)
        return f"{block['comment']}\n{table}"

    return BLOCK.sub(fill, page)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(filled(Path(name).read_text(encoding="utf-8")), encoding="utf-8")
