"""One confusion matrix over a whole data set: what every score is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sats.evaluation.argmax import best_classes, first_logits
from sats.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from sats.evaluation.argmax import Scoring
    from sats.models.quantise import OnnxModel
    from sats.models.segmenter import Segmenter
    from sats.types import Batch


@torch.no_grad()  # no inference mode: what a network keeps of one call for the next it may need in training
def confusion_matrix(model: Segmenter | OnnxModel, batches: Iterable[Batch], scores: Scoring = first_logits) -> Tensor:
    """Pixels by true class (rows) and predicted class (columns): [C, C], int64, on the CPU.

    ``scores`` makes of logits and the number of classes what the prediction is the argmax of. Predictions are brought
    to the labels' resolution; IGNORE is left out.
    """
    model.eval()
    num_classes = len(model.classes)
    counts = torch.zeros((IGNORE + 1) * num_classes, dtype=torch.int64, device=model.classifier.weights[0].device)
    for batch in batches:
        height, width = batch.labels.shape[-2:]
        predictions = best_classes(model(batch.images), (height, width), num_classes, scores)
        pairs = batch.labels.int().mul_(num_classes).add_(predictions)  # a quarter of the time of 64 bits
        counts += torch.bincount(pairs.flatten(), minlength=len(counts))
    matrix = counts.view(IGNORE + 1, num_classes).cpu()
    assert not matrix[num_classes:IGNORE].any()  # noqa: S101 (ours: the stream's tables know no other class)
    return matrix[:num_classes].clone()
