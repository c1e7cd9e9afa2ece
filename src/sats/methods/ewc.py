"""EWC: elastic weight consolidation (arXiv 1612.00796), online, as MiB's code has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sats import losses
from sats.methods.base import Method
from sats.methods.importance import (
    FISHER,
    IMPORTANCE,
    add_penalty,
    conclude,
    gradients,
    penalised_losses,
    trained,
)
from sats.types import Init

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput


@dataclass(frozen=True, kw_only=True)
class Ewc(Method, name="ewc"):
    """EWC: cross-entropy; parameters with much Fisher information are held.

    L = CE + 500 sum norm(F) (theta - theta_old)^2; at every update F <- 0.9 g^2 + 0.1 F, g being the gradient of all
    but the penalty: of the cross-entropy, and of the attention transfer where it is carried. Deviations: the penalty's
    gradient is added in closed form after F has read the other one; F is updated in every process alike, as gradients
    are averaged over processes before.
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0, 1)}

    init: Init = "random"
    """How new rows of the classifier start."""
    penalty: float = 500.0
    """Weight of the penalty: 500 in MiB's code, 100 in PLOP's and SATS's."""
    alpha: float = 0.9
    """Share of the newest gradient in F."""

    def begin_step(self, context: Context, loader: Iterable[Batch]) -> None:
        """Turn the F of the steps before into importances; parameters that are new start with F = 1."""
        for name, parameter in trained(context).items():
            if FISHER + name in context.state:
                context.state[IMPORTANCE + name] = losses.normalised(context.state[FISHER + name])
            else:
                context.state[FISHER + name] = parameter.detach().new_ones(parameter.shape)

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Cross-entropy; and the penalty from step 1 on."""
        return penalised_losses(context, targets, student, self.penalty)

    def after_backward(self, context: Context) -> None:
        """Update F, then add the penalty's gradient."""
        for name, (_, gradient) in gradients(context).items():
            fisher = context.state[FISHER + name]
            context.state[FISHER + name] = losses.running_fisher(fisher, gradient, self.alpha)
        add_penalty(context, self.penalty)

    def end_step(self, context: Context, loader: Iterable[Batch]) -> None:
        """Remember where the parameters are."""
        conclude(context)

    def step0_key(self) -> str:
        """A key of its own: importances are gathered from step 0 on."""
        return f"cross-entropy, with the importances of ewc (alpha {self.alpha})"
