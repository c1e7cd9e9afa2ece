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


VIRTUAL_LOGIT = -1e4
"""The constant logit of a background that the model does not have: its probability is 0 in any precision."""


def with_virtual_background(logits: Tensor) -> Tensor:
    """Logits [B, C, h, w] of a model without a background as [B, 1 + C, h, w]."""
    return functional.pad(logits, (0, 0, 0, 0, BACKGROUND + 1, 0), value=VIRTUAL_LOGIT)


def fresh_rows(channels: int, rows: int, device: torch.device | None = None) -> tuple[nn.Parameter, nn.Parameter]:
    """The weight and bias of so many rows, as a convolution starts; those of no row do not learn."""
    if rows == 0:
        shapes = (0, channels, 1, 1), (0,)
        weight, bias = (nn.Parameter(torch.empty(shape, device=device), requires_grad=False) for shape in shapes)
        return weight, bias
    weight, bias = nn.Conv2d(channels, rows, kernel_size=1, device=device).parameters()
    return weight, bias


class GrowingClassifier(nn.Module):
    """A 1x1 convolution whose rows come in groups, one for each step; group 0 begins with the background.

    A group is empty where a step brought no new class. For a model that was trained without a background,
    ``has_background`` is False: channel 0 is then virtual, a constant logit without a row, and group 0 has one row less
    than channels.

    Groups are parameters of their own, so that old rows can be frozen, get another learning rate or weigh
    in a regulariser by themselves. ``weights[k]`` is [classes of step k, channels, 1, 1], ``biases[k]``
    [classes of step k]. Methods may reserve further rows, for no class yet: ``reserved_weight`` [R, channels, 1, 1] and
    ``reserved_bias`` [R], whose logits come after the classes'.
    """

    reserved_weight: nn.Parameter | None
    reserved_bias: nn.Parameter | None

    def __init__(self, channels: int, groups: Sequence[int], has_background: bool = True) -> None:
        super().__init__()
        self.has_background = has_background
        rows = [size - self.virtual * (step == 0) for step, size in enumerate(groups)]
        if not rows or rows[0] < 1 or min(rows) < 0:
            raise ValueError(f"A classifier needs at least one class in its first group, got {tuple(groups)}.")
        fresh = [fresh_rows(channels, size) for size in rows]
        self.weights = nn.ParameterList([weight for weight, _ in fresh])
        self.biases = nn.ParameterList([bias for _, bias in fresh])
        self.register_parameter("reserved_weight", None)
        self.register_parameter("reserved_bias", None)

    @property
    def virtual(self) -> int:
        """How many channels have no row."""
        return 0 if self.has_background else BACKGROUND + 1

    @property
    def groups(self) -> tuple[int, ...]:
        """How many channels each step added, a virtual background among those of step 0."""
        first, *later = self._rows
        return (first + self.virtual, *later)

    @property
    def _rows(self) -> tuple[int, ...]:
        """How many rows each step added."""
        return tuple(len(bias) for bias in self.biases)

    @property
    def reserved(self) -> int:
        """How many rows are reserved."""
        return 0 if self.reserved_bias is None else len(self.reserved_bias)

    def rows(self) -> tuple[Tensor, Tensor]:
        """The weights [R, channels] and biases [R] of all classes but the background."""
        first = BACKGROUND + 1 - self.virtual
        return torch.cat(list(self.weights)).flatten(1)[first:], torch.cat(list(self.biases))[first:]

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, classes + reserved, h, w] of features [B, channels, h, w]."""
        weights, biases = list(self.weights), list(self.biases)
        if self.reserved_weight is not None and self.reserved_bias is not None:
            weights.append(self.reserved_weight)
            biases.append(self.reserved_bias)
        logits = functional.conv2d(features, torch.cat(weights), torch.cat(biases))
        return logits if self.has_background else with_virtual_background(logits)

    @torch.no_grad()
    def grow(self, step: Step, init: Init) -> None:
        """Add the rows of ``step``'s new classes; the old parameters stay as they are, bit for bit.

        "background" (MiB, eq. 8-9): each new row is a copy of the background's, and its bias the background's less
        log(new classes + 1), which the background's own bias becomes as well: the one old parameter that changes.
        "random": as a fresh convolution starts. "zero": weights and biases 0. "reserved": copies of the reserved rows,
        in order, the last one again where there are fewer. "nest" and "teacher": at random, as these rows are made
        before the step is trained, from what the old model sees in the new classes.
        """
        if step.num_old != sum(self.groups):
            raise ValueError(f"The classifier has {sum(self.groups)} channels, {step} expects {step.num_old}.")
        weight, bias = self._fresh(step.num_new)
        if init == "zero":
            weight.zero_()
            bias.zero_()
        elif init == "background":
            self._check_background(init)
            lowered = self.biases[0][BACKGROUND] - math.log(step.num_new + 1)
            weight.copy_(self.weights[0][BACKGROUND].expand_as(weight))
            bias.fill_(lowered.item())
            self.biases[0][BACKGROUND] = lowered
        elif init == "reserved":
            self._copy_reserved(weight, bias)
        self.weights.append(weight)
        self.biases.append(bias)

    def _check_background(self, init: Init) -> None:
        if not self.has_background:
            raise ValueError(
                f'Init "{init}" starts new rows from the background\'s, and this model was trained without one: '
                "take --method.init teacher."
            )

    @torch.no_grad()
    def mix_old(self, shares: Tensor) -> None:
        """Make each of the newest rows a mean of the old ones, weighted by ``shares`` [new classes, old channels].

        A virtual background has no row and no share. A class whose shares are all 0 keeps the row that it has.
        """
        shares = shares[:, self.virtual :]
        total = shares.sum(dim=1)
        shares = shares[total > 0] / total[total > 0, None]
        weights, biases = torch.cat(list(self.weights[:-1])), torch.cat(list(self.biases[:-1]))
        self.weights[-1][total > 0] = (shares @ weights.flatten(1))[:, :, None, None]
        self.biases[-1][total > 0] = shares @ biases

    def _fresh(self, rows: int) -> tuple[nn.Parameter, nn.Parameter]:
        """The weight and bias of so many new rows, as a convolution starts."""
        first = self.weights[0]
        return fresh_rows(first.shape[1], rows, first.device)

    def _copy_reserved(self, weight: Tensor, bias: Tensor) -> None:
        if self.reserved_weight is None or self.reserved_bias is None:
            raise ValueError(
                'Init "reserved" starts new rows from reserved ones, and this model has none: '
                'choose another --method.init, such as "background".'
            )
        rows = torch.arange(len(bias), device=bias.device).clamp(max=self.reserved - 1)
        weight.copy_(self.reserved_weight[rows])
        bias.copy_(self.reserved_bias[rows])

    @torch.no_grad()
    def reserve(self, rows: int) -> None:
        """Have ``rows`` reserved rows: the last of those there are, or fresh ones where there are too few."""
        if rows > self.reserved:
            self.reserved_weight, self.reserved_bias = self._fresh(rows)
        elif rows == 0:
            self.reserved_weight = self.reserved_bias = None
        elif self.reserved_weight is not None and self.reserved_bias is not None:
            self.reserved_weight = nn.Parameter(self.reserved_weight[-rows:].clone())
            self.reserved_bias = nn.Parameter(self.reserved_bias[-rows:].clone())

    @torch.no_grad()
    def load_reserved(self, weight: Tensor, bias: Tensor) -> None:
        """Put stored values into the reserved rows."""
        if self.reserved_weight is None or self.reserved_bias is None or len(bias) != self.reserved:
            raise ValueError(f"There are {self.reserved} reserved rows, the stored ones are {len(bias)}.")
        self.reserved_weight.copy_(weight)
        self.reserved_bias.copy_(bias)

    def freeze_old(self) -> None:
        """Keep every row as it is but those of the newest group and the reserved ones."""
        for parameter in (*self.weights[:-1], *self.biases[:-1]):
            parameter.requires_grad_(requires_grad=False)

    @torch.no_grad()
    def load(self, convolution: nn.Conv2d) -> None:
        """Take over the rows of a plain ``convolution`` with as many rows as all groups have together."""
        if convolution.bias is None or len(convolution.weight) != sum(self._rows):
            raise ValueError(
                f"The classifier has {sum(self._rows)} rows in groups of {self._rows}, and a bias; "
                f"the stored one has {len(convolution.weight)}."
            )
        stored_weights, stored_biases = convolution.weight.split(self._rows), convolution.bias.split(self._rows)
        for own, stored in zip((*self.weights, *self.biases), (*stored_weights, *stored_biases), strict=True):
            own.copy_(stored)

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """One plain convolution with every class's row: what Hugging Face models have and can load."""
        channels = self.weights[0].shape[1]
        convolution = nn.Conv2d(channels, sum(self._rows), kernel_size=1, device=self.weights[0].device)
        convolution.weight.copy_(torch.cat(list(self.weights)))
        if convolution.bias is not None:
            convolution.bias.copy_(torch.cat(list(self.biases)))
        return convolution
