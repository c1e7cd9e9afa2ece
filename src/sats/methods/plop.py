"""PLOP: pooled output distillation and pseudo-labels (arXiv 2011.11390)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sats import losses
from sats.methods.base import Method
from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput


@dataclass(frozen=True, kw_only=True)
class Pod:
    """Local POD: strips of feature maps at several scales."""

    factor: float = 0.01
    """Factor of the encoder's stages; published: 0.01 for PASCAL VOC, 0.001 for ADE20K."""
    logits_factor: float = 0.0005
    """Factor of the logits; published: 0.0005 for PASCAL VOC, 0.00001 for ADE20K."""
    scales: tuple[int, ...] = (1, 2, 4)
    """Each map is cut into s x s cells for each of these."""

    def __post_init__(self) -> None:
        if not self.scales:
            raise ValueError("method.pod.scales needs at least one scale, such as 1 2 4.")

    def loss(self, context: Context, student: SegOutput, teacher: SegOutput) -> Tensor:
        """The term, a scalar, over the encoder's feature maps and the logits before upsampling.

        A model without a background has no channel that new classes could be added to: old ones are compared.
        """
        step = context.step
        old_logits, logits = teacher.logits, student.logits
        if not context.has_background:
            old_logits, logits = (part[:, BACKGROUND + 1 : step.num_old] for part in (old_logits, logits))
        return losses.local_pod(
            [*teacher.features, old_logits],
            [*student.features, logits],
            self.scales,
            self.factor,
            schedule=math.sqrt(step.num_seen / (step.num_new or step.num_seen)),
            logits_factor=self.logits_factor,
        )


@dataclass(frozen=True, kw_only=True)
class Plop(Method, name="plop"):
    """PLOP: pseudo-labels, scaled by how many are sure, and local POD.

    L = a CE(pseudo-labels) + POD, a of each image = sure background pixels / background pixels; new rows start from the
    background's. Deviations: the maps are the encoder's stages as it returns them and the logits, five with SegFormer;
    the published six are four ResNet stages before their last activation, the head's output and the logits. An encoder
    with one scale gives as many maps as feature maps it returns. Only pixels labelled background count in a; the
    code counts labels of old classes (of exemplars, say) as background too. Where domains arrive, a and POD's
    schedule are 1.
    """

    uses_teacher: ClassVar[bool] = True
    uses_pseudo_labels: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"pod.scales": (1, math.inf)}

    pod: Pod = field(default_factory=Pod)
    """The distillation of features and logits."""

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Cross-entropy, from step 1 on with the adaptive factor and local POD."""
        learned = losses.cross_entropy(student.logits, targets)
        if teacher is None:
            return {"cross_entropy": learned.mean()}
        if context.step.num_new:
            learned = sure_share(batch.labels, targets)[:, None, None] * learned
        return {
            "cross_entropy": learned.mean(),
            "pod": self.pod.loss(context, student, teacher),
        }


def sure_share(labels: Tensor, targets: Tensor) -> Tensor:
    """Of each image's background pixels, the share that got a pseudo-label (PLOP, eq. 7): [B], between 0 and 1."""
    background = labels == BACKGROUND
    sure = (background & (targets != IGNORE)).flatten(1).sum(dim=1)
    return sure / (background.flatten(1).sum(dim=1) + 1e-6)
