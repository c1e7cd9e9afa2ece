"""What models see in a picture: models and what they saw are kept, and one works at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from PIL import Image

from sats import api
from sats.app.recent import Recent
from sats.data.index import read_image
from sats.types import BACKGROUND

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sats.app.models import Model
    from sats.evaluation.predict import Predictor

    Labels = NDArray[np.uint8]

MOST_PIXELS = 2**21
"""A larger picture is seen smaller: encoders without a size of their own would take minutes and all memory."""
MOST_SCORES = 2**27
"""Of the classes at every pixel of a picture: half a gigabyte of them in float32."""
BYTES_OF_MODELS = 4 * 2**30
BYTES_OF_MAPS = 2**28


@dataclass(frozen=True)
class Photo:
    """A picture in RGB, upright; ``digest`` tells its file from others, ``name`` is that without suffix."""

    name: str
    digest: str
    image: Image.Image


class Sight:
    """Sees pictures with the eyes of models, which are loaded when they are needed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._predictors: Recent[Path, Predictor] = Recent(BYTES_OF_MODELS, _bytes_of)
        self._maps: Recent[tuple[Path, str], Labels] = Recent(BYTES_OF_MAPS, lambda labels: labels.nbytes)

    def labels(self, model: Model, photo: Photo) -> Labels:
        """The places of the most probable classes among the background and ``model.classes``: [h, w], of any size."""
        with self._lock:
            return self._maps.get((model.folder, photo.digest), lambda: self._see(model, photo.image))

    def _see(self, model: Model, image: Image.Image) -> Labels:
        predictor = self._predictors.get(model.folder, lambda: api.load(model.folder))
        return predictor.labels(within_reach(image, BACKGROUND + 1 + len(model.classes)))


def open_photo(path: str) -> Photo:
    """The picture in an uploaded file; ValueError if it is none, or larger than pictures are read."""
    file = Path(path)
    content = file.read_bytes()
    return Photo(file.stem, hashlib.sha256(content).hexdigest(), read_image(file.name, content=content))


def within_reach(image: Image.Image, num_classes: int) -> Image.Image:
    """``image``, or where it is too large for so many classes a smaller one of its shape."""
    most = min(MOST_PIXELS, MOST_SCORES // num_classes)
    if prod(image.size) <= most:
        return image
    factor = sqrt(most / prod(image.size))
    width, height = (max(1, int(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2)


def _bytes_of(predictor: Predictor) -> int:
    return sum(tensor.nbytes for tensor in predictor.model.parameters())
