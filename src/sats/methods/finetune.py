"""Fine-tuning: learn the new classes, do nothing against forgetting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats import losses
from sats.methods.base import Method
from sats.types import Init

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput


@dataclass(frozen=True, kw_only=True)
class Finetune(Method, name="finetune"):
    """Cross-entropy on the step's own labels: the lower bound.

    Old classes are background in them.
    """

    init: Init = "random"
    """How the classifier's new rows start; published fine-tuning uses the library's random start."""

    def losses(
        self,
        context: Context,
        batch: Batch,
        targets: Tensor,
        student: SegOutput,
        teacher: SegOutput | None,
    ) -> dict[str, Tensor]:
        """Cross-entropy alone."""
        return {"cross_entropy": losses.cross_entropy(student.logits, targets).mean()}
