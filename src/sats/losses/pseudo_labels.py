"""Pseudo-labels from a teacher, kept where its entropy is below the median of its class (PLOP, eq. 5-6)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from sats.losses.chunks import chunks
from sats.losses.regions import resize_labels
from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from torch import Tensor

BINS = 65_536


def entropy(probabilities: Tensor) -> Tensor:
    """The normalised entropy of each pixel as PLOP's code takes it: *mean* over classes, over log C.

    ``probabilities`` [B, C, H, W]; returns [B, H, W] between 0 and 1 / C.
    """
    terms: Tensor = torch.special.entr(probabilities)
    return terms.mean(dim=1) / math.log(probabilities.shape[1])


def pseudo_labels(labels: Tensor, old_logits: Tensor, thresholds: Tensor) -> Tensor:
    """Labels with the teacher's class where they say background and the teacher is sure (PLOP, eq. 5).

    ``labels`` [B, H, W]; ``old_logits`` [B, K, h, w], of the same resolution or a lower one, of which the nearest
    answer counts; ``thresholds`` [K], one entropy for each class of the teacher.
    Background pixels on which the teacher is not sure become IGNORE; other labels stay.
    """
    classes, entropies = _answers(old_logits)
    answers = torch.where(entropies < thresholds[classes], classes, IGNORE)
    answers = resize_labels(answers, (labels.shape[1], labels.shape[2]))
    return torch.where(labels == BACKGROUND, answers, labels)


def _answers(old_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher's class of each pixel [B, H, W], and its normalised entropy (as `entropy`)."""
    batch, num_classes, height, width = old_logits.shape
    classes = torch.empty(batch, height, width, dtype=torch.int64, device=old_logits.device)
    entropies = old_logits.new_empty(batch, height, width)
    for image, rows in chunks(old_logits):
        log_probabilities = old_logits[image, :, rows].log_softmax(dim=0)
        classes[image, rows] = log_probabilities.max(dim=0).indices  # much faster than argmax, which is the same
        entropies[image, rows] = -(log_probabilities.exp() * log_probabilities).sum(dim=0)
    return classes, entropies.div_(num_classes * math.log(num_classes))


class EntropyHistogram:
    """Counts the teacher's entropies for each class, to take their medians (PLOP, eq. 6).

    Each of the ``num_classes`` classes has 65,536 bins over the possible range, 0 to 1 / C, so the median is exact
    to 1 / (65,536 C). ``counts`` [C, bins] may be summed over processes.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        self.counts = torch.zeros(num_classes * BINS, dtype=torch.int64, device=device)

    def add(self, labels: Tensor, old_logits: Tensor) -> None:
        """Count the places of ``old_logits`` [B, C, h, w] that ``labels`` [B, H, W], nearest there, call background."""
        labels = resize_labels(labels, (old_logits.shape[2], old_logits.shape[3]))
        classes, entropies = _answers(old_logits)
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
