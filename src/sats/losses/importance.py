"""Importances of parameters, and the penalty on moving those that matter (EWC, PI, RW); per parameter tensor.

Everything as in MiB's code, which the field's tables come from, except where a docstring says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

NEVER_ZERO = 1e-8


def running_fisher(fisher: Tensor, gradient: Tensor, alpha: float = 0.9) -> Tensor:
    """The running Fisher information after one more update: alpha g^2 + (1 - alpha) F (RW, eq. 9)."""
    return alpha * gradient.square() + (1 - alpha) * fisher


def path_integral(gradient: Tensor, before: Tensor, now: Tensor) -> Tensor:
    """What one move from ``before`` to ``now`` lowered the loss by, to first order: g (before - now) (PI, eq. 3)."""
    return gradient * (before - now)


def path_importance(integral: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """A step's path integral, where positive, over the squared way from ``start`` to ``end`` (PI, eq. 5)."""
    return integral.clamp(min=0) / ((end - start).square() + 1e-20)


def walk_score(gradient: Tensor, before: Tensor, now: Tensor, fisher: Tensor) -> Tensor:
    """The path integral of a move over its length in the Fisher metric (RW, eq. 8).

    ``fisher`` is F as it was before this update.
    """
    length = 0.5 * fisher * (now - before).square()
    return path_integral(gradient, before, now) / (length + NEVER_ZERO)


def normalised(importance: Tensor) -> Tensor:
    """An importance brought to 0..1 by its own minimum and maximum."""
    low, high = importance.aminmax()
    return (importance - low) / (high - low + NEVER_ZERO)


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether every element of every tensor is a finite number; true of none."""
    if not tensors:
        return True
    return bool(torch.stack([tensor.abs().max() for tensor in tensors]).isfinite().all())


def penalty(importance: Tensor, parameter: Tensor, reference: Tensor) -> Tensor:
    """The weighted squared distance of a parameter from ``reference``, a scalar; no factor of 1/2."""
    return (importance * (parameter - reference).square()).sum()


def penalty_gradient(importance: Tensor, parameter: Tensor, reference: Tensor) -> Tensor:
    """The gradient of `penalty` with respect to the parameter."""
    return 2 * importance * (parameter - reference)
