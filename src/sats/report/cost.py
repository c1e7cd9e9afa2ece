"""How long each step trained, and what memory that took, as far as metrics.jsonl tells."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sats.words import NOTHING, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.report.gather import LoggedLoss, RunRecord


@dataclass(frozen=True)
class Cost:
    """The iterations of a step, or of all, the time they took in words, the median speed in images a second.

    ``memory`` is the most that was logged, in MiB.
    """

    step: str
    iterations: int
    time: str
    speed: str
    memory: str


def costs(run: RunRecord) -> list[Cost]:
    """What each step's training cost, and all of it where there are several; none where no speed was logged."""
    by_step: dict[int, list[LoggedLoss]] = {}
    for logged in sorted(run.losses, key=lambda logged: (logged.step, logged.iteration)):
        if logged.speed:
            by_step.setdefault(logged.step, []).append(logged)
    batch_size = run.config.train.batch_size
    rows = [_cost(str(step), [logged], batch_size) for step, logged in by_step.items()]
    return [*rows, _cost("all", list(by_step.values()), batch_size)] if len(rows) > 1 else rows


def _cost(title: str, steps: Sequence[Sequence[LoggedLoss]], batch_size: int) -> Cost:
    iterations = sum(logged[-1].iteration for logged in steps)
    seconds = sum(_seconds(logged, batch_size) for logged in steps)
    speed = statistics.median(line.speed for logged in steps for line in logged if line.speed)
    memory = max((line.memory for logged in steps for line in logged if line.memory), default=None)
    return Cost(title, iterations, duration(seconds), f"{speed:.1f}", NOTHING if memory is None else f"{memory:,}")


def _seconds(logged: Sequence[LoggedLoss], batch_size: int) -> float:
    """How long a step took: each logged line says how fast the iterations since the line before went."""
    done = [0, *(line.iteration for line in logged)]
    lines = zip(pairwise(done), logged, strict=True)
    return sum(batch_size * (now - before) / line.speed for (before, now), line in lines if line.speed)
