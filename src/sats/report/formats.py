"""A report's numbers for papers and spreadsheets: Markdown, LaTeX, CSV. Names in them may be anything."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Literal

from sats.evaluation.spread import spread
from sats.markdown import escaped, table
from sats.report.comparison import compare
from sats.report.gather import gather
from sats.report.output import place_for, put
from sats.report.sheets import sheets
from sats.words import END_ISOLATE, ISOLATE, shown, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sats.evaluation.scores import Scores
    from sats.report.comparison import Comparison
    from sats.report.gather import RunRecord
    from sats.report.groups import Group
    from sats.report.sheets import Line, Sheet

Format = Literal["html", "md", "csv", "tex"]
"""What a report may be written as."""
LATEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "{}$&#_%"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\symbol{34}"}
    | {"[": "{[}", "*": "{*}"}  # after the end of a row they would be taken for its options
    | {ISOLATE: "", END_ISOLATE: ""}
)
"""What LaTeX would take for more than text. Letters of other scripts stay: XeLaTeX and LuaLaTeX read them."""
NUMBERS = str.maketrans({"\N{MINUS SIGN}": "$-$", "±": r"$\,\pm\,$", "\N{EN DASH}": "--"})
FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 (the wide ones begin a formula as well)
"""What a spreadsheet takes for the beginning of a formula."""
COLUMNS = ("of", "run", "seed", "order_seed", "step", "class", "figure", "value", "deviation", "n")


def make_tables(paths: Sequence[Path], form: Format, out: Path | None = None) -> Path:
    """Write the numbers of the runs in ``paths`` as "md", "csv" or "tex", and return where.

    ValueError for what is no run, has no finished step or cannot be written.
    """
    runs = gather(paths)
    target = place_for(runs, out, f"report.{form}")
    write = {"md": as_markdown, "csv": as_csv, "tex": as_latex}[form]
    return put(target, write(compare(runs)))


def as_markdown(comparison: Comparison) -> str:
    """Every sheet as a table under a heading, the best in bold; what stands in the way of comparing comes first."""
    parts = [f"> {escaped(sentence, 2000)}\n" for sentence in comparison.obstacles]
    for sheet in sheets(comparison):
        heading = f"{escaped(sheet.whose)}: {sheet.title}" if sheet.whose else sheet.title
        rows = [
            [
                escaped(line.name),
                *(f"**{text}**" if place in line.best else text for place, text in enumerate(line.numbers)),
            ]
            for line in sheet.lines
        ]
        parts.append(f"## {heading}\n\n{table([escaped(title) for title in sheet.titles], rows)}")
    return "\n".join(parts)


def as_latex(comparison: Comparison) -> str:
    """Every sheet as a tabular of the package booktabs, the best in bold."""
    head = "% \\usepackage{booktabs}; names in other scripts need XeLaTeX or LuaLaTeX\n"
    remarks = [f"% {latex(sentence, 2000)}\n" for sentence in comparison.obstacles]
    return "\n".join([head, *remarks, *map(_tabular, sheets(comparison))])


def _tabular(sheet: Sheet) -> str:
    heading = f"% {latex(sheet.whose)}: {latex(sheet.title)}" if sheet.whose else f"% {latex(sheet.title)}"
    rows = [
        [latex(line.name), *(rf"\textbf{{{text}}}" if place in line.best else text for place, text in _set(line))]
        for line in sheet.lines
    ]
    titles = [latex(title) for title in sheet.titles]
    body = [_row(titles), r"\midrule", *map(_row, rows)]
    columns = "l" + "r" * (len(titles) - 1)
    begin, end = [heading, rf"\begin{{tabular}}{{{columns}}}", r"\toprule"], [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join([*begin, *body, *end])


def _row(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _set(line: Line) -> Iterator[tuple[int, str]]:
    """The numbers as LaTeX sets them."""
    return ((place, text.replace(" ±", "±").translate(NUMBERS)) for place, text in enumerate(line.numbers))


def latex(name: object, limit: int = 80) -> str:
    """``name`` as text on one line of LaTeX."""
    return re.sub(r"(['-])(?=\1)", r"\1{}", shown(name, limit).translate(LATEX))  # two would be set as another mark


# --- for spreadsheets -------------------------------------------------------------------------------------------------


def as_csv(comparison: Comparison) -> str:
    """One value a line, in 0..1: of every run after every step, then means over repeated runs, with their deviation."""
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(COLUMNS)
    for run in comparison.runs:
        lines.writerows(_run_lines(run))
    for group in comparison.groups:
        lines.writerows(_group_lines(group))
    return written.getvalue()


def text_cell(name: object) -> str:
    """``name`` as a spreadsheet shows it, never as a formula."""
    text = verbatim(str(name))
    return f"'{text}" if text.startswith(FORMULA) else text


def _run_lines(run: RunRecord) -> Iterator[list[object]]:
    config = run.config
    order = "" if config.stream.order_seed is None else config.stream.order_seed
    for scores in run.history:
        for (name, figure), value in _values(scores).items():
            known = "" if value is None else value
            yield ["run", text_cell(run.name), config.seed, order, scores.step, text_cell(name), figure, known, "", 1]


def _group_lines(group: Group) -> Iterator[list[object]]:
    for step in range(len(group.first.history)):
        found = [_values(run.history[step]) for run in group.runs]
        for name, figure in dict.fromkeys(key for values in found for key in values):
            value = spread([values.get((name, figure)) for values in found])
            known = [value.mean, value.deviation, value.number] if value else ["", "", 0]
            cells = ["" if cell is None else cell for cell in known]
            yield ["mean", text_cell(group.name), "", "", step, text_cell(name), figure, *cells]


def _values(scores: Scores) -> dict[tuple[str, str], float | None]:
    """Every figure after a step, by class (none for means) and name."""
    means = {("", f"miou_{figure}"): value for figure, value in scores.miou.items()}
    iou = {(name, "iou"): value for name, value in scores.iou.items()}
    return means | iou | {(name, "forgetting"): value for name, value in scores.forgetting.items()}
