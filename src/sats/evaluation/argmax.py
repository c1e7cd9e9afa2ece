"""The class of every pixel, without full-resolution logits of more than one image at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from sats.losses.enlarged import Enlarged

if TYPE_CHECKING:
    from torch import Tensor

    from sats.types import SegOutput

Scoring = Callable[["Tensor", int], "Tensor"]
"""What makes class scores [B, C, H, W] of logits and the number of classes C (`Method.scores`)."""


LARGE = 2**26
"""Of an image with more logits than these, 256 MiB, no more than a few rows are made at once."""


def first_logits(logits: Tensor, num_classes: int) -> Tensor:
    """The scores of a model without a method: the logits, those of reserved rows left out."""
    return logits[:, :num_classes]


def best_classes(output: SegOutput, size: tuple[int, int], num_classes: int, scores: Scoring = first_logits) -> Tensor:
    """The class of the highest score, the first of equal ones, at each pixel of ``size``: [B, H, W], uint8.

    Logits are upsampled before they are scored, an image at a time: 151 classes at 512 x 512 are 151 MiB for each. Of a
    large image a few rows at a time.
    """
    found = [
        _in_pieces(image, size, num_classes, scores)
        if len(image) * size[0] * size[1] > LARGE
        else _highest(scores(dataclasses.replace(output, logits=image[None]).logits_at(size), num_classes))
        for image in output.logits
    ]
    return torch.cat(found)


def _in_pieces(logits: Tensor, size: tuple[int, int], num_classes: int, scores: Scoring) -> Tensor:
    """Of one image's logits [C, h, w]: [1, H, W]."""
    large = Enlarged(logits[None], size, slice(0, 1))
    return torch.cat([_highest(scores(large.read(rows)[None], num_classes)) for rows in large.pieces()], dim=1)


def _highest(scores: Tensor) -> Tensor:
    return scores.max(dim=1).indices.to(torch.uint8)  # up to three times as fast as argmax
