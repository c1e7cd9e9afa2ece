"""SATS+: what SATS lacks on pixels of which the old model is not sure, and on old classes that are not there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sats import losses
from sats.methods.feature_replay import FeatureReplay
from sats.methods.sats import Sats
from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput


@dataclass(frozen=True, kw_only=True)
class SatsPlus(Sats, name="sats-plus"):
    """SATS with two mends: every pixel teaches, no old class is out of sight.

    SATS leaves out the pixels whose pseudo-label is uncertain, about half of the background, and new classes flood
    them. Here they teach what is known of them, that they are of some old class (MiB's unbiased cross-entropy, eq. 5).
    And the classifier's rows go on to tell old classes apart, from each other and from the new ones, by the features
    that the replay keeps of them.
    """

    feature_replay: FeatureReplay = field(default_factory=lambda: FeatureReplay(weight=1.0))
    """Replay of old classes' features to the classifier."""

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """As SATS's, the cross-entropy also of uncertain pixels."""
        if teacher is None:
            return super().losses(context, batch, targets, student, teacher)
        unsure = (targets == IGNORE) & (batch.labels == BACKGROUND)
        learned = losses.partial_cross_entropy(student.logits, targets, unsure, context.step.num_old)
        distilled = losses.unbiased_distillation(*self.distilled(context, batch, student, teacher))
        return {"cross_entropy": learned.mean(), "distillation": self.distillation * distilled}
