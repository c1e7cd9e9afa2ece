"""Line charts as plain geometry; templates/charts.html.j2 draws it.

Not by matplotlib: lines and inks that follow the reader's light or dark page, and text that stays text, are shorter by
hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.words import percent, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sats.report.gather import LoggedLoss, RunRecord

Point = tuple[float, float]
Tick = tuple[float, str]

WIDTH, HEIGHT = 360.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 36.0, 42.0, 12.0, 36.0
"""Margins: for the ticks of y, the last values, the highest line, and the ticks and title of x."""
TEXT_HEIGHT = 13.0
LOSS_POINTS = 240
"""Points of a loss curve; more would be wider than the picture."""
CURVES = {"all": "all classes", "old": "old classes", "new": "new classes"}


@dataclass(frozen=True)
class Series:
    """Values over x to draw in style ``style``; with ``is_level`` one value, drawn right across."""

    name: str
    style: int
    points: tuple[Point, ...]
    is_level: bool = False


@dataclass(frozen=True)
class Axes:
    """What a chart's axes say, and with how many ``decimals`` its values are written."""

    x_title: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[float]
    decimals: int


@dataclass(frozen=True)
class Line:
    """A series in the picture's units; ``end`` is the place and text of its last value."""

    name: str
    style: int
    path: str
    marks: tuple[tuple[float, float, str], ...]
    end: tuple[float, float, str]
    is_level: bool


@dataclass(frozen=True)
class Chart:
    """A line chart in the picture's units, ``width`` x ``height``; the plot itself is within left to right."""

    title: str
    x_title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True)
class Scale:
    """Maps values from 0 to ``x_max`` and from ``y_min`` to ``y_max`` to places in the picture."""

    x_max: float
    y_min: float
    y_max: float

    def place(self, point: Point) -> Point:
        """The place of a point, to a tenth of a pixel."""
        x, y = point
        across = LEFT + (WIDTH - LEFT - RIGHT) * (x / self.x_max if self.x_max else 0.0)
        down = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - self.y_min) / (self.y_max - self.y_min)
        return round(across, 1), round(down, 1)


