"""Models for other programs: ONNX files, checked against torch before they are left behind."""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from sats.errors import RunError
from sats.files import replacing, saving
from sats.models import checkpoint
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
SHORTEST, LARGEST_STRIDE = 96, 32
"""Pixels: about the shorter side of what is traced, and how far apart the coarsest features of a network are."""
SIZES: tuple[Size, ...] = ((96, 128), (64, 64), (131, 90))
"""What a file for images of any size is checked on."""


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

    Batch and images may have any size, or the images only the ``size`` that is given, which makes a simpler file. The
    names of the classes are the file's metadata "classes", a list in JSON.
    ValueError if something is missing; RunError if onnxruntime does not find what torch does.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX export needs more packages: pip install {' '.join(missing)}")
    network = checkpoint.load_network(folder).eval()
    family = family_of(network)
    family.adapt(network)
    if family.attention_blocks(network):  # torch cannot trace fast attention with a position bias for a free batch
        encoder: Any = network.get_submodule(family.encoder)
        encoder.set_attn_implementation("eager")
    logits = _Logits(network).eval()
    program = _traced(logits, size or _size_to_trace(network), any_size=size is None)
    program.model.metadata_props["classes"] = json.dumps(checkpoint.class_names(network.config), ensure_ascii=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    with saving(out), replacing(out) as beside, _translating(one_size=size is not None):
        program.save(beside, external_data=False)
        _check(logits, beside, (size,) if size else SIZES)


def _size_to_trace(network: PreTrainedModel) -> Size:
    """What a file for images of any size is traced with: odd numbers of patches, so that no level is just half another.

    The trace would take a relation between sizes that happens to hold in it for one that always holds.
    """
    config: Any = getattr(network.config, "backbone_config", None) or network.config
    patch_size = getattr(config, "patch_size", LARGEST_STRIDE)
    number = SHORTEST // patch_size | 1
    return (number * patch_size, (number + 2) * patch_size)


def _traced(logits: _Logits, size: Size, any_size: bool) -> Any:
    """An ONNX program that computes ``logits``, for any batch size."""
    free = torch.export.Dim.DYNAMIC
    axes = {0: free, 2: free, 3: free} if any_size else {0: free}
    with _quiet(), _translating(not any_size), _free_sizes(logits.network):
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

    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    for batch, size in enumerate(sizes * (1 if len(sizes) > 1 else 2), start=1):
        images = torch.randn(batch, 3, *size, generator=generator)
        expected = logits(images)
        found = torch.from_numpy(session.run(["logits"], {"pixel_values": images.numpy()})[0])
        if found.shape != expected.shape or (found - expected).abs().max() > TOLERANCE * expected.abs().max():
            raise RunError(
                f"onnxruntime does not compute what torch does, for {batch} images of {size[0]} x {size[1]}: the file "
                "was not kept. Another version of onnxscript may translate this network better."
            )


@contextmanager
def _translating(one_size: bool) -> Iterator[None]:
    """Turn whatever the exporter or onnxruntime stumbles over into one RunError."""
    try:
        yield
    except (RunError, OSError):
        raise
    except Exception as error:  # the two raise errors of no common kind
        first = COLOURS.sub("", str(error).strip().split("\n")[0])
        smaller = "" if one_size else "For images of one size it may: --size H W. "
        raise RunError(
            f"The network cannot be translated to ONNX ({first}): nothing was written. {smaller}Other versions of "
            "torch and onnxscript may do better; --format hf always works."
        ) from error


@contextmanager
def _free_sizes(network: PreTrainedModel) -> Iterator[None]:
    """Without what fixes the sizes of images to the traced ones: transformers' whole numbers, and pooling."""
    written_in = {sys.modules[type(module).__module__] for module in network.modules()}
    with ExitStack() as changes:
        for source in written_in:
            if hasattr(source, "torch_int"):
                changes.enter_context(_replaced(source, "torch_int", _whole))
        for module in network.modules():
            if isinstance(module, nn.AdaptiveAvgPool2d):
                bins = cast("Size | int", module.output_size)
                changes.enter_context(_replaced(module, "forward", partial(pooled, bins)))
        yield


@contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Within this context ``owner`` has another attribute ``name``, be that its own or its class's."""
    own = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


def _whole(number: Any) -> Any:
    """A whole number, still unknown where it depends on a size."""
    return number if isinstance(number, torch.SymInt) else int(number)


def pooled(bins: Size | int, maps: Tensor) -> Tensor:
    """Adaptive average pooling of maps [B, C, h, w], which ONNX has not for free sizes, by two products of matrices."""
    rows, columns = (bins, bins) if isinstance(bins, int) else bins
    return _averages(rows, maps.shape[2]) @ maps @ _averages(columns, maps.shape[3]).T


def _averages(bins: int, length: int) -> Tensor:
    """The matrix [bins, length] that averages ``length`` values in bins, as torch places these."""
    place, number = torch.arange(length), torch.arange(bins)[:, None]
    first, end = (number * length) // bins, ((number + 1) * length + bins - 1) // bins
    inside = ((place >= first) & (place < end)).float()
    return inside / inside.sum(1, keepdim=True)


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
