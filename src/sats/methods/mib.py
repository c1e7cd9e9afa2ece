"""MiB: modelling the background (arXiv 2002.00718)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sats import losses
from sats.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput


@dataclass(frozen=True, kw_only=True)
class Mib(Method, name="mib"):
    """MiB: background may be an old class, or, to the old model, a new one.

    L = UNCE + 10 UNKD; new rows start from the background's. Deviation: labels of old classes, which only exemplars and
    the setting "sequential" have, are learned as what they are; MiB's code makes background of them.
    """

    uses_teacher: ClassVar[bool] = True

    distillation: float = 10.0
    """Weight of the unbiased distillation (eq. 7)."""

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Unbiased cross-entropy (at step 0 the plain one), and unbiased distillation from step 1 on."""
        labels = batch.labels  # not the targets: a pixel without a label is of some old class, background or not
        learned = losses.unbiased_cross_entropy(student.logits, labels, context.step.num_old, keep_old=True)
        terms = {"cross_entropy": learned.mean()}
        if teacher is not None:
            distilled = losses.unbiased_distillation(*self.distilled(context, batch, student, teacher))
            terms["distillation"] = self.distillation * distilled
        return terms
