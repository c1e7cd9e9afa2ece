"""What became of each class's pixels from step to step, read off the confusion matrices of consecutive steps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sats.types import BACKGROUND
from sats.words import percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sats.report.gather import Matrix, RunRecord

MOST_TURNS = 6
"""Of each step; more are many small ones."""
LEAST_TURN = 0.005
"""Share of a class's pixels from which a change is told."""
KINDS = ("still right", "another old class", "a new class", "background")


@dataclass(frozen=True)
class Part:
    """A share of pixels in percent, what they are called (an index into KINDS), and the share as text."""

    kind: int
    share: float
    text: str


@dataclass(frozen=True)
class Turn:
    """Pixels of class ``source`` that are called ``target`` now; ``share`` of the class, ``gain`` in points."""

    source: str
    target: str
    is_new: bool
    share: str
    gain: str
    width: float


@dataclass(frozen=True)
class StepFlow:
    """What a step made of the pixels of the classes known before it, as its model and the one before call them."""

    step: int
    before: tuple[Part, ...]
    after: tuple[Part, ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Shift:
    """Shares, in 0..1, of pixels of classes that are called background after a step; None where there are no such."""

    step: int
    old: float | None
    new: float | None


def flows(run: RunRecord) -> list[StepFlow]:
    """What each step after the first made of the old classes; those whose matrices are not there are left out."""
    steps = zip(pairwise(run.confusions), run.history[1:], strict=True)
    return [
        _flow(scores.step, scores.classes, before, after)
        for (before, after), scores in steps
        if before is not None and after is not None
    ]


def _flow(step: int, classes: tuple[str, ...], before: Matrix, after: Matrix) -> StepFlow:
    return StepFlow(
        step,
        _parts(before, len(before)),
        _parts(after, len(before)),
        _turns(classes, _called(before), _called(after)),
    )


def _parts(matrix: Matrix, num_old: int) -> tuple[Part, ...]:
    """What the pixels of the first ``num_old`` classes are called, background aside; none where there are no pixels."""
    old = matrix[BACKGROUND + 1 : num_old]
    total = int(old.sum())
    if not total:
        return ()
    right = int(np.trace(old[:, BACKGROUND + 1 :]))
    new, background = int(old[:, num_old:].sum()), int(old[:, BACKGROUND].sum())
    pixels = (right, total - right - new - background, new, background)
    return tuple(Part(kind, 100 * number / total, percent(number / total)) for kind, number in enumerate(pixels))


def _called(matrix: Matrix) -> NDArray[np.float64]:
    """The shares of each class's pixels by what they are called: rows sum to 1, or to 0 without a pixel."""
    shares: NDArray[np.float64] = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return shares


def _turns(classes: tuple[str, ...], before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[Turn, ...]:
    """The largest gains of wrong names by old classes, the largest first."""
    known = len(before)
    gains = after[:known].copy()
    gains[:, :known] -= before
    np.fill_diagonal(gains, 0)
    gains[BACKGROUND] = 0
    ranked = np.argsort(-gains.round(6), axis=None, kind="stable")  # what looks equal stays in the classes' order
    rows, columns = np.unravel_index(ranked[:MOST_TURNS], gains.shape)
    places = list(zip(rows.tolist(), columns.tolist(), strict=True))
    return tuple(
        Turn(
            classes[row],
            classes[column],
            column >= known,
            percent(float(after[row, column])),
            percent(float(gains[row, column]), "+"),
            round(100 * float(gains[row, column]), 1),
        )
        for row, column in places
        if gains[row, column] >= LEAST_TURN
    )


def background_shift(run: RunRecord) -> list[Shift]:
    """How much of old and new classes each step's model calls background; nothing where none ever does."""
    known = [BACKGROUND + 1, *(len(scores.classes) for scores in run.history)]
    shifts = [
        Shift(scores.step, _background(matrix, BACKGROUND + 1, old), _background(matrix, old, len(matrix)))
        for scores, matrix, old in zip(run.history, run.confusions, known[:-1], strict=True)
        if matrix is not None
    ]
    return shifts if any(shift.old or shift.new for shift in shifts) else []


def _background(matrix: Matrix, first: int, end: int) -> float | None:
    """The share of the pixels of some classes that is called background; None where they have no pixel."""
    rows = matrix[first:end]
    total = int(rows.sum())
    return int(rows[:, BACKGROUND].sum()) / total if total else None
