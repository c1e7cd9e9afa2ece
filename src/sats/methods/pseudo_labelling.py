"""A part that methods share: pseudo-labels by the teacher, with thresholds gathered before the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats import losses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, DistillAt, SegOutput

THRESHOLDS = "pseudo_labels.thresholds"
FLOOR = 0.001
"""The lowest threshold (PLOP's code): a teacher that is always sure is believed everywhere."""


def gather_thresholds(context: Context, loader: Iterable[Batch], place: DistillAt = "pixels") -> None:
    """Put each old class's median entropy [num_old] into the state, by one pass of the teacher over the data."""
    if context.teacher is None:
        raise ValueError("Pseudo-labels need a teacher.")
    histogram = losses.EntropyHistogram(context.step.num_old, next(context.teacher.parameters()).device)
    for batch in loader:
        answers = context.teacher(batch.images)
        histogram.add(batch.labels, answers.logits, answers.size_at(place))
    histogram.counts = context.sum_over_processes(histogram.counts)
    context.state[THRESHOLDS] = histogram.medians(FLOOR)


def teacher_labels(context: Context, batch: Batch, teacher: SegOutput, place: DistillAt = "pixels") -> Tensor:
    """The batch's labels [B, H, W], background replaced by the teacher's class where it is sure, else by IGNORE."""
    return losses.pseudo_labels(batch.labels, teacher.logits, context.state[THRESHOLDS], teacher.size_at(place))
