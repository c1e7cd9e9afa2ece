"""Every figure of the field, from a confusion matrix and the scores of the steps before."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, cast

from sats.documents import is_a, read_json
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


MEANS = ("all", "old", "old_without_background", "new", "avg", "hiou")
"""The names of the means over classes."""


ROUNDING = 1e-9


class _Stored(TypedDict):
    """What scores.json says."""

    step: int
    classes: list[str]
    iou: dict[str, float | None]
    pixels: dict[str, int]
    miou: dict[str, float | None]
    forgetting: dict[str, float]


@dataclass(frozen=True)
class Scores:
    """The scores after one step; figures in 0..1, None where undefined.

    ``iou``: intersection over union of each class, None where the test set has no pixel of it. ``pixels``: ground-truth
    pixels of each class. ``miou``: "all" (every class seen, background included), "old" (the classes of step 0),
    "old_without_background", "new" (classes of later steps), "avg" (mean of "all" over the steps so far) and "hiou"
    (harmonic mean of old and new). ``forgetting``: for each class known before this step, its best IoU so far minus
    its IoU now, over the steps that were `measured_alike`.
    """

    step: int
    classes: tuple[str, ...]
    iou: dict[str, float | None]
    pixels: dict[str, int]
    miou: dict[str, float | None]
    forgetting: dict[str, float]

    def to_json(self) -> str:
        """The scores as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    def measured_alike(self, other: Scores) -> bool:
        """Whether IoUs compare: where one was measured with the background and one without, wrong pixels differ."""
        return self._has_background == other._has_background

    @property
    def _has_background(self) -> bool:
        return self.pixels[self.classes[BACKGROUND]] > 0

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The classes left out of every mean, because the test set has no pixel of them."""
        return tuple(name for name in self.classes if self.iou[name] is None)


def read_scores(path: Path) -> Scores:
    """The scores in the file ``path``; ValueError if it holds none."""
    values = read_json(path)
    try:
        return scores_of(values)
    except ValueError as error:
        fix = "put back what sats wrote, or remove its step to train that again"
        raise ValueError(f"{path} holds no scores: {fix}.") from error


def scores_of(values: Any) -> Scores:
    """The scores that JSON's ``values`` are; ValueError if they are none."""
    if not _holds_scores(values):
        raise ValueError("These are not scores.")
    return Scores(**{**values, "classes": tuple(values["classes"])})


def _holds_scores(values: object) -> bool:
    """Whether the JSON ``values`` are what `Scores.to_json` writes: every figure, of known classes, from 0 to 1."""
    if not is_a(values, _Stored):
        return False
    stored = cast("_Stored", values)
    names = set(stored["classes"])
    figures = (*stored["iou"].values(), *stored["miou"].values(), *stored["forgetting"].values())
    return (
        0 < len(names) == len(stored["classes"])
        and stored["iou"].keys() == stored["pixels"].keys() == names >= stored["forgetting"].keys()
        and stored["miou"].keys() == set(MEANS)
        and all(value is None or -ROUNDING <= value <= 1 + ROUNDING for value in figures)
    )


def compute_scores(
    confusion: NDArray[np.int64],
    classes: Sequence[str],
    step: int,
    num_first: int,
    history: Sequence[Scores] = (),
    later: NDArray[np.int64] | None = None,
    agreement: bool = False,
) -> Scores:
    """The scores of ``confusion`` [C, C] (rows: truth), whose first ``num_first`` ``classes`` are those of step 0.

    ``history`` holds the scores of the earlier steps, in order. Classes beyond ``num_first`` are
    measured by the matrix ``later`` [C, C] where there is one. With ``agreement``, the truth of the others is what
    another model answers: no mean mixes that with labels, so "all", "avg" and "hiou" are None.
    """
    iou = class_iou(confusion, classes)
    pixels = dict(zip(classes, confusion.sum(axis=1).tolist(), strict=True))
    if later is not None:
        for place, (name, value) in enumerate(class_iou(later, classes).items()):
            if place >= num_first:
                iou[name], pixels[name] = value, int(later[place].sum())
    values = list(iou.values())
    everything, old, new = mean(values), mean(values[:num_first]), mean(values[num_first:])
    miou = {
        "all": None if agreement else everything,
        "old": old,
        "old_without_background": mean(values[BACKGROUND + 1 : num_first]),
        "new": new,
        "avg": None if agreement else mean([*(earlier.miou["all"] for earlier in history), everything]),
        "hiou": None if agreement else harmonic_mean(old, new),
    }
    scores = Scores(step, tuple(classes), iou, pixels, miou, {})
    return dataclasses.replace(scores, forgetting=forgetting(scores, history))


def class_iou(confusion: NDArray[np.int64], classes: Sequence[str]) -> dict[str, float | None]:
    """Intersection over union of each class; None where it has no ground-truth pixel."""
    hit = confusion.diagonal().tolist()
    true, predicted = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
    return {
        name: hit[index] / (true[index] + predicted[index] - hit[index]) if true[index] else None
        for index, name in enumerate(classes)
    }


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those values that are defined; None if none is."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def harmonic_mean(first: float | None, second: float | None) -> float | None:
    """2 a b / (a + b), 0 where both are 0; None if either is undefined."""
    if first is None or second is None:
        return None
    return 2 * first * second / (first + second) if first + second else 0.0


def forgetting(last: Scores, history: Sequence[Scores]) -> dict[str, float]:
    """For each class known before, its best IoU so far (now included) minus its IoU now, over comparable steps."""
    lost = {}
    alike = [scores for scores in history if scores.measured_alike(last)]
    for name in alike[-1].classes if alike else ():
        earlier = [scores.iou[name] for scores in alike if name in scores.iou]
        now = last.iou[name]
        if now is not None:
            lost[name] = max([now, *(value for value in earlier if value is not None)]) - now
    return lost


def backward_transfer(history: Sequence[Scores]) -> float | None:
    """BWT: the mean, over classes learned before the last step, of IoU now minus IoU when learned.

    Negative where classes were forgotten; None after the first step. The background is left out, and so are steps that
    were not measured like the last.
    """
    last = history[-1].iou
    changes: list[float | None] = []
    known = BACKGROUND + 1
    for scores in history[:-1]:
        for name in scores.classes[known:]:
            learned, now = scores.iou[name], last[name]
            unlike = not scores.measured_alike(history[-1])
            changes.append(None if unlike or learned is None or now is None else now - learned)
        known = len(scores.classes)
    return mean(changes)


def ratio_to_joint(scores: Scores, joint: Scores) -> float | None:
    """All-mIoU as a share of that of joint training on the same classes; None if undefined."""
    if set(scores.classes) != set(joint.classes):
        raise ValueError("The joint run knows other classes, so their means do not compare.")
    own, bound = scores.miou["all"], joint.miou["all"]
    return own / bound if own is not None and bound else None
