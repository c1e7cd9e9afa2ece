"""Regions of an image by class, on the grid of an attention or feature map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sats.losses.portions import way_of
from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from torch import Tensor


def _nearest(size: int, target: int, device: torch.device) -> Tensor:
    """The pixel nearest to the centre of each of ``target`` cells laid over ``size`` pixels."""
    return ((torch.arange(target, device=device) + 0.5) * (size / target)).long()


def resize_labels(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Labels [B, H, W] on a grid of (h, w) cells, nearest neighbour as in Pillow (``nearest-exact``): [B, h, w]."""
    if labels.shape[1:] == grid:
        return labels
    rows = _nearest(labels.shape[1], grid[0], labels.device)
    columns = _nearest(labels.shape[2], grid[1], labels.device)
    return labels[:, rows[:, None], columns]


def class_regions(labels: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The region of each foreground class: averaging weights, and which classes each image holds.

    ``labels`` [B, h, w] of channels or IGNORE; background and IGNORE belong to no region. Returns the weights
    [B, R, h * w], in which each present region sums to 1, and ``present`` [B, R], of the ``classes`` [R]; None: of
    those that occur anywhere in the batch.
    """
    members = class_members(labels, foreground(labels) if classes is None else classes)
    sizes = members.sum(dim=2, keepdim=True)
    return members / sizes.clamp(min=1), sizes[..., 0] > 0


def foreground(labels: Tensor, num_classes: int | None = None) -> Tensor:
    """The classes that occur in ``labels``, sorted, without background and IGNORE: [R].

    Which they are a GPU is asked only where it is not known that all labels but IGNORE are below ``num_classes``: else
    it gets all of these.
    """
    if num_classes is not None and not way_of(labels.device).asked:
        return torch.arange(BACKGROUND + 1, min(num_classes, IGNORE), device=labels.device)
    classes: Tensor = torch.unique(labels)
    return classes[(classes != BACKGROUND) & (classes != IGNORE)]


def class_members(labels: Tensor, classes: Tensor) -> Tensor:
    """Which places of ``labels`` [B, h, w] belong to each of ``classes`` [R]: bool [B, R, h * w]."""
    return labels.flatten(1)[:, None, :] == classes[None, :, None]
