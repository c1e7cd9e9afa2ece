"""Pooled output distillation: strips of the student's features follow the teacher's (PLOP, section 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sats.types import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor


def local_pod(
    features_old: Sequence[Tensor],
    features_new: Sequence[Tensor],
    scales: Sequence[int] = (1, 2, 4),
    factor: float = 0.01,
    schedule: float = 1.0,
    logits_factor: float | None = None,
) -> Tensor:
    """Local POD (PLOP, eq. 3-4): distance between the strips of squared feature maps; a scalar.

    ``features_old`` of the teacher and ``features_new`` of the student are maps [B, c, h, w], the same layers of both;
    ``schedule`` is PLOP's adaptive sqrt(classes so far / new classes). With ``logits_factor`` the last map of each is
    the logits [B, C, h, w], which have that factor instead of ``factor`` and whose new channels are added to the
    student's background. Frobenius norm for each image, mean over images, then over maps.
    """
    if not features_new or len(features_old) != len(features_new):
        raise ValueError(
            f"POD needs the same layers of student and teacher, at least one; got {len(features_new)} and "
            f"{len(features_old)}."
        )
    factors = [factor] * len(features_new)
    student = list(features_new)
    if logits_factor is not None:
        factors[-1] = logits_factor
        student[-1] = _new_classes_as_background(student[-1], features_old[-1].shape[1])
    with torch.autocast(features_new[0].device.type, enabled=False):  # squares overflow in half precision
        distances = [
            weight * _distance(old.float(), new.float(), scales)
            for old, new, weight in zip(features_old, student, factors, strict=True)
        ]
    return schedule * torch.stack(distances).mean()


def pod_embedding(features: Tensor, scales: Sequence[int] = (1, 2, 4)) -> Tensor:
    """The strips of a map [B, c, h, w]: the means over rows and over columns of each of s x s cells, for each scale s.

    Returns [B, n]. A side of fewer than s pixels is cut into as many cells as it has pixels.
    """
    return torch.cat([strip for scale in scales for strip in _strips(features, scale)], dim=1)


def _new_classes_as_background(logits: Tensor, num_old: int) -> Tensor:
    background = logits[:, : BACKGROUND + 1] + logits[:, num_old:].sum(dim=1, keepdim=True)
    return torch.cat([background, logits[:, BACKGROUND + 1 : num_old]], dim=1)


def _distance(old: Tensor, new: Tensor, scales: Sequence[int]) -> Tensor:
    difference = pod_embedding(new.square(), scales) - pod_embedding(old.square(), scales)
    norm: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return norm.mean()


def _strips(features: Tensor, scale: int) -> Iterator[Tensor]:
    """The means over columns and over rows of every cell, flattened; what does not fill a cell is left out."""
    height, width = max(1, features.shape[2] // scale), max(1, features.shape[3] // scale)
    down, across = min(scale, features.shape[2]), min(scale, features.shape[3])
    cells = features[:, :, : down * height, : across * width].unflatten(3, (across, width)).unflatten(2, (down, height))
    yield cells.mean(dim=5).flatten(1)
    yield cells.mean(dim=3).flatten(1)
