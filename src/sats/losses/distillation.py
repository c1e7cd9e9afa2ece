"""Distillation on outputs: the student's probabilities follow the teacher's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sats.types import BACKGROUND

if TYPE_CHECKING:
    from torch import Tensor


def unbiased_distillation(logits: Tensor, old_logits: Tensor) -> Tensor:
    """Cross-entropy against the teacher, whose background may be any new class (MiB, eq. 7); a scalar in nats.

    ``logits`` [B, C, H, W] of the student and ``old_logits`` [B, K, H, W] of the teacher, K <= C. What the teacher
    calls background is compared with p(background) + p(every new class). Mean over all pixels and, as published,
    over the K old channels.
    """
    num_old = old_logits.shape[1]
    everything = torch.logsumexp(logits, dim=1, keepdim=True)
    background_or_new = torch.cat([logits[:, : BACKGROUND + 1], logits[:, num_old:]], dim=1)
    background = torch.logsumexp(background_or_new, dim=1, keepdim=True) - everything
    old = logits[:, BACKGROUND + 1 : num_old] - everything
    log_probabilities = torch.cat([background, old], dim=1)
    return -(old_logits.softmax(dim=1) * log_probabilities).mean(dim=1).mean()
