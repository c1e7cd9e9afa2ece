"""Each class by itself: its IoU after every step as a heat map, what was forgotten of it, how experiments differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.evaluation.spread import spread, spread_text
from sats.words import count, names, percent, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sats.report.gather import RunRecord
    from sats.report.groups import Group

    Colours = Mapping[str, str]

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
    colour: str
    begins: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class HeatMap:
    """IoU of class x step of an experiment; ``steps`` says what each column's step learned.

    ``whose`` says of which runs, where they are several.
    """

    steps: tuple[tuple[str, str], ...]
    rows: tuple[HeatRow, ...]
    whose: str


def heat_map(group: Group, colours: Colours) -> HeatMap:
    """IoU of each class after each step: the mean over runs that learned in one order, else that of the first run."""
    run = group.first
    runs = group.runs if group.has_one_order else group.runs[:1]
    learned = run.learned()
    begins = {names_[0] for names_ in learned[1:] if names_}
    rows = [HeatRow(shown(name), colours[name], name in begins, _cells(runs, name)) for name in run.last.classes]
    whose = "" if len(group.runs) == 1 else f"mean of {len(runs)} runs"
    if len(runs) < len(group.runs):
        whose = f"{shown(run.name)} alone: the runs learn in different orders"
    return HeatMap(tuple(_titles(run)), tuple(rows), whose)


def _titles(run: RunRecord) -> Iterator[tuple[str, str]]:
    """A title for each finished step, and what it brought."""
    brought = run.domains or run.learned()
    for scores, names_ in zip(run.history, brought, strict=False):
        yield ("once" if run.is_joint else str(scores.step)), _remark(names_)


def _cells(runs: Sequence[RunRecord], name: str) -> tuple[Cell, ...]:
    """A class's cell for each finished step."""
    return tuple(_cell([run.history[place].iou for run in runs], name) for place in range(len(runs[0].history)))


def _remark(brought: Sequence[str]) -> str:
    return f"learns {', '.join(shown(name, 40) for name in brought[:12])}" if brought else "no new class"


def _cell(ious: Sequence[Mapping[str, float | None]], name: str) -> Cell:
    known = [iou[name] for iou in ious if name in iou]  # unfinished runs of different orders know different classes
    if not known:
        return Cell()
    value = spread(known)
    if value is None:
        return Cell(percent(None))
    tone = next((tone for least, tone in TONES if value.mean >= least), "")
    return Cell(percent(value.mean), round(100 * value.mean, 1), tone)


@dataclass(frozen=True)
class Loss:
    """What is forgotten of a class: texts of the best IoU, of the last, and of their difference (also in percent)."""

    best: str
    last: str
    lost: str
    share: float


@dataclass(frozen=True)
class ForgottenRow:
    """What each experiment forgot of a class; None where it did not know it before its last step."""

    name: str
    colour: str
    losses: tuple[Loss | None, ...]

    @property
    def is_spared(self) -> bool:
        """Whether no experiment lost anything that shows."""
        return not any(loss.share for loss in self.losses if loss is not None)


@dataclass(frozen=True)
class Forgetting:
    """The classes of which something was forgotten, and a sentence on the others (empty: there are none)."""

    rows: tuple[ForgottenRow, ...]
    spared: str


def forgotten(groups: Sequence[Group], colours: Colours) -> Forgetting:
    """What ``groups`` forgot of each class, in their mean the most first."""
    known = dict.fromkeys(name for group in groups for run in group.runs for name in run.last.forgetting)
    ranked = sorted(known, key=lambda name: -_mean_loss(groups, name))
    rows = {
        name: ForgottenRow(shown(name), colours[name], tuple(_loss(group, name) for group in groups)) for name in ranked
    }
    spared = [name for name, row in rows.items() if row.is_spared]
    sentence = f"Nothing was forgotten of {count(len(spared), 'class', 'classes')}: {names(spared)}." if spared else ""
    return Forgetting(tuple(row for row in rows.values() if not row.is_spared), sentence)


def _mean_loss(groups: Sequence[Group], name: str) -> float:
    found = [run.last.forgetting[name] for group in groups for run in group.runs if name in run.last.forgetting]
    return sum(found) / len(found)


def _loss(group: Group, name: str) -> Loss | None:
    known = [run.last for run in group.runs if name in run.last.forgetting and run.last.iou.get(name) is not None]
    lost = spread([scores.forgetting[name] for scores in known])
    now = spread([scores.iou[name] for scores in known])
    if lost is None or now is None:
        return None
    return Loss(percent(now.mean + lost.mean), percent(now.mean), spread_text(lost), round(100 * lost.mean, 1))


# --- experiments side by side -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassRow:
    """A class's IoU after the last step of each experiment: a cell each, and the change from the first's."""

    name: str
    colour: str
    cells: tuple[Cell, ...]
    changes: tuple[str, ...]


def class_differences(groups: Sequence[Group], colours: Colours) -> tuple[ClassRow, ...]:
    """Every class, those first on which ``groups`` differ most; nothing to compare gives no rows."""
    if len(groups) < 2:
        return ()
    known = dict.fromkeys(name for group in groups for run in group.runs for name in run.last.classes)
    ranked = sorted(known, key=lambda name: -_range(groups, name))
    return tuple(_class_row(groups, name, colours[name]) for name in ranked)


def _last_iou(name: str) -> Callable[..., float | None]:
    return lambda run: run.last.iou.get(name)


def _range(groups: Sequence[Group], name: str) -> float:
    means = [value.mean for group in groups if (value := group.spread(_last_iou(name))) is not None]
    return max(means) - min(means) if means else 0.0


def _class_row(groups: Sequence[Group], name: str, colour: str) -> ClassRow:
    values = [group.spread(_last_iou(name)) for group in groups]
    first = values[0]
    cells = tuple(_cell([run.last.iou for run in group.runs], name) for group in groups)
    changes = [
        percent(value.mean - first.mean, "+") if value is not None and first is not None and place else ""
        for place, value in enumerate(values)
    ]
    return ClassRow(shown(name), colour, cells, tuple(changes))
