"""What losses with a gradient of their own say of a second derivative."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def only_first(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Let ``backward`` of a `torch.autograd.Function` refuse ``create_graph=True``.

    Torch's own ``once_differentiable`` lets a gradient of the gradient be zero without a word where the upstream
    gradient is a constant, as it is after a mean.
    """

    @wraps(backward)
    def refusing(ctx: Any, *gradients: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("This loss has a first derivative only: leave out create_graph=True.")
        return backward(ctx, *gradients)

    return refusing
