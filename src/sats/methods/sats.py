"""SATS: self-attention transfer for continual semantic segmentation (arXiv 2203.07667)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sats import losses
from sats.methods.attention_transfer import AttentionTransfer
from sats.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput


@dataclass(frozen=True, kw_only=True)
class Sats(Method, name="sats"):
    """SATS: pseudo-labels, unbiased distillation and self-attention transfer.

    After step 0 the loss is CE(pseudo-labels) + 20 UNKD + 20 SAT (the paper's total loss); new rows start from the
    background's (MiB). Deviations from the released code: attention is pooled per head, where the code mixes
    heads with positions; and the mean over an image's classes is over those that the *grid* of a block still
    holds. PLOP's adaptive factor is left out, as in the released code.
    """

    uses_teacher: ClassVar[bool] = True
    uses_pseudo_labels: ClassVar[bool] = True

    pseudo_labels: bool = True
    """Learn the old model's class where labels say background and it is sure; off: background as labelled."""
    distillation: float = 20.0
    """Weight of the unbiased distillation (MiB, eq. 7)."""
    attention_transfer: AttentionTransfer = field(default_factory=lambda: AttentionTransfer(weight=20.0))
    """Self-attention transfer: its weight, and how rows are pooled."""

    def learns_pseudo_labels(self) -> bool:
        """Unless that is switched off."""
        return self.pseudo_labels

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Cross-entropy on the pseudo-labels, and distillation from step 1 on."""
        terms = {"cross_entropy": losses.cross_entropy(student.logits, targets).mean()}
        if teacher is not None:
            distilled = losses.unbiased_distillation(*self.distilled(context, batch, student, teacher))
            terms["distillation"] = self.distillation * distilled
        return terms
