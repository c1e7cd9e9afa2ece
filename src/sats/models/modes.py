"""Whether a model's parts learn or only look."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


@contextmanager
def looking_only(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode as long as the context lasts: no statistics move, nothing is drawn at random."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
