"""ONNX files with 8-bit weights, and how to measure a model that is an ONNX file."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import interpolate

from sats.models.classifier import with_virtual_background
from sats.types import SegOutput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from sats.models.classifier import GrowingClassifier
    from sats.models.segmenter import Segmenter

LINEAR = ("MatMul", "Gemm")
"""What is quantised: onnxruntime has no dynamic convolution that is faster than the one in float32."""


def quantise(file: Path, out: Path) -> None:
    """Write ``file`` to ``out`` with the weights of its linear layers in 8 bits, activations scaled as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(file, out, weight_type=QuantType.QInt8, op_types_to_quantize=list(LINEAR))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice to prepare the file first, which was done when it was exported."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class OnnxModel(nn.Module):
    """The ONNX ``file`` of ``segmenter``, measured as that is; ``size`` is the only one that its images may have."""

    def __init__(self, file: Path, segmenter: Segmenter, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        import onnxruntime

        self._session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
        self._segmenter, self._size = segmenter.cpu(), size

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of every channel."""
        return self._segmenter.classes

    @property
    def classifier(self) -> GrowingClassifier:
        """The last layer of the model that was exported."""
        return self._segmenter.classifier

    def forward(self, images: Tensor) -> SegOutput:
        """Logits of images [B, 3, H, W] normalised by MEAN and STD; they have no features and no taps."""
        size = (images.shape[-2], images.shape[-1])
        images = self._segmenter.as_expected(images)
        if self._size is not None:
            images = interpolate(images, size=self._size, mode="bilinear", align_corners=False)
        logits = torch.from_numpy(self._session.run(["logits"], {"pixel_values": images.numpy()})[0])
        if not self.classifier.has_background:
            logits = with_virtual_background(logits)
        return SegOutput(logits, (), (), size)
