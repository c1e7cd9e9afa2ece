"""A part that any method can carry: self-attention transfer (SATS, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats import losses
from sats.types import Pooling

if TYPE_CHECKING:
    from torch import Tensor

    from sats.types import SegOutput


@dataclass(frozen=True, kw_only=True)
class AttentionTransfer:
    """Keep the attention of the old model, pooled by class region, in the last block of each encoder stage.

    The paper's code multiplies only the class-specific pooling by its weight; here the weight is the same for
    every pooling, so that their comparison is fair.
    """

    weight: float = 0.0
    """Factor of the term; 0 is off, the paper's is 20."""
    pooling: Pooling = "class"
    """Attention rows averaged over each class's region, over all queries, or not at all."""

    def loss(self, regions: Tensor, student: SegOutput, teacher: SegOutput) -> Tensor:
        """The weighted term, a scalar; ``regions`` [B, H, W] of channels or IGNORE."""
        if not student.attentions or not teacher.attentions:
            raise ValueError(
                "The model yields no attention to transfer: use a model with attention blocks, "
                "or set --method.attention-transfer.weight 0."
            )
        return self.weight * losses.attention_transfer(student.attentions, teacher.attentions, regions, self.pooling)
