"""Per-pixel classification losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional

from sats.losses.chunks import pixel_losses
from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from torch import Tensor

SOME_OLD: Final = -1
"""The label of a pixel that is of some old class, within this module."""


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each pixel, 0 where ``target`` is IGNORE.

    ``logits`` [B, C, h, w] are brought to the resolution of ``target`` [B, H, W], of channels or IGNORE, bilinear;
    returns [B, H, W] in nats. The field takes its mean over *all* pixels, ignored ones counting as zeros (MiB and all
    code that follows it).
    """
    return pixel_losses(_Softmax(), logits, target)


def unbiased_cross_entropy(logits: Tensor, target: Tensor, num_old: int, keep_old: bool = False) -> Tensor:
    """Cross-entropy in which background may be any old class (MiB, eq. 5); [B, H, W] in nats, 0 at IGNORE.

    ``logits`` [B, C, h, w] and ``target`` [B, H, W] as for `cross_entropy`; the probability of background is the sum
    over the first ``num_old`` channels. Labels of old classes count as background, as published, or as what they are
    with ``keep_old``. With no old class (``num_old`` 0 or 1) this is plain cross-entropy.
    """
    num_old = max(num_old, BACKGROUND + 1)
    wanted = target if keep_old else torch.where(target < num_old, BACKGROUND, target)
    return pixel_losses(_Softmax(num_old), logits, wanted)


@dataclass(frozen=True)
class _Softmax:
    """Cross-entropy whose background has the probability of the first ``num_background`` channels together."""

    num_background: int = BACKGROUND + 1

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits [C, h, w] and labels [h, w]: [h, w]."""
        log_probabilities, _ = self._with_background(logits)
        known = labels != IGNORE
        wanted = labels.where(known, BACKGROUND)
        return (-log_probabilities.gather(0, wanted[None])[0]).masked_fill(~known, 0)

    def gradient(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Each probability less what is wanted: the label, or a channel's share in the background; 0 at IGNORE."""
        log_probabilities, shares = self._with_background(logits)
        known = labels != IGNORE
        wanted = labels.where(known, BACKGROUND)
        difference = log_probabilities.exp_()
        if shares is not None:
            is_background = wanted == BACKGROUND
            difference[BACKGROUND] *= shares[BACKGROUND]
            difference[: len(shares)] -= shares * is_background
            labelled = ~is_background
        else:
            labelled = torch.ones_like(known)
        difference.scatter_add_(0, wanted[None], -labelled[None].to(difference.dtype))
        return difference.mul_(weights * known)

    def _with_background(self, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities [C, h, w], that of the background being many channels' together.

        And the share [n, h, w] of each of these channels in it; None where it is one channel.
        """
        if self.num_background == 1:
            return logits.log_softmax(dim=0), None
        everything = logits.logsumexp(dim=0)
        together = logits[: self.num_background].logsumexp(dim=0)
        shares = (logits[: self.num_background] - together).exp_()
        log_probabilities = logits - everything
        log_probabilities[BACKGROUND] = together - everything
        return log_probabilities, shares


def partial_cross_entropy(logits: Tensor, target: Tensor, some_old: Tensor, num_old: int) -> Tensor:
    """Cross-entropy in which a pixel may be known to be of some old class, no more; [B, H, W] in nats, 0 at IGNORE.

    ``logits`` [B, C, h, w] and ``target`` [B, H, W] as for `cross_entropy`. Where the mask ``some_old`` [B, H, W] is
    set, whatever the target, the probability is that of the first ``num_old`` channels together, the background's among
    them: MiB's unbiased cross-entropy (eq. 5) there, the plain one elsewhere.
    """
    return pixel_losses(_Partial(num_old), logits, target.masked_fill(some_old, SOME_OLD))


@dataclass(frozen=True)
class _Partial:
    """Cross-entropy whose label SOME_OLD has the probability of the first ``num_old`` channels together."""

    num_old: int

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits [C, h, w] and labels [h, w]: [h, w]."""
        everything = logits.logsumexp(dim=0)
        together = logits[: self.num_old].logsumexp(dim=0)
        wanted = logits.gather(0, self._labelled(labels)[None])[0]
        return (everything - together.where(labels == SOME_OLD, wanted)).masked_fill(labels == IGNORE, 0)

    def gradient(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Each probability less what is wanted: the label, or a channel's share in the old ones; 0 at IGNORE."""
        some_old, known = labels == SOME_OLD, labels != IGNORE
        difference = logits.softmax(dim=0)
        difference[: self.num_old] -= logits[: self.num_old].softmax(dim=0) * some_old
        difference.scatter_add_(0, self._labelled(labels)[None], -(~some_old)[None].to(difference.dtype))
        return difference.mul_(weights * known)

    def _labelled(self, labels: Tensor) -> Tensor:
        """The labels, where they are channels; else the background, which stands for nothing."""
        return labels.where((labels != IGNORE) & (labels != SOME_OLD), BACKGROUND)


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of every class against the rest, summed over classes (SSUL, LwF-MC); 0 at IGNORE.

    ``logits`` [B, C, h, w] and ``target`` [B, H, W] as for `cross_entropy`, the background a class like others;
    returns [B, H, W] in nats.
    """
    return pixel_losses(_Sigmoid(), logits, target)


class _Sigmoid:
    """Binary cross-entropy of every channel, summed: softplus(z) less the logit of the label."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits [C, h, w] and labels [h, w]: [h, w]."""
        known = labels != IGNORE
        wanted = labels.where(known, BACKGROUND)
        losses = functional.softplus(logits).sum(dim=0) - logits.gather(0, wanted[None])[0]
        return losses.masked_fill(~known, 0)

    def gradient(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Each probability less one at the label; 0 at IGNORE."""
        known = labels != IGNORE
        wanted = labels.where(known, BACKGROUND)
        difference = logits.sigmoid()
        difference.scatter_add_(0, wanted[None], -torch.ones_like(difference[:1]))
        return difference.mul_(weights * known)


def one_hot(target: Tensor, num_classes: int) -> Tensor:
    """``target`` [B, H, W] as [B, C, H, W] of zeros and ones, all zero at IGNORE."""
    classes = torch.arange(num_classes, device=target.device).view(1, -1, 1, 1)
    return (target[:, None] == classes).float()
