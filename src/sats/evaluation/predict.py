"""A trained model on pictures: class maps of any image, without knowing how it was trained."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

import numpy as np
import torch
from PIL import Image, ImageOps

from sats.data.index import read_image, to_rgb
from sats.data.loader import to_batch
from sats.data.transforms import resized
from sats.evaluation.argmax import best_classes
from sats.methods.finetune import Finetune
from sats.models import checkpoint

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from sats.methods import Method
    from sats.models.quantise import OnnxModel
    from sats.models.segmenter import Segmenter


Picture = Union[Image.Image, "NDArray[np.uint8]", "PathLike[str]", str]
"""An open image, an array [H, W, 3] in RGB, or a file's path."""


@dataclass(frozen=True)
class Prediction:
    """What a model sees in one image of H x W pixels.

    ``labels`` [H, W] is the most probable class of every pixel, as an index into ``classes``.
    ``probabilities`` [C, H, W] (float32) are those of ``classes``; they sum to 1 unless the model was trained by a
    method that tells each class from the rest (lwf-mc, ssul).
    """

    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    labels: NDArray[np.uint8]

    @property
    def shares(self) -> dict[str, float]:
        """The share of the image's pixels that each class found in it takes, largest first."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes)) / self.labels.size
        found = [(name, float(share)) for name, share in zip(self.classes, counts, strict=True) if share]
        return dict(sorted(found, key=lambda item: -item[1]))


@dataclass(frozen=True)
class Predictor:
    """A model ready for images; they are scaled to a short side of ``resize`` pixels first (0: not).

    ``method`` is the one it was trained by, which says how logits become probabilities; for a model folder that belongs
    to no run, the softmax.
    """

    model: Segmenter | OnnxModel
    resize: int = 0
    method: Method = field(default_factory=Finetune)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, the background first."""
        return self.model.classes

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @torch.no_grad()
    def predict(self, image: Picture) -> Prediction:
        """The classes in ``image``, at its own size: an open one, a file's path, or a uint8 array [H, W, 3] in RGB.

        Any size, greyscale, alpha and EXIF orientation will do; ValueError if a file is no image.
        """
        picture = _in_rgb(image)
        logits = self.model(self.normalised(picture)).logits_at((picture.height, picture.width))
        probabilities = self.method.probabilities(logits, len(self.classes))
        labels = self.method.scores(logits, len(self.classes)).argmax(dim=1)  # probabilities may round to the same
        return Prediction(self.classes, probabilities[0].cpu().numpy(), labels[0].to(torch.uint8).cpu().numpy())

    @torch.no_grad()
    def labels(self, image: Picture) -> NDArray[np.uint8]:
        """The labels of what `predict` sees, [H, W], without the probabilities, which take twice as much memory."""
        picture = _in_rgb(image)
        output, size = self.model(self.normalised(picture)), (picture.height, picture.width)
        found: NDArray[np.uint8] = best_classes(output, size, len(self.classes), self.method.scores)[0].cpu().numpy()
        return found

    def normalised(self, picture: Image.Image) -> Tensor:
        """An RGB image as the model takes it, [1, 3, H, W] on its device, scaled to the size it works at."""
        height, width = resized((picture.height, picture.width), self.resize)
        small = picture.resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.asarray(small).copy())[None]
        return to_batch(pixels, torch.zeros(1, 1, 1, dtype=torch.uint8), self.device).images


def _in_rgb(image: Picture) -> Image.Image:
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
            shape = f"{image.dtype} {list(image.shape)}"
            raise ValueError(f"An array of an image is uint8 and [H, W] or [H, W, 3], not {shape}: convert it.")
        image = Image.fromarray(image)
    if isinstance(image, Image.Image):
        return to_rgb(ImageOps.exif_transpose(image))
    if not os.path.lexists(image):
        raise ValueError(f"There is no image {os.fspath(image)}: fix the path.")
    return read_image(os.fspath(image))


def read_predictor(folder: Path, method: Method) -> Predictor:
    """The model in ``folder``, in Hugging Face's layout, which ``method`` trained; ValueError if there is none."""
    model = checkpoint.load(folder).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Predictor(model.to(device), model.preprocessing.short_side, method)
