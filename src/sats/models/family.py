"""What sats must know of a Hugging Face architecture beyond its common interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers.modeling_outputs import BackboneOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


def read_maps(network: nn.Module, encoded: Any) -> tuple[Tensor, ...]:  # noqa: ARG001 (as a family reads)
    """The feature maps that a backbone of transformers returned."""
    return tuple(encoded.feature_maps)


def returned_maps(network: nn.Module, read: Sequence[Tensor]) -> BackboneOutput:  # noqa: ARG001 (as above)
    """What such a backbone returns, with these feature maps."""
    maps: Any = tuple(read)
    return BackboneOutput(feature_maps=maps)


@dataclass(frozen=True)
class Family:
    """Where the parts of one architecture are, as dotted names below the network.

    ``read`` picks what head and features need of what the encoder returned, tensors [B, ...], and ``returned`` makes
    of them again something that the network takes for its encoder's answer. ``maps`` makes feature maps of them, one
    for each stage, for images of a size; most are maps by themselves. ``attention_blocks`` lists the attention modules
    of each stage, first to last, that the head depends on; none where its attention cannot be transferred, and
    ``refusal`` then says why. ``tokens`` tells where a stage's tokens lie, from the grid of its feature map. ``adapt``
    makes a network take images of any size, or known to transformers, where it is not by itself.
    """

    model_type: str
    encoder: str
    classifier: str
    read: Callable[[nn.Module, Any], tuple[Tensor, ...]]
    returned: Callable[[nn.Module, Sequence[Tensor]], Any]
    attention_blocks: Callable[[nn.Module], tuple[tuple[str, ...], ...]]
    tokens: Callable[[nn.Module, int, Grid], Tokens]
    maps: Callable[[nn.Module, Sequence[Tensor], Size], tuple[Tensor, ...]] = lambda _network, read, _size: tuple(read)
    refusal: Callable[[nn.Module], str] = lambda network: f"{type(network).__name__} has no attention blocks."
    adapt: Callable[[nn.Module], None] = lambda _network: None
