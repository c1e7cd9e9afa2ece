"""RW: Riemannian walk (arXiv 1801.10112), as MiB's code has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sats import losses
from sats.methods.base import Method
from sats.methods.importance import (
    BEFORE,
    FISHER,
    IMPORTANCE,
    OLD_SCORE,
    SCORE,
    UPDATES,
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
class Rw(Method, name="rw"):
    """RW: EWC's Fisher information, and PI's path measured in its metric.

    L = CE + 100 sum (norm(F) + norm(s)) (theta - theta_old)^2; F as in EWC; every 10 updates
    s += g (theta_before - theta) / (0.5 F (theta - theta_before)^2 + 1e-8); at a step's end s <- max(0, s), and the
    mean of it and the s of before. Deviation: the penalty's gradient is added in closed form.
    """

    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"alpha": (0, 1), "every": (1, math.inf)}

    init: Init = "random"
    """How new rows of the classifier start."""
    penalty: float = 100.0
    """Weight of the penalty."""
    alpha: float = 0.9
    """Share of the newest gradient in F."""
    every: int = 10
    """Updates between two scores."""

    def begin_step(self, context: Context, loader: Iterable[Batch]) -> None:
        """Turn the F and s of the steps before into importances, and start a new walk."""
        state = context.state
        for name, parameter in trained(context).items():
            if FISHER + name in state:
                fisher, score = (losses.normalised(state[kept + name]) for kept in (FISHER, OLD_SCORE))
                state[IMPORTANCE + name] = fisher + score
            else:
                state[FISHER + name] = parameter.detach().new_ones(parameter.shape)
            state[SCORE + name] = parameter.detach().new_zeros(parameter.shape)
        state[UPDATES] = next(iter(trained(context).values())).detach().new_zeros(())

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """Cross-entropy; and the penalty from step 1 on."""
        return penalised_losses(context, targets, student, self.penalty)

    def after_backward(self, context: Context) -> None:
        """Score the walk every few updates, update F, then add the penalty's gradient."""
        state, found = context.state, gradients(context)
        scores_now = int(state[UPDATES]) % self.every == 0
        for name, (value, gradient) in found.items():
            fisher = state[FISHER + name]
            if scores_now:
                if BEFORE + name in state:
                    walked = losses.walk_score(gradient, state[BEFORE + name], value, fisher)
                    state[SCORE + name] = state[SCORE + name] + walked
                state[BEFORE + name] = value.clone()
            state[FISHER + name] = losses.running_fisher(fisher, gradient, self.alpha)
        state[UPDATES] = state[UPDATES] + bool(found)
        add_penalty(context, self.penalty)

    def end_step(self, context: Context, loader: Iterable[Batch]) -> None:
        """Average the step's positive scores with those of before, and remember where the parameters are."""
        state = context.state
        for name in trained(context):
            score = state[SCORE + name].clamp(min=0)
            state[OLD_SCORE + name] = (score + state[OLD_SCORE + name]) / 2 if OLD_SCORE + name in state else score
        conclude(context, SCORE, BEFORE, UPDATES)

    def step0_key(self) -> str:
        """A key of its own: importances are gathered from step 0 on."""
        return f"cross-entropy, with the importances of rw (alpha {self.alpha}, every {self.every})"
