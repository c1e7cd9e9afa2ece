"""Distillation on outputs: the student's probabilities follow the teacher's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from sats.losses.chunks import compared
from sats.losses.classification import one_hot
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from torch import Tensor


def unbiased_distillation(
    logits: Tensor, old_logits: Tensor, where: Tensor | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """Cross-entropy against the teacher, whose background may be any new class (MiB, eq. 7); a scalar in nats.

    ``logits`` [B, C, h, w] of the student and ``old_logits`` [B, K, h, w] of the teacher, K <= C, are compared at
    ``size`` (height, width), to which both are brought, bilinear; None: as they are. What the teacher calls background
    is compared with p(background) + p(every new class). Mean over all pixels and, as published, over K, the old
    channels.

    With a mask ``where`` [B, H, W] of that size, the teacher has no background: what it says holds only if a pixel is
    of some old class, so the student's old channels are compared among themselves, and on the pixels of the mask alone.
    """
    if where is not None:
        return distillation(logits, old_logits, where, size)
    return compared(_unbiased, logits, old_logits, size=size)


def distillation_beside_labels(logits: Tensor, old_logits: Tensor, new: Tensor, size: tuple[int, int]) -> Tensor:
    """Unbiased distillation, but where a label proves the teacher wrong; a scalar in nats.

    Arguments as of `unbiased_distillation`; ``new`` [B, H, W], of ``size``, masks the pixels that are labelled with a
    new class. There the teacher's answer holds only for the old classes among themselves, and the student's old
    channels are compared so (`distillation`): the probability that the label asks for is not held down.
    """
    elsewhere = compared(_unbiased, logits, old_logits, ~new, size)
    return elsewhere + compared(_plain, logits, old_logits, new, size)


def distillation(
    logits: Tensor, old_logits: Tensor, where: Tensor | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """Cross-entropy between the teacher's softmax and the student's over the old channels alone (LwF); a scalar.

    Arguments as of `unbiased_distillation`; the new channels are cut off before the softmax. In nats, mean over all
    pixels and, as published (MiB's code), over the K channels; pixels outside the mask count as zeros.
    """
    return compared(_plain, logits, old_logits, where, size)


def _plain(logits: Tensor, old_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the K channels of each pixel's cross-entropy, and its gradient in ``logits`` [K, h, w]."""
    num_old = len(old_logits)
    wanted = old_logits.softmax(dim=0)
    log_probabilities = logits[:num_old].log_softmax(dim=0)
    losses = -(wanted * log_probabilities).sum(dim=0) / num_old
    return losses, log_probabilities.exp_().sub_(wanted).div_(num_old)


def _unbiased(logits: Tensor, old_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The same of ``logits`` [C, h, w], whose background is one class with all new ones."""
    num_old = len(old_logits)
    wanted = old_logits.softmax(dim=0)
    log_probabilities = logits.log_softmax(dim=0)
    anew = torch.cat([log_probabilities[: BACKGROUND + 1], log_probabilities[num_old:]])
    together = anew.logsumexp(dim=0)
    old = log_probabilities[BACKGROUND + 1 : num_old]
    losses = -(wanted[BACKGROUND] * together + (wanted[BACKGROUND + 1 :] * old).sum(dim=0)) / num_old
    shares = (anew - together).exp_().mul_(wanted[BACKGROUND])
    difference = log_probabilities.exp_()
    difference[BACKGROUND + 1 : num_old] -= wanted[BACKGROUND + 1 :]
    difference[: BACKGROUND + 1] -= shares[: BACKGROUND + 1]
    difference[num_old:] -= shares[BACKGROUND + 1 :]
    return losses, difference.div_(num_old)


def binary_distillation(logits: Tensor, old_logits: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Binary cross-entropy of the old channels against the teacher's sigmoids (LwF-MC); a scalar in nats.

    ``logits``, ``old_logits`` and ``size`` as for `unbiased_distillation`. Summed over channels, mean over all pixels.
    """
    return compared(_binary, logits, old_logits, size=size)


def _binary(logits: Tensor, old_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Each pixel's binary cross-entropy, summed over channels, and its gradient in ``logits`` [K, h, w]."""
    logits, wanted = logits[: len(old_logits)], old_logits.sigmoid()
    losses = (functional.softplus(logits) - logits * wanted).sum(dim=0)
    return losses, logits.sigmoid().sub_(wanted)


def lwf_mc(logits: Tensor, target: Tensor, old_probabilities: Tensor) -> Tensor:
    """The loss of iCaRL: labels for new channels, the teacher's sigmoids for old ones; a scalar in nats.

    ``logits`` [B, C, H, W]; ``target`` [B, H, W] of channels or IGNORE; ``old_probabilities`` [B, K, H, W], the
    background's among them. Summed over channels, mean over all pixels; as published, a pixel of IGNORE is one of no
    new class, and its old channels still follow the teacher.
    """
    num_old = old_probabilities.shape[1]
    wanted = torch.cat([old_probabilities, one_hot(target, logits.shape[1])[:, num_old:]], dim=1)
    return logits.shape[1] * functional.binary_cross_entropy_with_logits(logits, wanted)
