"""A part that EWC, PI and RW share: what they remember of each parameter, and the penalty on moving it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats import losses

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from sats.methods.context import Context
    from sats.types import SegOutput

FISHER, SCORE, OLD_SCORE, UPDATES = "fisher/", "score/", "old-score/", "updates"
INTEGRAL, TOTAL = "integral/", "total/"
START, BEFORE = "start/", "before/"
IMPORTANCE = "importance/"
"""Weighs a parameter's distance from its reference during the step."""
REFERENCE = "reference/"
"""A parameter's value at the end of the step before."""


def trained(context: Context) -> dict[str, Parameter]:
    """The parameters that learn, by name."""
    return {name: parameter for name, parameter in context.model.named_parameters() if parameter.requires_grad}


def gradients(context: Context) -> dict[str, tuple[Tensor, Tensor]]:
    """Value and gradient of every parameter that has one, by name; nothing where a gradient overflowed.

    Parameters without gradient are left out. An update with infinite gradients, as mixed precision has them now and
    then, is one that the optimizer skips.
    """
    found = {
        name: (parameter.detach(), parameter.grad.detach())
        for name, parameter in trained(context).items()
        if parameter.grad is not None
    }
    return found if losses.all_finite([gradient for _, gradient in found.values()]) else {}


def remember(context: Context, prefix: str) -> None:
    """Keep the present value of every parameter that learns, under ``prefix``."""
    for name, parameter in trained(context).items():
        context.state[prefix + name] = parameter.detach().clone()


def conclude(context: Context, *prefixes: str) -> None:
    """At a step's end: remember where the parameters are, and forget the ``prefixes`` that the next step makes anew."""
    for name in [name for name in context.state if name.startswith((IMPORTANCE, *prefixes))]:
        del context.state[name]
    remember(context, REFERENCE)


def penalised_losses(context: Context, targets: Tensor, student: SegOutput, weight: float) -> dict[str, Tensor]:
    """Cross-entropy, and from step 1 on the penalty on moving parameters of the old model.

    The penalty is there for the log and has no gradient: `add_penalty` adds that, once the importances have read the
    rest.
    """
    terms = {"cross_entropy": losses.cross_entropy(student.logits, targets).mean()}
    if context.step.index:
        moved = [
            losses.penalty(context.state[IMPORTANCE + name], parameter.detach(), context.state[REFERENCE + name])
            for name, parameter in _penalised(context).items()
        ]
        terms["penalty"] = weight * sum(moved, start=terms["cross_entropy"].detach().new_zeros(()))
    return terms


def add_penalty(context: Context, weight: float) -> None:
    """Add the penalty's gradient to those of the loss, once the importances have read them."""
    for name, parameter in _penalised(context).items():
        if parameter.grad is not None:
            importance, reference = context.state[IMPORTANCE + name], context.state[REFERENCE + name]
            parameter.grad.add_(losses.penalty_gradient(importance, parameter.detach(), reference), alpha=weight)


def _penalised(context: Context) -> dict[str, Parameter]:
    """The parameters that learn and that the old model had."""
    known = trained(context).items()
    return {name: parameter for name, parameter in known if IMPORTANCE + name in context.state}
