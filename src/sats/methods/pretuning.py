"""A part that any method can carry: new rows of the classifier, tuned before the step (NeST, arXiv 2407.14142)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats import losses

if TYPE_CHECKING:
    from torch import Tensor

    from sats.types import Step


@dataclass(frozen=True, kw_only=True)
class Pretuning:
    """How new rows are generated from old ones where ``init`` is "nest"; else nothing.

    Published: 5 epochs at the step's own rate on PASCAL VOC, 15 epochs at 500 times the rate on ADE20K.
    """

    epochs: int = 5
    """Passes over the step's data, before the step."""
    lr_factor: float = 1.0
    """Learning rate, as a factor of the step's."""
    distillation: float = 0.0
    """Weight of the unbiased distillation beside the unbiased cross-entropy; an option of the published code, 10."""

    def losses(self, step: Step, labels: Tensor, logits: Tensor, old_logits: Tensor) -> dict[str, Tensor]:
        """Unbiased cross-entropy of ``logits`` [B, C, h, w], and distillation where it has a weight."""
        terms = {"cross_entropy": losses.unbiased_cross_entropy(logits, labels, step.num_old, keep_old=True).mean()}
        if self.distillation > 0:
            size = labels.shape[1], labels.shape[2]
            terms["distillation"] = self.distillation * losses.unbiased_distillation(logits, old_logits, size=size)
        return terms
