"""A part that any method can carry: self-attention transfer (SATS, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sats import losses
from sats.types import Pooling

if TYPE_CHECKING:
    from torch import Tensor

    from sats.models.segmenter import Segmenter
    from sats.types import SegOutput


@dataclass(frozen=True, kw_only=True)
class AttentionTransfer:
    """Keep the attention of the old model, pooled by class region, in the last block of each encoder stage.

    The paper's code multiplies only the class-specific pooling by its weight; here the weight is the same for
    every pooling and for features, so that their comparison is fair.
    """

    weight: float = 0.0
    """Factor of the term; 0 is off, the paper's is 20."""
    pooling: Pooling = "class"
    """Rows averaged over each class's region, over all queries, or not at all; or class by class on both sides."""
    of: Literal["attention", "features"] = "attention"
    """Transfer attention maps, or the features of each stage (the paper's ablation for CNNs)."""
    blocks: Literal["last", "first", "all"] = "last"
    """Which attention blocks of each encoder stage."""
    stages: tuple[int, ...] = ()
    """Only these encoder stages, counted from 0. Empty: all."""

    def taps(self, model: Segmenter) -> tuple[str, ...]:
        """The attention blocks of ``model`` whose attention is transferred; none where the part is off."""
        if self.weight == 0 or self.of == "features":
            return ()
        stages = model.attention_blocks
        if not stages:
            raise ValueError(model.family.refusal(model.network))
        chosen = [stages[index] for index in self._stages(len(stages)) if stages[index]]
        if self.blocks == "all":
            return tuple(name for names in chosen for name in names)
        return tuple(names[0 if self.blocks == "first" else -1] for names in chosen)

    def loss(self, regions: Tensor, student: SegOutput, teacher: SegOutput) -> Tensor:
        """The weighted term, a scalar; ``regions`` [B, H, W] of channels or IGNORE."""
        num_classes = student.logits.shape[1]
        if self.of == "features":
            stages = self._stages(len(student.features))
            new, old = ([output.features[index] for index in stages] for output in (student, teacher))
            return self.weight * losses.feature_transfer(new, old, regions, self.pooling, num_classes)
        if not student.attentions or not teacher.attentions:
            raise ValueError(
                "The model yields no attention to transfer: use a model with attention blocks, "
                "or set --method.attention-transfer.of features, or its weight to 0."
            )
        return self.weight * losses.attention_transfer(
            student.attentions, teacher.attentions, regions, self.pooling, num_classes=num_classes
        )

    def _stages(self, count: int) -> tuple[int, ...]:
        """The indices of the chosen stages among ``count``."""
        for index in self.stages:
            if not 0 <= index < count:
                raise ValueError(
                    f"method.attention_transfer.stages names stage {index}; the encoder's are 0 to {count - 1}."
                )
        return self.stages or tuple(range(count))
