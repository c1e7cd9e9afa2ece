"""Pseudo-labels from a teacher, kept where its entropy is below the median of its class (PLOP, eq. 5-6)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from sats.losses.enlarged import enlarged
from sats.losses.regions import resize_labels
from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

BINS = 65_536


def entropy(probabilities: Tensor) -> Tensor:
    """The normalised entropy of each pixel as PLOP's code takes it: *mean* over classes, over log C.

    ``probabilities`` [B, C, H, W]; returns [B, H, W] between 0 and 1 / C.
    """
    terms: Tensor = torch.special.entr(probabilities)
    return terms.mean(dim=1) / math.log(probabilities.shape[1])


def pseudo_labels(
    labels: Tensor, old_logits: Tensor, thresholds: Tensor, size: tuple[int, int] | None = None
) -> Tensor:
    """Labels with the teacher's class where they say background and the teacher is sure (PLOP, eq. 5).

    ``labels`` [B, H, W]; ``old_logits`` [B, K, h, w], brought to ``size`` (height, width), bilinear; None: as they are.
    Where that is not the labels' resolution the nearest answer counts. ``thresholds`` [K], one entropy for each class
    of the teacher. Background pixels on which the teacher is not sure become IGNORE; other labels stay.
    """
    classes, entropies = _answers(old_logits, size)
    answers = torch.where(entropies < thresholds[classes], classes, IGNORE)
    answers = resize_labels(answers, (labels.shape[1], labels.shape[2]))
    return torch.where(labels == BACKGROUND, answers, labels)


def most_likely(old_logits: Tensor, size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
    """The teacher's class of each place of ``size`` [B, H, W], and its sigmoid (SSUL); arguments as `pseudo_labels`."""
    classes, logits = _walk(old_logits, size, _largest)
    return classes, logits.sigmoid_()


def _answers(old_logits: Tensor, size: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """The teacher's class of each place [B, H, W], and its normalised entropy (as `entropy`)."""
    num_classes = old_logits.shape[1]
    classes, entropies = _walk(old_logits, size, _surest)
    return classes, entropies.div_(num_classes * math.log(num_classes))


def _largest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The channel of the largest of ``logits`` [C, h, w], and that logit."""
    found = logits.max(dim=0)
    return found.indices, found.values


def _surest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest channel of ``logits`` [C, h, w], and the entropy in nats."""
    log_probabilities = logits.log_softmax(dim=0)
    classes = log_probabilities.max(dim=0).indices  # much faster than argmax, which is the same
    return classes, -(log_probabilities.exp() * log_probabilities).sum(dim=0)


def _walk(
    logits: Tensor, size: tuple[int, int] | None, answer: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """The class and the figure that ``answer`` finds for each place of ``logits`` [B, C, h, w] at ``size``."""
    size = size or (logits.shape[2], logits.shape[3])
    classes = torch.empty(len(logits), *size, dtype=torch.int64, device=logits.device)
    figures = torch.empty_like(classes, dtype=torch.promote_types(logits.dtype, torch.float32))
    for large in enlarged(logits, size):
        for rows in large.pieces():
            found, figure = answer(large.read(rows))
            large.put(found, classes, rows)
            large.put(figure, figures, rows)
    return classes, figures


class EntropyHistogram:
    """Counts the teacher's entropies for each class, to take their medians (PLOP, eq. 6).

    Each of the ``num_classes`` classes has 65,536 bins over the possible range, 0 to 1 / C, so the median is exact
    to 1 / (65,536 C). ``counts`` [C, bins] may be summed over processes.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        self.counts = torch.zeros(num_classes * BINS, dtype=torch.int64, device=device)

    def add(self, labels: Tensor, old_logits: Tensor, size: tuple[int, int] | None = None) -> None:
        """Count the places that ``labels`` [B, H, W], nearest there, call background.

        ``old_logits`` [B, C, h, w] are brought to ``size`` (height, width), bilinear; None: as they are.
        """
        classes, entropies = _answers(old_logits, size)
        labels = resize_labels(labels, (classes.shape[1], classes.shape[2]))
        bins = (entropies * (self.num_classes * BINS)).long().clamp_(0, BINS - 1)
        places = (classes * BINS + bins)[labels == BACKGROUND]
        self.counts += torch.bincount(places, minlength=self.counts.numel())

    def medians(self, floor: float) -> Tensor:
        """The median entropy of each class [C], at least ``floor``; a class never seen has ``floor``."""
        counts = self.counts.view(self.num_classes, BINS)
        running = counts.cumsum(dim=1)
        total = running[:, -1:]
        middle = (running * 2 < total).sum(dim=1)  # the first bin that holds the median
        medians = (middle + 1).float() / (self.num_classes * BINS)
        return torch.where(total[:, 0] > 0, medians.clamp(min=floor), floor)
