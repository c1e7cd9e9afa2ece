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


def unbiased_cross_entropy(logits: Tensor, target: Tensor, num_old: int, keep_old: bool = False) -> Tensor:
    """Cross-entropy in which background may be any old class (MiB, eq. 5); [B, H, W] in nats, 0 at IGNORE.

    ``logits`` [B, C, H, W] and ``target`` [B, H, W]; the probability of background is the sum over the first
    ``num_old`` channels. Labels of old classes count as background, as published, or as what they are with
    ``keep_old``. With no old class (``num_old`` 0 or 1) this is plain cross-entropy.
    """
    num_old = max(num_old, BACKGROUND + 1)
    everything = torch.logsumexp(logits, dim=1, keepdim=True)
    background = torch.logsumexp(logits[:, :num_old], dim=1, keepdim=True)
    log_probabilities = torch.cat([background, logits[:, BACKGROUND + 1 :]], dim=1) - everything
    wanted = target if keep_old else torch.where(target < num_old, BACKGROUND, target)
    return functional.nll_loss(log_probabilities, wanted, ignore_index=IGNORE, reduction="none")


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of every class against the rest, summed over classes (SSUL, LwF-MC); 0 at IGNORE.

    ``logits`` [B, C, H, W] and ``target`` [B, H, W] of channels or IGNORE, the background a class like others;
    returns [B, H, W] in nats.
    """
    terms = functional.binary_cross_entropy_with_logits(logits, one_hot(target, logits.shape[1]), reduction="none")
    return terms.sum(dim=1) * (target != IGNORE)


def one_hot(target: Tensor, num_classes: int) -> Tensor:
    """``target`` [B, H, W] as [B, C, H, W] of zeros and ones, all zero at IGNORE."""
    classes = torch.arange(num_classes, device=target.device).view(1, -1, 1, 1)
    return (target[:, None] == classes).float()
