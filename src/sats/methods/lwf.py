"""LwF: learning without forgetting (arXiv 1606.09282), as MiB's code has it for segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sats import losses
from sats.methods.base import Method
from sats.types import Init

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput


@dataclass(frozen=True, kw_only=True)
class Lwf(Method, name="lwf"):
    """LwF: cross-entropy on the step's labels; the old softmax is distilled.

    L = CE + 100 KD. Deviations: none known from MiB's code; its mean over old classes is kept, which is what makes a
    weight of 100 sensible.
    """

    uses_teacher: ClassVar[bool] = True

    init: Init = "random"
    """How new rows of the classifier start."""
    distillation: float = 100.0
    """Weight of the distillation."""

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Cross-entropy, and distillation from step 1 on."""
        terms = {"cross_entropy": losses.cross_entropy(student.logits, targets).mean()}
        if teacher is not None:
            distilled = losses.distillation(*self.distilled(context, batch, student, teacher))
            terms["distillation"] = self.distillation * distilled
        return terms
