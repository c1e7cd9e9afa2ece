"""Models for other programs: ONNX files, checked against torch before they are left behind."""

from __future__ import annotations

import json
import logging
import re
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sats.errors import RunError
from sats.files import replacing, saving
from sats.models import checkpoint
from sats.models.segformer import SEGFORMER
from sats.models.segmenter import family_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedModel

Size = tuple[int, int]
"""Height and width in pixels."""

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""What torch paints its messages with."""
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4
"""The largest difference of a logit, relative to the largest logit, that rounding may explain."""
SIZES: tuple[Size, ...] = ((96, 128), (64, 64), (131, 90))
"""What a file for images of any size is checked on; it is traced with the first."""


class _Logits(nn.Module):
    """Only the logits of a network, [B, classes, h, w], of normalised images [B, 3, H, W]."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> Tensor:
        logits: Tensor = self.network(pixel_values=pixel_values).logits
        return logits


def export_onnx(folder: Path, out: Path, size: Size | None = None) -> None:
    """Write the Hugging Face model in ``folder`` to the file ``out``: "pixel_values" in, "logits" out.

    The batch may have any size; images, too, if the model is a SegFormer. For other networks, whose heads are traced
    for one size, ``size`` says which. The names of the classes are the file's metadata "classes", a list in JSON.
    ValueError if something is missing; RunError if onnxruntime does not find what torch does.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX export needs more packages: pip install {' '.join(missing)}")
    network = checkpoint.load_network(folder).eval()
    any_size = network.config.model_type == SEGFORMER.model_type
    if not any_size:  # torch cannot trace fast attention with a position bias (BEiT's) for a free batch size
        encoder: Any = network.get_submodule(family_of(network).encoder)
        encoder.set_attn_implementation("eager")
    if size is None and not any_size:
        raise ValueError(f"A {network.config.model_type} is exported for images of one size: name it with --size H W.")
    sizes = (size,) if size else SIZES
    logits = _Logits(network).eval()
    program = _traced(logits, sizes[0], any_size=size is None)
    program.model.metadata_props["classes"] = json.dumps(checkpoint.class_names(network.config), ensure_ascii=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    with saving(out), replacing(out) as beside:
        program.save(beside, external_data=False)
        _check(logits, beside, sizes)


def _traced(logits: _Logits, size: Size, any_size: bool) -> Any:
    """An ONNX program that computes ``logits``, for any batch size."""
    free = torch.export.Dim.DYNAMIC
    axes = {0: free, 2: free, 3: free} if any_size else {0: free}
    with _quiet(), _translating():
        return torch.onnx.export(
            logits,
            (torch.zeros(2, 3, *size),),
            dynamo=True,
            input_names=["pixel_values"],
            output_names=["logits"],
            dynamic_shapes=(axes,),
            verbose=False,
        )


@torch.no_grad()
def _check(logits: _Logits, file: Path, sizes: tuple[Size, ...]) -> None:
    """RunError unless onnxruntime gets the same logits from ``file``, for batches of 1, 2, 3 random images."""
    import onnxruntime

    with _translating():
        session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    for batch, size in enumerate(sizes * (1 if len(sizes) > 1 else 2), start=1):
        images = torch.randn(batch, 3, *size, generator=generator)
        expected = logits(images)
        with _translating():
            found = torch.from_numpy(session.run(["logits"], {"pixel_values": images.numpy()})[0])
        if found.shape != expected.shape or (found - expected).abs().max() > TOLERANCE * expected.abs().max():
            raise RunError(
                f"onnxruntime does not compute what torch does, for {batch} images of {size[0]} x {size[1]}: the file "
                "was not kept. Another version of onnxscript may translate this network better."
            )


@contextmanager
def _translating() -> Iterator[None]:
    """Turn whatever the exporter or onnxruntime stumbles over into one RunError."""
    try:
        yield
    except Exception as error:  # the two raise errors of no common kind
        first = COLOURS.sub("", str(error).strip().split("\n")[0])
        raise RunError(
            f"The network cannot be translated to ONNX ({first}): nothing was written. Other versions of torch and "
            "onnxscript may do better; --format hf always works."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about operators that nobody asked for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
