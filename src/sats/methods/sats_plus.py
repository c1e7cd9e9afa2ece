"""SATS+: what SATS lacks on pixels of which the old model is not sure, and on old classes that are not there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sats import losses
from sats.methods.feature_replay import FeatureReplay
from sats.methods.sats import Sats
from sats.types import BACKGROUND, IGNORE, Init

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput


@dataclass(frozen=True, kw_only=True)
class SatsPlus(Sats, name="sats-plus"):
    """SATS with five changes, each of which can be switched off.

    1. SATS leaves out the pixels whose pseudo-label is uncertain, about half of the background, and new classes flood
       them. Here they teach what is known of them: that they are of some old class (MiB's unbiased cross-entropy,
       eq. 5).
    2. Where a label says that a pixel is of a new class, the old model is asked only which old class would come next,
       so that its mistake does not weigh against the label.
    3. The classifier's rows go on to tell old classes apart, from each other and from new ones, by the features that
       the replay keeps of them.
    4. New rows start from those of the classes that the old model takes the new one's pixels for.
    5. After each step, the logits of its new classes come down by half of what the numbers of images say that it shows
       them too often.
    """

    uncertain_pixels: bool = True
    """Learn of uncertain pixels that they are of some old class; off: nothing, as in SATS. Without pseudo-labels all
    pixels labelled background are uncertain."""
    beside_labels: bool = True
    """On pixels of new classes, distil among the old classes alone; off: as elsewhere."""
    init: Init = "teacher"
    """How new rows of the classifier start; see `Method`."""
    feature_replay: FeatureReplay = field(default_factory=lambda: FeatureReplay(weight=1.0))
    """Replay of old classes' features to the classifier."""
    logit_adjustment: float = 0.5
    """Lower new classes' logits after each step, where it is known how many images were learned from before."""

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """As SATS's, with the cross-entropy also of uncertain pixels, and the distillation beside the labels."""
        if teacher is None:
            return super().losses(context, batch, targets, student, teacher)
        known = (targets != IGNORE) & self.pseudo_labels
        unsure = ~known & (batch.labels == BACKGROUND) & self.uncertain_pixels
        learned = losses.partial_cross_entropy(student.logits, targets, unsure, context.step.num_old)
        distilled = self._distillation(context, batch, student, teacher)
        return {"cross_entropy": learned.mean(), "distillation": self.distillation * distilled}

    def _distillation(self, context: Context, batch: Batch, student: SegOutput, teacher: SegOutput) -> Tensor:
        """Of a model without a background as SATS's, which leaves labelled pixels out as it is."""
        logits, old_logits, where, size = self.distilled(context, batch, student, teacher)
        if where is not None or not self.beside_labels:
            return losses.unbiased_distillation(logits, old_logits, where, size)
        new = context.newly_labelled(losses.resize_labels(batch.labels, size))
        return losses.distillation_beside_labels(logits, old_logits, new, size)
