"""Old classes as normal distributions of the features that a classifier reads."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def class_moments(features: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """How many places each of ``classes`` [K] has, and the sums of their features and of the squares.

    ``features`` [B, c, h, w]; ``labels`` [B, h, w] of channels or IGNORE. Returns [K, 1 + 2 c], float64: such tables
    add up over batches and processes. Of features on MPS, which has no float64, on the CPU.
    """
    if features.device.type == "mps":  # has no float64
        features, labels, classes = features.cpu(), labels.cpu(), classes.cpu()
    members = (labels.flatten() == classes[:, None]).double()
    places = features.movedim(1, -1).flatten(0, 2).double()
    return torch.cat([members.sum(dim=1, keepdim=True), members @ places, members @ places.square()], dim=1)


def mean_and_variance(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Means and variances [K, c] of what `class_moments` counted; 0 where it counted nothing."""
    count, total, squares = moments.tensor_split((1, 1 + moments.shape[1] // 2), dim=1)
    mean = total / count.clamp(min=1)
    return mean.float(), (squares / count.clamp(min=1) - mean.square()).clamp(min=0).float()


def expected_cross_entropy(rows: Tensor, biases: Tensor, means: Tensor, variances: Tensor, classes: Tensor) -> Tensor:
    """An upper bound of the mean cross-entropy of normally distributed features (ISDA, proposition 1); [K] in nats.

    A linear classifier of ``rows`` [C, c] and ``biases`` [C] reads features of mean and variance ``means`` and
    ``variances`` [K, c] and ought to see ``classes`` [K] in them. Exact in the limit of no variance; no feature is
    drawn, so it is the same in every process.
    """
    with torch.autocast(rows.device.type, enabled=False):  # a small difference of large sums: float32
        own = rows[classes]
        logits = means @ rows.T + biases
        spread = variances @ rows.square().T - 2 * (variances * own) @ rows.T
        spread = spread + (variances * own.square()).sum(dim=1, keepdim=True)
        return functional.cross_entropy(logits + spread / 2, classes, reduction="none")
