"""One confusion matrix over a whole data set: what every score is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from sats.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from sats.models.quantise import OnnxModel
    from sats.models.segmenter import Segmenter
    from sats.types import Batch


@torch.no_grad()  # no inference mode: what a network keeps of one call for the next it may need in training
def confusion_matrix(
    model: Segmenter | OnnxModel,
    batches: Iterable[Batch],
    scores: Callable[[Tensor, int], Tensor] = lambda logits, num_classes: logits[:, :num_classes],
) -> Tensor:
    """Pixels by true class (rows) and predicted class (columns): [C, C], int64, on the CPU.

    ``scores`` makes of logits and the number of classes what the prediction is the argmax of. Predictions are brought
    to the labels' resolution; IGNORE is left out.
    """
    model.eval()
    device = model.classifier.weights[0].device
    matrix = MulticlassConfusionMatrix(len(model.classes), ignore_index=IGNORE, validate_args=False).to(device)
    for batch in batches:
        height, width = batch.labels.shape[-2:]
        logits = model(batch.images).logits_at((height, width))
        predictions = scores(logits, len(model.classes)).max(dim=1).indices  # up to three times as fast as argmax
        matrix.update(predictions, batch.labels)
    counts: Tensor = matrix.confmat  # not compute(): it would add up processes by itself
    return counts.cpu()
