"""A part that any method can carry: old classes come back as what was kept of their features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sats import losses
from sats.losses.portions import way_of
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, device

    from sats.methods.context import Context
    from sats.types import Step

MEAN: Final = "replay mean"
VARIANCE: Final = "replay variance"
KNOWN: Final = "replay known"


@dataclass(frozen=True, kw_only=True)
class FeatureReplay:
    """Keep the classifier's rows right for classes that a step's images may not show.

    Of each class a mean and a variance are kept, of what the classifier reads on its pixels in the images of its
    step. Later the rows learn, beside all else, to tell these distributions apart, each class counting the same: by an
    upper bound of the mean cross-entropy (ISDA, proposition 1), so that nothing is drawn at random. Of the classes that
    a step brings, the old model's features are taken until it ends. No image is kept. The background has no part in
    it, neither its pixels, which hold the classes to come, nor its row: classes that all count the same would push that
    row back, whose share of the pixels is the largest by far.
    """

    weight: float = 0.0
    """Factor of the term; 0 is off."""

    def takes_part(self, state: Mapping[str, Tensor], step: Step) -> bool:
        """Whether there is a term in ``step``: whether any old class is known; a GPU is not asked which are."""
        if self.weight == 0 or step.index == 0 or KNOWN not in state:
            return False
        known = state[KNOWN][: step.num_old]
        return not way_of(known.device).asked or bool(known.any())

    def knows(self, state: Mapping[str, Tensor], step: Step) -> bool:
        """Whether the classes of ``step`` have been gathered, as far as it brought any."""
        return step.num_new == 0 or (KNOWN in state and len(state[KNOWN]) >= step.num_seen)

    def keep(self, state: dict[str, Tensor], step: Step, moments: Tensor, where: device) -> None:
        """Put the classes of ``step`` into ``state``, on the device ``where``, by their moments; earlier ones stay."""
        means, variances = losses.mean_and_variance(moments)
        for name, new in {MEAN: means, VARIANCE: variances, KNOWN: moments[:, 0] > 0}.items():
            kept = new.new_zeros(step.num_seen, *new.shape[1:], device=where)
            before = state.get(name, kept)[: step.first_new]
            kept[: len(before)] = before
            kept[step.first_new :] = new
            state[name] = kept

    def loss(self, context: Context) -> Tensor:
        """The weighted term, a scalar: the mean over the classes that are known, old and new."""
        import torch

        known, means, variances = (context.state[name] for name in (KNOWN, MEAN, VARIANCE))
        rows, biases = context.model.classifier.rows()
        asked = way_of(known.device).asked
        classes = known.nonzero()[:, 0] if asked else torch.arange(BACKGROUND + 1, len(known), device=known.device)
        wanted = classes - (BACKGROUND + 1)
        found = losses.expected_cross_entropy(rows, biases, means[classes], variances[classes], wanted)
        if asked:
            return self.weight * found.mean()
        counted = known[classes]  # a class that is not known has no features, and counts nothing
        return self.weight * (found * counted).sum() / counted.sum().clamp(min=1)
