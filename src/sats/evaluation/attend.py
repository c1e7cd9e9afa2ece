"""Where the region of a class attends to in an image, as the attention transfer sees it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import interpolate

from sats.losses.attention import class_rows
from sats.models.segmenter import Segmenter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from sats.evaluation.predict import Predictor
    from sats.types import AttentionTap


@torch.no_grad()
def class_attention(
    predictor: Predictor, image: Image.Image, labels: NDArray[np.uint8]
) -> dict[int, NDArray[np.float32]]:
    """The attention of each foreground class in ``labels`` [H, W], at any resolution, over the grid of keys: [h, w].

    Rows averaged over the class's region, then over heads, then over the blocks that SATS taps in which the region
    has a place. Empty for a model whose attention cannot be tapped, or whose keys lie on no grid.
    """
    model = predictor.model
    if not isinstance(model, Segmenter) or not model.default_taps:
        return {}
    pixels = predictor.normalised(image)
    taps = [tap for tap in model(pixels, model.default_taps).attentions if _has_grid(tap)]
    regions = torch.from_numpy(labels.astype("int64"))[None].to(pixels.device)
    maps: dict[int, list[Tensor]] = {}
    for tap in taps:
        rows, classes = class_rows(tap, regions)
        for row, index in zip(rows[0].mean(dim=0), classes.tolist(), strict=True):
            maps.setdefault(index, []).append(row[tap.key_prefix :].reshape(tap.key_grid or ()))
    return {index: _mean(found) for index, found in maps.items()}


def _has_grid(tap: AttentionTap) -> bool:
    return tap.key_grid is not None and math.prod(tap.key_grid) + tap.key_prefix == tap.key.shape[2]


def _mean(maps: list[Tensor]) -> NDArray[np.float32]:
    """The mean of maps [h, w] over their finest grid, each with the same sum before."""
    finest = max((tuple(one.shape) for one in maps), key=math.prod)
    enlarged = [interpolate(one[None, None], size=finest, mode="bilinear")[0, 0] for one in maps]
    return torch.stack([one / one.sum() for one in enlarged]).mean(dim=0).float().cpu().numpy()