def round_ticks(values: Sequence[float]) -> list[float]:
    """A few round numbers, 0 among them, that ``values`` lie between."""
    lowest, highest = min([0.0, *values]), max([0.0, *values])
    if lowest == highest:
        return [0.0, 1.0]
    unit = 10.0 ** math.floor(math.log10(highest - lowest))
    step = next(size * unit for size in (0.2, 0.25, 0.5, 1.0, 2.0) if highest - lowest <= 5 * size * unit * (1 + 1e-9))
    first, last = math.floor(lowest / step + 1e-9), math.ceil(highest / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def chart(title: str, series: Sequence[Series], axes: Axes) -> Chart:
    """The chart of ``series``, none of which lies outside the ticks of y."""
    longest = max((x for one in series for x, _ in one.points), default=0.0)
    scale = Scale(max([longest, *(x for x, _ in axes.x_ticks)]), axes.y_ticks[0], axes.y_ticks[-1])
    lines = [_line(one, scale, axes.decimals) for one in series if one.points]
    return Chart(
        title,
        axes.x_title,
        tuple(_spread(lines)),
        tuple((scale.place((x, 0.0))[0], text) for x, text in axes.x_ticks),
        tuple((scale.place((0.0, y))[1], f"{y:g}") for y in axes.y_ticks),
    )


def _line(series: Series, scale: Scale, decimals: int) -> Line:
    values = series.points
    if series.is_level:
        values = ((0.0, values[-1][1]), (scale.x_max, values[-1][1]))
    places = [scale.place(point) for point in values]
    path = " ".join(f"{x:g},{y:g}" for x, y in places)
    texts = [f"{y:.{decimals}f}" for _, y in values]
    marks = tuple((x, y, text) for (x, y), text in zip(places, texts, strict=True))
    return Line(shown(series.name), series.style, path, marks, marks[-1], series.is_level)


def _spread(lines: Sequence[Line]) -> list[Line]:
    """The same lines with their last values moved apart, so that none is written over another."""
    order = sorted(range(len(lines)), key=lambda index: (lines[index].end[1], index))
    heights: dict[int, float] = {}
    lowest = -math.inf
    for index in order:
        lowest = heights[index] = max(lines[index].end[1], lowest + TEXT_HEIGHT)
    limit = HEIGHT - BOTTOM
    for index in reversed(order):
        limit = heights[index] = min(heights[index], limit)
        limit -= TEXT_HEIGHT
    return [_moved(line, heights[index]) for index, line in enumerate(lines)]


def _moved(line: Line, height: float) -> Line:
    x, _, text = line.end
    return Line(line.name, line.style, line.path, line.marks, (x, round(height, 1), text), line.is_level)


# --- the charts of the report -----------------------------------------------------------------------------------------


def curves(runs: Sequence[RunRecord]) -> list[Chart]:
    """Curves of mIoU in percent: of several runs a chart each for all, old and new classes, of one all in one.

    Joint training has one step and is a level line. Nothing where no run has two steps.
    """
    last = max(run.last.step for run in runs)
    if not last:
        return []
    panels = _panels(runs)
    heights = [y for panel in panels.values() for one in panel for _, y in one.points]
    axes = Axes("step", _step_ticks(last), round_ticks(heights), decimals=1)
    return [chart(title, panel, axes) for title, panel in panels.items()]


def _panels(runs: Sequence[RunRecord]) -> dict[str, list[Series]]:
    if len(runs) == 1:
        lines = [_curve(runs[0], figure, name, style) for style, (figure, name) in enumerate(CURVES.items())]
        return {"mIoU, %": lines}
    return {
        f"{title}, mIoU in %": [_curve(run, figure, run.name, style) for style, run in enumerate(runs)]
        for figure, title in CURVES.items()
    }


def _curve(run: RunRecord, figure: str, name: str, style: int) -> Series:
    values = [(float(scores.step), scores.miou[figure]) for scores in run.history]
    points = tuple((step, 100 * value) for step, value in values if value is not None)
    return Series(name, style, points, is_level=run.is_joint)


def _step_ticks(last: int) -> list[Tick]:
    stride = 1 + last // 13
    return [(float(step), str(step)) for step in range(0, last + 1, stride)]


def loss_chart(run: RunRecord) -> Chart | None:
    """The terms of the loss over all iterations, ticks where steps begin; None where nothing was logged."""
    if not run.losses:
        return None
    begins = step_begins(run.losses)
    total = max(begins[loss.step] + loss.iteration for loss in run.losses)
    terms = dict.fromkeys(term for loss in run.losses for term in loss.terms)
    series = [
        Series(term, style, tuple(_averaged(_positions(run.losses, begins, term), total / LOSS_POINTS)))
        for style, term in enumerate(terms)
    ]
    ticks = _apart([(float(x), str(step)) for step, x in begins.items()], total / 20)
    heights = [y for one in series for _, y in one.points]
    return chart(shown(run.name), series, Axes("step, where it begins", ticks, round_ticks(heights), decimals=3))


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


def curve_numbers(runs: Sequence[RunRecord]) -> Numbers:
    """What the curves show, in percent."""
    last = max(run.last.step for run in runs)
    rows = []
    for run in runs:
        for figure, label in CURVES.items():
            texts = [percent(scores.miou[figure]) for scores in run.history]
            filled = (*texts, *[""] * (last + 1 - len(texts)))
            rows.append((label if len(runs) == 1 else f"{shown(run.name)}: {label}", filled))
    return Numbers(tuple(str(step) for step in range(last + 1)), tuple(rows))


def loss_numbers(run: RunRecord) -> Numbers:
    """Each term as it was logged last in each step."""
    finals = {loss.step: loss.terms for loss in sorted(run.losses, key=lambda loss: (loss.step, loss.iteration))}
    terms = dict.fromkeys(term for values in finals.values() for term in values)
    rows = [
        (shown(term), tuple(f"{values[term]:.3f}" if term in values else "" for values in finals.values()))
        for term in terms
    ]
    return Numbers(tuple(str(step) for step in finals), tuple(rows))
