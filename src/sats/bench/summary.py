"""Results of cells that differ in seed or class order only, as means and spreads."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sats.bench.gather import FIGURES
from sats.bench.naming import short_names
from sats.evaluation.spread import REPEATS, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sats.bench.gather import Result
    from sats.evaluation.spread import Spread

TASKS = ("recipe", "data.", "stream.", "evaluation.")
"""Settings that make another task, on which figures do not compare with those of the others."""
REFERENCE = "finetune"
"""The method whose time is 1."""
LESS_IS_BETTER = ("forgetting",)


@dataclass(frozen=True)
class Row:
    """The finished ones of ``planned`` cells of one variant at one point of the grid; None where undefined.

    ``time`` is the median time of an iteration over that of the reference at the same point. ``best`` names the
    figures in which no other variant of the same task is better; upper bounds do not compete.
    """

    variant: str
    values: Mapping[str, Any]
    planned: int
    finished: int
    figures: Mapping[str, Spread | None]
    seconds: float | None
    time: float | None = None
    best: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Summary:
    """The rows of a sweep, and by which settings, under their short names, they differ beside the variant."""

    axes: Mapping[str, str]
    rows: tuple[Row, ...]


def summarise(results: Sequence[Result]) -> Summary:
    """A row for each variant at each point of the grid, in the order of the results."""
    axes = short_names(name for name in _varied(results) if name not in REPEATS)
    grouped: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        grouped[_key(result.variant, {name: result.values.get(name) for name in axes})].append(result)
    rows = [_row(group, axes) for group in grouped.values()]
    bounds = {result.variant for result in results if result.is_bound}
    reference = {
        _key("", row.values): row.seconds
        for row, group in zip(rows, grouped.values(), strict=True)
        if group[0].method == REFERENCE and row.variant == _reference(results)
    }
    return Summary(
        axes,
        tuple(_compared(row, [other for other in rows if other.variant not in bounds], reference) for row in rows),
    )


def _varied(results: Sequence[Result]) -> list[str]:
    """The settings of the grids that have more than one value over the whole sweep."""
    names = dict.fromkeys(name for result in results for name in result.values)
    return [name for name in names if len({json.dumps(result.values.get(name)) for result in results}) > 1]


def _key(variant: str, values: Mapping[str, Any]) -> str:
    return json.dumps([variant, values], sort_keys=True)


def _reference(results: Sequence[Result]) -> str:
    """The variant of the reference method: the first, should there be several."""
    return next((result.variant for result in results if result.method == REFERENCE), "")


def _row(group: Sequence[Result], axes: Mapping[str, str]) -> Row:
    done = [result for result in group if result.is_done]
    figures = [result.figures() for result in done]
    times = [result.seconds for result in done if result.seconds is not None]
    return Row(
        variant=group[0].variant,
        values={name: group[0].values[name] for name in axes if name in group[0].values},
        planned=len(group),
        finished=len(done),
        figures={name: spread([values[name] for values in figures]) for name in FIGURES},
        seconds=statistics.median(times) if times else None,
    )


def _compared(row: Row, rivals: Sequence[Row], reference: Mapping[str, float | None]) -> Row:
    """``row`` beside the others: its time over the reference's, the figures in which it is best."""
    base = reference.get(_key("", row.values))
    same_task = [other for other in rivals if _task(other) == _task(row)]
    best = {name for name in FIGURES if row in same_task and _is_best(name, row, same_task)}
    time = row.seconds / base if row.seconds is not None and base else None
    return dataclasses.replace(row, time=time, best=frozenset(best))


def _task(row: Row) -> str:
    return _key("", {name: value for name, value in row.values.items() if name.startswith(TASKS)})


def _is_best(name: str, row: Row, rivals: Sequence[Row]) -> bool:
    """Whether nobody's mean is better, and somebody's is worse, to the tenth of a percent that is shown."""
    sign = -1 if name in LESS_IS_BETTER else 1
    means = [sign * round(figure.mean, 3) for rival in rivals if (figure := rival.figures[name])]
    own = row.figures[name]
    return own is not None and sign * round(own.mean, 3) == max(means) > min(means)
