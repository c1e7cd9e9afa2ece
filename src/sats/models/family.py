"""What sats must know of a Hugging Face architecture beyond its common interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


@dataclass(frozen=True)
class Family:
    """Where the parts of one architecture are, as dotted names below the network.

    ``attention_blocks`` lists the attention modules of each encoder stage, first to last; stage s's queries lie on the
    grid of the s-th feature map. ``key_grid`` gives the (height, width) of a stage's keys from that of its queries.
    """

    model_type: str
    encoder: str
    classifier: str
    attention_blocks: Callable[[nn.Module], tuple[tuple[str, ...], ...]]
    key_grid: Callable[[nn.Module, int, tuple[int, int]], tuple[int, int]]
