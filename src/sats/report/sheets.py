"""The tables of a report as plain sheets, for formats that are not a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.evaluation.spread import spread, spread_text
from sats.report.figures import figures
from sats.report.plots import CURVES
from sats.words import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.report.comparison import Comparison
    from sats.report.gather import RunRecord
    from sats.report.groups import Group


@dataclass(frozen=True)
class Line:
    """A row of a sheet: a name, which may be anything, and numbers as text; ``best`` are the places of marked ones."""

    name: str
    numbers: tuple[str, ...]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Sheet:
    """A table: what it is (of ``whose`` runs, if not of all), the titles of name and numbers, and its rows.

    ``whose`` and ``titles`` may hold names, too.
    """

    title: str
    titles: tuple[str, ...]
    lines: tuple[Line, ...]
    whose: str = ""


def sheets(comparison: Comparison) -> list[Sheet]:
    """Figures and classes of every experiment, then mIoU, and IoU of class x step, of every run."""
    runs = comparison.runs
    several = [class_sheet(comparison.groups)] if len(runs) > 1 else []
    return [figure_sheet(comparison), *several, *(sheet for run in runs for sheet in (step_sheet(run), iou_sheet(run)))]


def figure_sheet(comparison: Comparison) -> Sheet:
    """The figures after the last step, mean and standard deviation of repeated runs."""
    columns = figures(comparison)
    lines = [
        Line(
            group.name,
            (str(len(group.runs)), *(column.texts[group.index] for column in columns)),
            frozenset(place for place, column in enumerate(columns, 1) if column.best[group.index]),
        )
        for group in comparison.groups
    ]
    titles = ("run", "n", *(column.title for column in columns))
    return Sheet("After the last step, %", titles, tuple(lines))


def class_sheet(groups: Sequence[Group]) -> Sheet:
    """IoU of each class after the last step of each experiment."""
    classes = dict.fromkeys(name for group in groups for run in group.runs for name in run.last.classes)
    lines = [
        Line(name, tuple(spread_text(spread([run.last.iou.get(name) for run in group.runs])) for group in groups))
        for name in classes
    ]
    return Sheet("IoU after the last step, %", ("class", *(group.name for group in groups)), tuple(lines))


def step_sheet(run: RunRecord) -> Sheet:
    """A run's mean IoUs after each step."""
    lines = [
        Line(label, tuple(percent(scores.miou[figure]) for scores in run.history)) for figure, label in CURVES.items()
    ]
    return Sheet("mIoU after each step, %", ("mean over", *_steps(run)), tuple(lines), run.name)


def iou_sheet(run: RunRecord) -> Sheet:
    """A run's IoU of class x step, and what was forgotten of each class."""
    lines = [
        Line(
            name,
            (
                *(percent(scores.iou[name]) if name in scores.iou else "" for scores in run.history),
                percent(run.last.forgetting[name]) if name in run.last.forgetting else "",
            ),
        )
        for name in run.last.classes
    ]
    return Sheet("IoU after each step, %", ("class", *_steps(run), "forgotten"), tuple(lines), run.name)


def _steps(run: RunRecord) -> tuple[str, ...]:
    return tuple(f"step {scores.step}" for scores in run.history)
