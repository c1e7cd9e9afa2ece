"""Plain ViTs with a head of their own: BEiT and DPT, and where their parts are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import BeitForSemanticSegmentation, DPTForSemanticSegmentation
from transformers.modeling_outputs import BaseModelOutput

from sats.models.family import Family, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from sats.models.family import Grid, Size


def _stages(name: str, ends: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """The layers called ``name``, parted by how many of them each map that the head reads has passed."""
    starts = [0, *ends[:-1]]
    return tuple(
        tuple(name.format(layer) for layer in range(start, end)) for start, end in zip(starts, ends, strict=True)
    )


def _maps(network: nn.Module, tokens: Sequence[Tensor], size: Size) -> tuple[Tensor, ...]:
    """Tokens [B, 1 + h w, D], a class token first, as maps [B, D, h, w]."""
    patch = _patch(network)
    grid = (size[0] // patch, size[1] // patch)
    return tuple(states[:, 1:].transpose(1, 2).unflatten(2, grid) for states in tokens)


def _one_class_token(network: nn.Module, stage: int, grid: Grid) -> Tokens:  # noqa: ARG001 (all stages are alike)
    return Tokens(grid, prefix=1)


def _beit_ends(network: nn.Module) -> list[int]:
    """Places of the hidden states that the head reads; the first is that before any layer."""
    if not isinstance(network, BeitForSemanticSegmentation):
        raise TypeError(f"Not a BEiT: {type(network).__name__}")
    return [index - 1 for index in network.config.out_indices or ()]


def _dpt_ends(network: nn.Module) -> list[int]:
    if not isinstance(network, DPTForSemanticSegmentation):
        raise TypeError(f"Not a DPT: {type(network).__name__}")
    if network.config.is_hybrid:
        raise ValueError("A hybrid DPT, whose first stages are convolutions, is not supported: take a plain one.")
    return [index + 1 for index in network.config.backbone_out_indices or ()]


def _with_states(ends: Sequence[int], read: Sequence[Tensor]) -> BaseModelOutput:
    """An encoder's answer with the hidden states that the head reads, at the places ``ends``, and none besides."""
    found = dict(zip(ends, read, strict=True))
    states: Any = tuple(found.get(place) for place in range(max(ends) + 1))
    return BaseModelOutput(hidden_states=states)


def _patch(network: nn.Module) -> int:
    """Pixels per side of a token."""
    config: Any = network.config
    return int(config.patch_size)


def _tell_neck_the_grid(network: nn.Module) -> None:
    """Let DPT's neck know how many tokens an image is high and wide; by itself it takes every image for a square."""
    patch = _patch(network)
    grid: list[int] = []

    def look(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        images = named["pixel_values"] if "pixel_values" in named else inputs[0]
        grid[:] = [side // patch for side in images.shape[-2:]]

    def tell(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return inputs, {**named, "patch_height": grid[0], "patch_width": grid[1]}

    network.get_submodule("dpt").register_forward_pre_hook(look, with_kwargs=True)
    network.get_submodule("neck").register_forward_pre_hook(tell, with_kwargs=True)


BEIT = Family(
    model_type="beit",
    encoder="beit",
    classifier="decode_head.classifier",
    read=lambda network, encoded: tuple(encoded.hidden_states[end] for end in _beit_ends(network)),
    returned=lambda network, read: _with_states(_beit_ends(network), read),
    maps=_maps,
    attention_blocks=lambda network: _stages("beit.layers.{}.attention", _beit_ends(network)),
    tokens=_one_class_token,
)
DPT = Family(
    model_type="dpt",
    encoder="dpt",
    classifier="head.head.4",
    read=lambda network, encoded: tuple(encoded.hidden_states[end] for end in _dpt_ends(network)),
    returned=lambda network, read: _with_states(_dpt_ends(network), read),
    maps=_maps,
    attention_blocks=lambda network: _stages("dpt.encoder.layer.{}.attention.attention", _dpt_ends(network)),
    tokens=_one_class_token,
    adapt=_tell_neck_the_grid,
)
