"""PI: the path integral of synaptic intelligence (arXiv 1703.04200), as MiB's code has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats import losses
from sats.methods.base import Method
from sats.methods.importance import (
    BEFORE,
    IMPORTANCE,
    INTEGRAL,
    START,
    TOTAL,
    add_penalty,
    conclude,
    gradients,
    penalised_losses,
    remember,
    trained,
)
from sats.types import Init

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput


@dataclass(frozen=True, kw_only=True)
class Pi(Method, name="pi"):
    """PI: cross-entropy; parameters whose way has lowered the loss are held.

    L = CE + 500 sum norm(omega) (theta - theta_old)^2; from a step's second update on d += g (theta_before - theta),
    and at its end omega += max(0, d) / ((theta - theta_start)^2 + 1e-20). As in MiB's code, g is the gradient at theta,
    after the move. Deviation: the penalty's gradient is added in closed form.
    """

    init: Init = "random"
    """How new rows of the classifier start."""
    penalty: float = 500.0
    """Weight of the penalty: 500 in MiB's code, 100 in PLOP's and SATS's."""

    def begin_step(self, context: Context, loader: Iterable[Batch]) -> None:
        """Turn omega into importances, and start a new path."""
        for name, parameter in trained(context).items():
            if TOTAL + name in context.state:
                context.state[IMPORTANCE + name] = losses.normalised(context.state[TOTAL + name])
            context.state[INTEGRAL + name] = parameter.detach().new_zeros(parameter.shape)
        remember(context, START)

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Cross-entropy; and the penalty from step 1 on."""
        return penalised_losses(context, targets, student, self.penalty)

    def after_backward(self, context: Context) -> None:
        """Follow the path, then add the penalty's gradient."""
        for name, (value, gradient) in gradients(context).items():
            if BEFORE + name in context.state:
                moved = losses.path_integral(gradient, context.state[BEFORE + name], value)
                context.state[INTEGRAL + name] = context.state[INTEGRAL + name] + moved
            context.state[BEFORE + name] = value.clone()
        add_penalty(context, self.penalty)

    def end_step(self, context: Context, loader: Iterable[Batch]) -> None:
        """Add the step's importance to that of the steps before, and remember where the parameters are."""
        for name, parameter in trained(context).items():
            found = losses.path_importance(
                context.state[INTEGRAL + name], context.state[START + name], parameter.detach()
            )
            context.state[TOTAL + name] = context.state.get(TOTAL + name, found.detach().new_zeros(found.shape)) + found
        conclude(context, INTEGRAL, START, BEFORE)

    def step0_key(self) -> str:
        """A key of its own: importances are gathered from step 0 on."""
        return "cross-entropy, with the importances of pi"
