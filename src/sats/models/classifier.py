"""The classifier that grows with every step, and how its new rows start."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from sats.types import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sats.types import Init, Step


class GrowingClassifier(nn.Module):
    """A 1x1 convolution whose rows come in groups, one for each step; group 0 begins with the background.

    Groups are parameters of their own, so that old rows can be frozen, get another learning rate or weigh
    in a regulariser by themselves. ``weights[k]`` is [classes of step k, channels, 1, 1], ``biases[k]``
    [classes of step k].
    """

    def __init__(self, channels: int, groups: Sequence[int]) -> None:
        super().__init__()
        if not groups or min(groups) < 1:
            raise ValueError(f"A classifier needs at least one class in each group, got {tuple(groups)}.")
        convolutions = [nn.Conv2d(channels, size, kernel_size=1) for size in groups]
        self.weights = nn.ParameterList([convolution.weight for convolution in convolutions])
        self.biases = nn.ParameterList([convolution.bias for convolution in convolutions])

    @property
    def groups(self) -> tuple[int, ...]:
        """How many rows each step added."""
        return tuple(len(bias) for bias in self.biases)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, classes, h, w] of features [B, channels, h, w]."""
        return functional.conv2d(features, torch.cat(list(self.weights)), torch.cat(list(self.biases)))

    @torch.no_grad()
    def grow(self, step: Step, init: Init) -> None:
        """Add the rows of ``step``'s new classes; the old parameters stay as they are, bit for bit.

        "background" (MiB, eq. 8-9): each new row is a copy of the background's, and its bias the background's less
        log(new classes + 1), which the background's own bias becomes as well. "random": as a fresh
        convolution starts. "zero": weights and biases 0.
        """
        if step.num_old != sum(self.groups):
            raise ValueError(f"The classifier has {sum(self.groups)} rows, {step} expects {step.num_old}.")
        first_weight, first_bias = self.weights[0], self.biases[0]
        fresh = nn.Conv2d(first_weight.shape[1], step.num_new, kernel_size=1, device=first_weight.device)
        if fresh.bias is None:  # for the type checker: a convolution has a bias unless told otherwise
            raise AssertionError
        if init == "zero":
            fresh.weight.zero_()
            fresh.bias.zero_()
        elif init == "background":
            bias = first_bias[BACKGROUND] - math.log(step.num_new + 1)
            fresh.weight.copy_(first_weight[BACKGROUND].expand_as(fresh.weight))
            fresh.bias.fill_(bias.item())
            first_bias[BACKGROUND] = bias
        self.weights.append(fresh.weight)
        self.biases.append(fresh.bias)

    @torch.no_grad()
    def load(self, convolution: nn.Conv2d) -> None:
        """Take over the rows of a plain ``convolution`` with as many rows as all groups have together."""
        if convolution.bias is None or len(convolution.weight) != sum(self.groups):
            raise ValueError(
                f"The classifier has {sum(self.groups)} rows in the groups {self.groups}, and a bias; "
                f"the stored one has {len(convolution.weight)}."
            )
        stored_weights, stored_biases = (
            convolution.weight.split(self.groups),
            convolution.bias.split(self.groups),
        )
        for own, stored in zip((*self.weights, *self.biases), (*stored_weights, *stored_biases), strict=True):
            own.copy_(stored)

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """One plain convolution with every row: what Hugging Face models have and can load."""
        channels = self.weights[0].shape[1]
        convolution = nn.Conv2d(channels, sum(self.groups), kernel_size=1, device=self.weights[0].device)
        convolution.weight.copy_(torch.cat(list(self.weights)))
        if convolution.bias is not None:
            convolution.bias.copy_(torch.cat(list(self.biases)))
        return convolution
