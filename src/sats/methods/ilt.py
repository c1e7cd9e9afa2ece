"""ILT: incremental learning techniques (arXiv 1907.13372), as MiB's code has it."""

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
class Ilt(Method, name="ilt"):
    """ILT: LwF's distillation, and the distance between the encoder's features.

    L = CE + 100 KD + 100 MSE. The features are those of the encoder's last stage. Deviations: none known from MiB's
    code; the paper's variant with a frozen encoder is ``--method.frozen-encoder`` (the MSE is then 0).
    """

    uses_teacher: ClassVar[bool] = True

    init: Init = "random"
    """How new rows of the classifier start."""
    distillation: float = 100.0
    """Weight of the distillation on outputs."""
    features: float = 100.0
    """Weight of the squared distance between features."""

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Cross-entropy, and both distillations from step 1 on."""
        terms = {"cross_entropy": losses.cross_entropy(student.logits, targets).mean()}
        if teacher is not None:
            distilled = losses.distillation(*self.distilled(context, batch, student, teacher))
            terms["distillation"] = self.distillation * distilled
            difference = student.features[-1].float() - teacher.features[-1].float()
            terms["features"] = self.features * difference.square().mean()
        return terms
