"""Per-pixel classification losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function
from torch.nn import functional

from sats.losses.chunks import apply, chunks, keep, kept
from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each pixel, 0 where ``target`` is IGNORE.

    ``logits`` [B, C, H, W], ``target`` [B, H, W] of channels or IGNORE; returns [B, H, W] in nats. The field
    takes its mean over *all* pixels, ignored ones counting as zeros (MiB and all code that follows it).
    """
    return apply(_CrossEntropy, logits, target, BACKGROUND + 1)


def unbiased_cross_entropy(logits: Tensor, target: Tensor, num_old: int, keep_old: bool = False) -> Tensor:
    """Cross-entropy in which background may be any old class (MiB, eq. 5); [B, H, W] in nats, 0 at IGNORE.

    ``logits`` [B, C, H, W] and ``target`` [B, H, W]; the probability of background is the sum over the first
    ``num_old`` channels. Labels of old classes count as background, as published, or as what they are with
    ``keep_old``. With no old class (``num_old`` 0 or 1) this is plain cross-entropy.
    """
    num_old = max(num_old, BACKGROUND + 1)
    wanted = target if keep_old else torch.where(target < num_old, BACKGROUND, target)
    return apply(_CrossEntropy, logits, wanted, num_old)


class _CrossEntropy(Function):
    """Cross-entropy whose background has the probability of the first channels together.

    Forward computes the gradient as well, chunk by chunk: it is all that is kept for backward.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, num_background: int) -> Tensor:
        """The loss of each pixel; background is the sum over ``num_background`` channels."""
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        loss = logits.new_empty(target.shape)
        for image, rows in chunks(logits):
            log_probabilities, shares = _with_background(logits[image, :, rows], num_background)
            known = target[image, rows] != IGNORE
            wanted = target[image, rows].where(known, BACKGROUND)
            loss[image, rows] = (-log_probabilities.gather(0, wanted[None])[0]).masked_fill(~known, 0)
            if gradient is not None:
                gradient[image, :, rows] = _difference(log_probabilities, wanted, known, shares)
        if gradient is not None:
            keep(ctx, gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """What forward found, weighted pixel by pixel."""
        return kept(ctx).mul_(gradient[:, None]), None, None


def _with_background(logits: Tensor, num_background: int) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities [C, h, w] of ``logits`` [C, h, w], that of the background being many channels' together.

    And the share [n, h, w] of each of these channels in it; None where it is one channel.
    """
    if num_background == 1:
        return logits.log_softmax(dim=0), None
    everything = logits.logsumexp(dim=0)
    together = logits[:num_background].logsumexp(dim=0)
    shares = (logits[:num_background] - together).exp_()
    log_probabilities = logits - everything
    log_probabilities[BACKGROUND] = together - everything
    return log_probabilities, shares


def _difference(log_probabilities: Tensor, wanted: Tensor, known: Tensor, shares: Tensor | None) -> Tensor:
    """Each probability less what is wanted: the label, or a channel's share in the background; 0 at IGNORE."""
    difference = log_probabilities.exp_()
    labelled = known
    if shares is not None:
        is_background = wanted == BACKGROUND
        labelled = known & ~is_background
        together = difference[BACKGROUND].clone()
        difference[BACKGROUND] = together * shares[BACKGROUND]
        difference[: len(shares)] -= shares * is_background
    difference.scatter_add_(0, wanted[None], -labelled[None].to(difference.dtype))
    return difference.mul_(known)


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
