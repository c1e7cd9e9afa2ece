"""All that a method may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from sats.models.segmenter import Segmenter
    from sats.types import Step


@dataclass(frozen=True)
class Context:
    """One step of one run, as a method sees it.

    ``state`` maps names to tensors; it is what a method remembers, and the engine saves it. ``teacher`` is the
    frozen model of the previous step, or None. ``sum_over_processes`` adds up a tensor of counts over all
    processes of the run. ``overrepresented`` says how many times as often the step's own images come in its batches as
    among all that were learned from: at least, and 1 where that is not known.
    """

    step: Step
    model: Segmenter
    teacher: Segmenter | None
    state: dict[str, Tensor]
    sum_over_processes: Callable[[Tensor], Tensor] = lambda counts: counts
    overrepresented: float = 1.0

    @property
    def has_background(self) -> bool:
        """Whether channel 0 is a class that the model learned, or a virtual one whose logit is constant."""
        return self.model.classifier.has_background

    def distillation_mask(self, labels: Tensor) -> Tensor | None:
        """Where the teacher's classes are distilled, as a mask like ``labels`` [B, H, W]; None for everywhere.

        A teacher without a background cannot classify pixels of a new class, so these are left out.
        """
        return None if self.has_background else ~self.newly_labelled(labels)

    def newly_labelled(self, labels: Tensor) -> Tensor:
        """Where ``labels`` [B, H, W] name a class that this step brings, as a mask like them."""
        return (labels >= self.step.first_new) & (labels < self.step.num_seen)
