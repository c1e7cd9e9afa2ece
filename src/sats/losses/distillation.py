"""Distillation on outputs: the student's probabilities follow the teacher's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function
from torch.nn import functional

from sats.losses.chunks import apply, chunks, keep, kept
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
    return apply(_Distillation, logits, old_logits, None, True)


def distillation(logits: Tensor, old_logits: Tensor, where: Tensor | None = None) -> Tensor:
    """Cross-entropy between the teacher's softmax and the student's over the old channels alone (LwF); a scalar.

    ``logits`` [B, C, H, W] of the student and ``old_logits`` [B, K, H, W] of the teacher, K <= C; the new channels
    are cut off before the softmax. In nats, mean over all pixels and, as published (MiB's code), over the K channels;
    pixels outside the mask ``where`` [B, H, W] count as zeros.
    """
    return apply(_Distillation, logits, old_logits, where, False)


class _Distillation(Function):
    """Cross-entropy against the teacher's softmax; ``unbiased``: its background may be any new class.

    Forward computes the gradient as well, chunk by chunk: it is all that is kept for backward.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, old_logits: Tensor, where: Tensor | None, unbiased: bool) -> Tensor:
        """The mean over pixels and old channels."""
        num_old = old_logits.shape[1]
        gradient = torch.zeros_like(logits) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.promote_types(logits.dtype, torch.float32), device=logits.device)
        for image, rows in chunks(logits):
            wanted = old_logits[image, :, rows].softmax(dim=0)
            part = logits[image, :, rows]
            term, difference = _unbiased_term(part, wanted) if unbiased else _plain_term(part[:num_old], wanted)
            mask = None if where is None else where[image, rows]
            total += (term if mask is None else term * mask).sum(dtype=total.dtype)
            if gradient is not None:
                gradient[image, : len(difference), rows] = difference if mask is None else difference * mask
        size = old_logits.numel()
        if gradient is not None:
            keep(ctx, gradient)
        ctx.size = size
        return (total / size).to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """What forward found, weighted."""
        return kept(ctx).mul_(gradient / ctx.size), None, None, None


def _plain_term(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each pixel against ``wanted`` [K, h, w], and its gradient in ``logits`` [K, h, w]."""
    log_probabilities = logits.log_softmax(dim=0)
    term = -(wanted * log_probabilities).sum(dim=0)
    return term, log_probabilities.exp_().sub_(wanted)


def _unbiased_term(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The same of ``logits`` [C, h, w], whose background is one class with all new ones."""
    num_old = len(wanted)
    log_probabilities = logits.log_softmax(dim=0)
    anew = torch.cat([log_probabilities[: BACKGROUND + 1], log_probabilities[num_old:]])
    together = anew.logsumexp(dim=0)
    old = log_probabilities[BACKGROUND + 1 : num_old]
    term = -(wanted[BACKGROUND] * together + (wanted[BACKGROUND + 1 :] * old).sum(dim=0))
    shares = (anew - together).exp_().mul_(wanted[BACKGROUND])
    difference = log_probabilities.exp_()
    difference[BACKGROUND + 1 : num_old] -= wanted[BACKGROUND + 1 :]
    difference[: BACKGROUND + 1] -= shares[: BACKGROUND + 1]
    difference[num_old:] -= shares[BACKGROUND + 1 :]
    return term, difference


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
