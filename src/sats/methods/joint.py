"""Joint training: every class with every label at once, the upper bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from sats import losses
from sats.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput


@dataclass(frozen=True, kw_only=True)
class Joint(Method, name="joint"):
    """One step with all classes and all labels, by step 0's recipe.

    Published as MiB's "offline" task. Its scores count a class as old or new by the protocol, so that they compare with
    the other methods'.
    """

    data: ClassVar[Literal["stream", "all"]] = "all"

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

    def step0_key(self) -> str:
        """A key of its own: its only step knows every class."""
        return "joint"
