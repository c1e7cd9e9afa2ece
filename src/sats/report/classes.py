"""Each class by itself: its IoU after every step as a heat map, and what was forgotten of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.words import count, names, percent, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.evaluation.scores import Scores
    from sats.report.gather import RunRecord

TONES = ((0.66, "strong"), (0.53, "middle"))
"""From these IoUs on a cell's colour is so strong that its number needs the other ink: on any page, on a dark one."""


@dataclass(frozen=True)
class Cell:
    """A class's IoU after a step: ``share`` in percent for the colour (None: no figure), ``tone`` for the ink."""

    text: str = ""
    share: float | None = None
    tone: str = ""


@dataclass(frozen=True)
class HeatRow:
    """A class through all steps; ``begins`` where it is the first that its step learned."""

    name: str
    begins: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class HeatMap:
    """IoU of class x step of one run; ``steps`` says what each column's step learned."""

    steps: tuple[tuple[str, str], ...]
    rows: tuple[HeatRow, ...]


def heat_map(run: RunRecord) -> HeatMap:
    """IoU of each class after each step."""
    groups = run.learned()
    titles = [("once" if run.is_joint else str(scores.step)) for scores in run.history]
    brought = run.domains or groups
    remarks = [f"learns {', '.join(shown(name, 40) for name in group[:12])}" for group in brought[: len(groups)]]
    begins = {group[0] for group in groups[1:] if group}
    rows = [
        HeatRow(shown(name), name in begins, tuple(_cell(scores, name) for scores in run.history))
        for name in run.last.classes
    ]
    return HeatMap(tuple(zip(titles, remarks, strict=True)), tuple(rows))


def _cell(scores: Scores, name: str) -> Cell:
    if name not in scores.iou:
        return Cell()
    value = scores.iou[name]
    if value is None:
        return Cell(percent(None))
    tone = next((tone for least, tone in TONES if value >= least), "")
    return Cell(percent(value), round(100 * value, 1), tone)


@dataclass(frozen=True)
class Loss:
    """What one run forgot of a class: texts of the best IoU, of the last, and of their difference (also in percent)."""

    best: str
    last: str
    lost: str
    share: float


@dataclass(frozen=True)
class ForgottenRow:
    """What each run forgot of a class; None where a run did not know it before its last step."""

    name: str
    losses: tuple[Loss | None, ...]

    @property
    def is_spared(self) -> bool:
        """Whether no run lost anything that shows."""
        return not any(loss.share for loss in self.losses if loss is not None)


@dataclass(frozen=True)
class Forgetting:
    """The classes of which something was forgotten, and a sentence on the others (empty: there are none)."""

    rows: tuple[ForgottenRow, ...]
    spared: str


def forgotten(runs: Sequence[RunRecord]) -> Forgetting:
    """What ``runs`` forgot of each class, in their mean the most first."""
    known = dict.fromkeys(name for run in runs for name in run.last.forgetting)
    ranked = sorted(known, key=lambda name: -_mean_loss(runs, name))
    rows = {name: ForgottenRow(shown(name), tuple(_loss(run.last, name) for run in runs)) for name in ranked}
    spared = [name for name, row in rows.items() if row.is_spared]
    sentence = f"Nothing was forgotten of {count(len(spared), 'class', 'classes')}: {names(spared)}." if spared else ""
    return Forgetting(tuple(row for row in rows.values() if not row.is_spared), sentence)


def _mean_loss(runs: Sequence[RunRecord], name: str) -> float:
    found = [run.last.forgetting[name] for run in runs if name in run.last.forgetting]
    return sum(found) / len(found)


def _loss(scores: Scores, name: str) -> Loss | None:
    now = scores.iou.get(name)
    if name not in scores.forgetting or now is None:
        return None
    lost = scores.forgetting[name]
    return Loss(percent(now + lost), percent(now), percent(lost), round(100 * lost, 1))
