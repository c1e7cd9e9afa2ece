"""LwF-MC: iCaRL's loss (arXiv 1611.07725), as MiB's code has it for segmentation."""

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
class LwfMc(Method, name="lwf-mc"):
    """LwF-MC: each class against the rest; the old sigmoids are distilled.

    L = BCE(labels) + 10 BCE(old channels, teacher's sigmoids), both summed over classes ("combined" in MiB's code); its
    "disjoint" variant is `sats.losses.lwf_mc`. Step 0 has sigmoids too. Deviations: none known from MiB's code.
    """

    uses_teacher: ClassVar[bool] = True

    init: Init = "random"
    """How new rows of the classifier start."""
    distillation: float = 10.0
    """Weight of the distillation."""

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Binary cross-entropy, and distillation from step 1 on."""
        terms = {"binary_cross_entropy": losses.binary_cross_entropy(student.logits, targets).mean()}
        if teacher is not None:
            size = teacher.size_at(self.distill_at)
            distilled = losses.binary_distillation(student.logits, teacher.logits, size)
            terms["distillation"] = self.distillation * distilled
        return terms

    def probabilities(self, logits: Tensor, num_classes: int) -> Tensor:
        """Each class against the rest: they do not sum to 1."""
        return self.scores(logits, num_classes).sigmoid()

    def step0_key(self) -> str:
        """A key of its own: step 0 learns sigmoids."""
        return "binary-cross-entropy"
