"""Several values of one figure, of runs that differ in seed or class order: mean and deviation."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.words import NOTHING, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

REPEATS = ("seed", "stream.order_seed")
"""The settings in which repetitions of one experiment differ."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample; None for one value) of ``number`` values, in 0..1."""

    mean: float
    deviation: float | None
    number: int


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean and standard deviation of those values that are defined; None if none is."""
    defined = [value for value in values if value is not None]
    if not defined:
        return None
    deviation = statistics.stdev(defined) if len(defined) > 1 else None
    return Spread(statistics.fmean(defined), deviation, len(defined))


def spread_text(figure: Spread | None, sign: str = "") -> str:
    """Mean and standard deviation in percent; a dash where there is nothing."""
    if figure is None:
        return NOTHING
    deviation = "" if figure.deviation is None else f" ±{percent(figure.deviation)}"
    return f"{percent(figure.mean, sign)}{deviation}"
