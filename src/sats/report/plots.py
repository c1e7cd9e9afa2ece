"""Which values a report's charts and tables of numbers show; drawing.py draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.evaluation.spread import spread, spread_text
from sats.report.drawing import Axes, Chart, Series, chart, round_ticks
from sats.report.figures import has_old
from sats.words import NOTHING, percent, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sats.report.drawing import Point, Tick
    from sats.report.flows import Shift
    from sats.report.gather import LoggedLoss, RunRecord
    from sats.report.groups import Group

LOSS_POINTS = 240
"""Points of a loss curve; more would be wider than the picture."""
CURVES = {"all": "all classes", "old": "old classes", "new": "new classes"}
SHIFTS: dict[str, Callable[[Shift], float | None]] = {
    "classes known before the step": lambda shift: shift.old,
    "classes the step learned": lambda shift: shift.new,
}


# --- the charts of the report -----------------------------------------------------------------------------------------


def curves(groups: Sequence[Group]) -> list[Chart]:
    """Curves of mIoU in percent: of several experiments a chart each for all, old and new classes, of one all in one.

    Joint training has one step and is a level line. Nothing where no run has two steps.
    """
    last = max(group.first.last.step for group in groups)
    if not last:
        return []
    panels = {title: [one for one in panel if one.points] for title, panel in _panels(groups).items()}
    panels = {title: panel for title, panel in panels.items() if panel}
    heights = [y for panel in panels.values() for one in panel for _, y in (*one.points, *one.band)]
    axes = Axes("step", _step_ticks(last), round_ticks(heights), decimals=1)
    return [chart(title, panel, axes) for title, panel in panels.items()]


def _shown_curves(groups: Sequence[Group]) -> dict[str, str]:
    return {figure: title for figure, title in CURVES.items() if figure != "old" or has_old(groups)}


def _panels(groups: Sequence[Group]) -> dict[str, list[Series]]:
    titles = _shown_curves(groups)
    if len(groups) == 1:
        return {"mIoU, %": [_curve(groups[0], *title, style) for style, title in enumerate(titles.items())]}
    return {
        f"{title}, mIoU in %": [_curve(group, figure, group.name, group.index) for group in groups]
        for figure, title in titles.items()
    }


def _curve(group: Group, figure: str, name: str, style: int) -> Series:
    """The mean over the group's runs after each step, and the range they cover."""
    points, band = [], []
    for scores in group.first.history:
        values = _values(group, figure, scores.step)
        if values:
            points.append((float(scores.step), 100 * sum(values) / len(values)))
            band.append((100 * min(values), 100 * max(values)))
    return Series(shown(name), style, tuple(points), group.is_joint, tuple(band) if len(group.runs) > 1 else ())


def _values(group: Group, figure: str, step: int) -> list[float]:
    found = [run.history[step].miou[figure] for run in group.runs]
    return [value for value in found if value is not None]


def _step_ticks(last: int) -> list[Tick]:
    stride = 1 + last // 13
    return [(float(step), str(step)) for step in range(0, last + 1, stride)]


def shift_chart(shifts: Sequence[Shift]) -> Chart | None:
    """How much of old and new classes is called background after each step; None where nothing is known of it."""
    if not shifts:
        return None
    series = [
        Series(name, style, _shift_points([(shift.step, value(shift)) for shift in shifts]))
        for style, (name, value) in enumerate(SHIFTS.items())
    ]
    heights = [y for one in series for _, y in one.points]
    axes = Axes("step", _step_ticks(shifts[-1].step), round_ticks(heights), decimals=1)
    return chart("called background, % of pixels", series, axes)


def _shift_points(values: Sequence[tuple[int, float | None]]) -> tuple[Point, ...]:
    return tuple((float(step), 100 * value) for step, value in values if value is not None)


def loss_chart(run: RunRecord) -> Chart | None:
    """The terms of the loss over all iterations, ticks where steps begin; None where nothing was logged."""
    if not run.losses:
        return None
    begins = step_begins(run.losses)
    total = max(begins[loss.step] + loss.iteration for loss in run.losses)
    terms = dict.fromkeys(term for loss in run.losses for term in loss.terms)
    series = [
        Series(shown(term), style, tuple(_averaged(_positions(run.losses, begins, term), total / LOSS_POINTS)))
        for style, term in enumerate(terms)
    ]
    ticks = _apart([(float(x), str(step)) for step, x in begins.items()], total / 20)
    heights = [y for one in series for _, y in one.points]
    axes = Axes("step, where it begins", ticks, round_ticks(heights), decimals=3)
    return chart(shown(run.name), series, axes, is_marked=False)


def step_begins(losses: Iterable[LoggedLoss]) -> dict[int, int]:
    """How many iterations came before each logged step."""
    lengths: dict[int, int] = {}
    for loss in losses:
        lengths[loss.step] = max(loss.iteration, lengths.get(loss.step, 0))
    begins, before = {}, 0
    for step in sorted(lengths):
        begins[step] = before
        before += lengths[step]
    return begins


def _apart(ticks: Sequence[Tick], distance: float) -> list[Tick]:
    """The same ticks, without the text of those nearer than ``distance`` to the text before."""
    thinned: list[Tick] = []
    free_from = -math.inf
    for x, text in ticks:
        thinned.append((x, text if x >= free_from else ""))
        free_from = x + distance if x >= free_from else free_from
    return thinned


def _positions(losses: Iterable[LoggedLoss], begins: dict[int, int], term: str) -> list[Point]:
    found = [(begins[loss.step] + loss.iteration, loss.terms[term]) for loss in losses if term in loss.terms]
    return [(float(x), y) for x, y in sorted(found)]


def _averaged(points: Sequence[Point], width: float) -> list[Point]:
    """The mean of the points in each stretch of ``width`` iterations."""
    stretches: dict[int, list[Point]] = {}
    for x, y in points:
        stretches.setdefault(int(x / max(width, 1.0)), []).append((x, y))
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in stretches.values()
    ]


# --- their numbers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbers:
    """A table: titles of the columns, and rows of a name and texts."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def curve_numbers(groups: Sequence[Group]) -> Numbers:
    """What the curves show, in percent; of several runs mean and standard deviation."""
    last = max(group.first.last.step for group in groups)
    rows = []
    for group in groups:
        for figure, label in _shown_curves(groups).items():
            texts = [spread_text(spread(_values(group, figure, step))) for step in range(len(group.first.history))]
            filled = (*texts, *[""] * (last + 1 - len(texts)))
            if any(text not in ("", NOTHING) for text in filled):
                rows.append((label if len(groups) == 1 else f"{shown(group.name)}: {label}", filled))
    return Numbers(tuple(str(step) for step in range(last + 1)), tuple(rows))


def shift_numbers(shifts: Sequence[Shift]) -> Numbers:
    """What the curves of the background's shift show, in percent."""
    rows = [(name, tuple(percent(value(shift)) for shift in shifts)) for name, value in SHIFTS.items()]
    shown_rows = [row for row in rows if any(text != NOTHING for text in row[1])]
    return Numbers(tuple(str(shift.step) for shift in shifts), tuple(shown_rows))


def loss_numbers(run: RunRecord) -> Numbers:
    """Each term as it was logged last in each step."""
    finals = {loss.step: loss.terms for loss in sorted(run.losses, key=lambda loss: (loss.step, loss.iteration))}
    terms = dict.fromkeys(term for values in finals.values() for term in values)
    rows = [
        (shown(term), tuple(f"{values[term]:.3f}" if term in values else "" for values in finals.values()))
        for term in terms
    ]
    return Numbers(tuple(str(step) for step in finals), tuple(rows))
