"""How long each step trained, as far as metrics.jsonl tells."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.report.gather import LoggedLoss, RunRecord


@dataclass(frozen=True)
class Cost:
    """A step's iterations, the time they took in words, and the median speed in images a second."""

    step: int
    iterations: int
    time: str
    speed: str


def costs(run: RunRecord) -> list[Cost]:
    """What each step's training cost; none where no speed was logged."""
    by_step: dict[int, list[LoggedLoss]] = {}
    for logged in sorted(run.losses, key=lambda logged: (logged.step, logged.iteration)):
        if logged.speed:
            by_step.setdefault(logged.step, []).append(logged)
    return [_cost(step, logged, run.config.train.batch_size) for step, logged in by_step.items()]


def _cost(step: int, logged: Sequence[LoggedLoss], batch_size: int) -> Cost:
    """Each logged line says how fast the iterations since the line before went."""
    seconds, done = 0.0, 0
    for line in logged:
        seconds += batch_size * (line.iteration - done) / (line.speed or 1.0)
        done = line.iteration
    speed = statistics.median(line.speed for line in logged if line.speed)
    return Cost(step, done, in_words(seconds), f"{speed:.1f}")


def in_words(seconds: float) -> str:
    """A time as one would say it: "48 s", "3 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
