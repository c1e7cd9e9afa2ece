"""Distillation on outputs: the student's probabilities follow the teacher's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from sats.losses.classification import one_hot
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from torch import Tensor


def unbiased_distillation(logits: Tensor, old_logits: Tensor, where: Tensor | None = None) -> Tensor:
    """Cross-entropy against the teacher, whose background may be any new class (MiB, eq. 7); a scalar in nats.

    ``logits`` [B, C, H, W] of the student and ``old_logits`` [B, K, H, W] of the teacher, K <= C. What the teacher
    calls background is compared with p(background) + p(every new class). Mean over all pixels and, as published,
    over the K old channels.

    With a mask ``where`` [B, H, W], the teacher has no background: what it says holds only if a pixel is of some old
    class, so the student's old channels are compared among themselves, and on the pixels of the mask alone.
    """
    if where is not None:
        return distillation(logits, old_logits, where)
    num_old = old_logits.shape[1]
    everything = torch.logsumexp(logits, dim=1, keepdim=True)
    background_or_new = torch.cat([logits[:, : BACKGROUND + 1], logits[:, num_old:]], dim=1)
    background = torch.logsumexp(background_or_new, dim=1, keepdim=True) - everything
    old = logits[:, BACKGROUND + 1 : num_old] - everything
    log_probabilities = torch.cat([background, old], dim=1)
    return -(old_logits.softmax(dim=1) * log_probabilities).mean(dim=1).mean()


def distillation(logits: Tensor, old_logits: Tensor, where: Tensor | None = None) -> Tensor:
    """Cross-entropy between the teacher's softmax and the student's over the old channels alone (LwF); a scalar.

    ``logits`` [B, C, H, W] of the student and ``old_logits`` [B, K, H, W] of the teacher, K <= C; the new channels
    are cut off before the softmax. In nats, mean over all pixels and, as published (MiB's code), over the K channels;
    pixels outside the mask ``where`` [B, H, W] count as zeros.
    """
    log_probabilities = logits[:, : old_logits.shape[1]].log_softmax(dim=1)
    terms = -(old_logits.softmax(dim=1) * log_probabilities)
    return terms.mean() if where is None else (terms.mean(dim=1) * where).mean()


def binary_distillation(logits: Tensor, old_logits: Tensor) -> Tensor:
    """Binary cross-entropy of the old channels against the teacher's sigmoids (LwF-MC); a scalar in nats.

    ``logits`` [B, C, H, W], ``old_logits`` [B, K, H, W], K <= C. Summed over channels, mean over all pixels.
    """
    num_old = old_logits.shape[1]
    return num_old * functional.binary_cross_entropy_with_logits(logits[:, :num_old], old_logits.sigmoid())


def lwf_mc(logits: Tensor, target: Tensor, old_probabilities: Tensor) -> Tensor:
    """The loss of iCaRL: labels for new channels, the teacher's sigmoids for old ones; a scalar in nats.

    ``logits`` [B, C, H, W]; ``target`` [B, H, W] of channels or IGNORE; ``old_probabilities`` [B, K, H, W], the
    background's among them. Summed over channels, mean over all pixels; as published, a pixel of IGNORE is one of no
    new class, and its old channels still follow the teacher.
    """
    num_old = old_probabilities.shape[1]
    wanted = torch.cat([old_probabilities, one_hot(target, logits.shape[1])[:, num_old:]], dim=1)
    return logits.shape[1] * functional.binary_cross_entropy_with_logits(logits, wanted)
