"""The table of figures: every mean that the field reports, with its meaning, a row for each experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.evaluation.scores import backward_transfer, mean
from sats.evaluation.spread import spread_text
from sats.words import NOTHING, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.evaluation.spread import Spread
    from sats.report.comparison import Comparison
    from sats.report.gather import RunRecord
    from sats.report.groups import Figure, Group

TRANSFER = "backward transfer"
"""The one figure that may be a gain or a loss, and so carries a sign."""


@dataclass(frozen=True)
class Kind:
    """A figure of a run after its last step: its short title, and what it means."""

    title: str
    figure: Figure
    meaning: str

    @property
    def sign(self) -> str:
        """What marks a gain."""
        return "+" if self.title == TRANSFER else ""


@dataclass(frozen=True)
class Column:
    """A figure of every experiment: title, meaning, values, a text each, and which of them are the best."""

    title: str
    meaning: str
    values: tuple[Spread | None, ...]
    texts: tuple[str, ...]
    best: tuple[bool, ...]


def kinds(comparison: Comparison) -> list[Kind]:
    """Every figure there is."""
    return [
        Kind("all", lambda run: run.last.miou["all"], "mean IoU of every class learned so far, background included"),
        Kind("old", lambda run: run.last.miou["old"], "mean IoU of the classes of step 0, background included"),
        Kind("old kept", lambda run: run.kept, "old as a share of what it was after step 0"),
        Kind(
            "old, no background",
            lambda run: run.last.miou["old_without_background"],
            "the same mean without the background, which is easy and hides what is lost",
        ),
        Kind("new", lambda run: run.last.miou["new"], "mean IoU of the classes of all later steps"),
        Kind("hIoU", lambda run: run.last.miou["hiou"], "harmonic mean of old and new: high only if both are"),
        Kind("avg", lambda run: run.last.miou["avg"], "mean of “all” over the steps so far"),
        Kind(
            "forgetting",
            lambda run: mean(run.last.forgetting.values()),
            "mean over the classes known before the last step of best IoU so far minus IoU now, in points",
        ),
        Kind(
            TRANSFER,
            lambda run: backward_transfer(run.history),
            "mean change of a class's IoU since it was learned, background aside, in points; below 0 is forgetting",
        ),
        Kind("of joint", comparison.ratio, "“all” as a share of what training on everything at once reaches"),
        Kind("in common", lambda run: _common_mean(comparison, run), "mean IoU of the classes that all runs know"),
    ]


def figures(comparison: Comparison) -> list[Column]:
    """The figures after each experiment's last step, those that none has left out."""
    wanted = [kind for kind in kinds(comparison) if kind.title != "old" or has_old(comparison.groups)]
    columns = [_column(comparison, kind) for kind in wanted]
    return [column for column in columns if any(text != NOTHING for text in column.texts)]


def has_old(groups: Sequence[Group]) -> bool:
    """Whether there are classes beside the old ones; where domains arrive old classes are all."""
    return any(group.is_joint or group.first.adds_classes for group in groups)


def _common_mean(comparison: Comparison, run: RunRecord) -> float | None:
    if comparison.same_classes or len(comparison.common) < 2:
        return None
    return mean(run.last.iou[name] for name in comparison.common)


def _column(comparison: Comparison, kind: Kind) -> Column:
    values = tuple(group.spread(kind.figure) for group in comparison.groups)
    texts = tuple(spread_text(value, kind.sign) for value in values)
    best = _best(comparison.groups, values, kind) if not comparison.obstacles else (False,) * len(values)
    return Column(kind.title, kind.meaning, values, texts, best)


def _best(groups: Sequence[Group], values: Sequence[Spread | None], kind: Kind) -> tuple[bool, ...]:
    """Which values are the best, to the digit shown; upper bounds do not compete, nor does one alone."""
    rivals = [value.mean for group, value in zip(groups, values, strict=True) if value and not group.is_joint]
    if len(rivals) < 2:
        return (False,) * len(values)
    best = percent(min(rivals) if kind.title == "forgetting" else max(rivals))
    return tuple(
        value is not None and not group.is_joint and percent(value.mean) == best
        for group, value in zip(groups, values, strict=True)
    )
