"""What a model's images go through before they reach it, from the preprocessor's file beside its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sats.documents import read_json
from sats.types import MEAN, STD

if TYPE_CHECKING:
    from pathlib import Path

FILE = "preprocessor_config.json"
Colour = tuple[float, float, float]
"""A number for red, green and blue each."""
HALVES = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Preprocessing:
    """Images are scaled to a short side of ``short_side`` pixels (0: not), then normalised, in RGB of 0 to 1."""

    mean: Colour = MEAN
    std: Colour = STD
    short_side: int = 0


DEFAULTS = {"beit": Preprocessing(HALVES, HALVES), "dpt": Preprocessing(HALVES, HALVES)}
"""What transformers' own preprocessors of a family do, by its type; all others go by ImageNet's mean and deviation."""


def read_preprocessing(path: Path | None, model_type: str) -> Preprocessing:
    """The preprocessing that the file ``path`` tells of; where there is none, that of the model's family.

    Of a fixed height and width the smaller is the short side: shapes stay as they are. ValueError for a file that
    is broken, or for images that are not RGB of 0 to 255 scaled to 0 to 1.
    """
    if path is None:
        return DEFAULTS.get(model_type, Preprocessing())
    try:
        return _parsed(read_json(path))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{path} cannot be understood ({error}): fix it, or take it away.") from error


def _parsed(settings: dict[str, Any]) -> Preprocessing:
    if not settings.get("do_rescale", True) or abs(settings.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3:
        raise ValueError("its rescale_factor is not 1/255")
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if settings.get("do_normalize", True):
        mean, std = _colour(settings.get("image_mean", MEAN)), _colour(settings.get("image_std", STD))
    short_side = _short_side(settings.get("size")) if settings.get("do_resize", True) else 0
    return Preprocessing(mean, std, short_side)


def _colour(values: Any) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _short_side(size: Any) -> int:
    if isinstance(size, int):
        return size
    sides = size or {}
    return int(sides.get("shortest_edge") or min(sides.get("height", 0), sides.get("width", 0)))
