"""Per-pixel classification losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each pixel, 0 where ``target`` is IGNORE.

    ``logits`` [B, C, H, W], ``target`` [B, H, W] of channels or IGNORE; returns [B, H, W] in nats. The field
    takes its mean over *all* pixels, ignored ones counting as zeros (MiB and all code that follows it).
    """
    return functional.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")


def unbiased_cross_entropy(logits: Tensor, target: Tensor, num_old: int) -> Tensor:
    """Cross-entropy in which background may be any old class (MiB, eq. 5); [B, H, W] in nats, 0 at IGNORE.

    ``logits`` [B, C, H, W] and ``target`` [B, H, W]; the probability of background is the sum over the first
    ``num_old`` channels, and labels of old classes count as background. With no old class (``num_old`` 0 or 1)
    this is plain cross-entropy.
    """
    num_old = max(num_old, BACKGROUND + 1)
    everything = torch.logsumexp(logits, dim=1, keepdim=True)
    background = torch.logsumexp(logits[:, :num_old], dim=1, keepdim=True) - everything
    new = logits[:, num_old:] - everything
    log_probabilities = torch.cat([background, new], dim=1)
    shifted = torch.where(target < num_old, BACKGROUND, target - (num_old - 1))
    shifted = torch.where(target == IGNORE, IGNORE, shifted)
    return functional.nll_loss(log_probabilities, shifted, ignore_index=IGNORE, reduction="none")
