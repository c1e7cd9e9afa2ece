"""What sats must know of a Hugging Face architecture beyond its common interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

Grid = tuple[int, int]
"""Height and width in tokens."""
Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Tokens:
    """Where the tokens of a stage's attention lie: the first ``prefix`` (class and register tokens) on no grid.

    The others lie on the grid of the stage's feature map as queries, and on ``key_grid`` as keys.
    """

    key_grid: Grid
    prefix: int = 0


@dataclass(frozen=True)
class Family:
    """Where the parts of one architecture are, as dotted names below the network.

    ``features`` reads the feature maps, one for each stage, from the network, what its encoder returned and the size
    of the images. ``attention_blocks`` lists the attention modules of each stage, first to last, that the head depends
    on; none where its attention cannot be transferred, and ``refusal`` then says why. ``tokens`` tells where a stage's
    tokens lie, from the grid of its feature map. ``adapt`` makes a network take images of any size, or known to
    transformers, where it is not by itself.
    """

    model_type: str
    encoder: str
    classifier: str
    features: Callable[[nn.Module, Any, Size], tuple[Tensor, ...]]
    attention_blocks: Callable[[nn.Module], tuple[tuple[str, ...], ...]]
    tokens: Callable[[nn.Module, int, Grid], Tokens]
    refusal: Callable[[nn.Module], str] = lambda network: f"{type(network).__name__} has no attention blocks."
    adapt: Callable[[nn.Module], None] = lambda _network: None
