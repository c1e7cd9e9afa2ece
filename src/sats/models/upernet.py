"""UperNet: a light head over any backbone of transformers, and where the parts of the two are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import MODEL_FOR_BACKBONE_MAPPING, PreTrainedConfig, UperNetConfig, UperNetForSemanticSegmentation

from sats.models.family import Family, Tokens, read_maps, returned_maps

if TYPE_CHECKING:
    from torch import nn

    from sats.models.family import Grid

HEAD_SIZE = 64
"""Channels of the head, unless asked otherwise: light beside the backbone."""
STAGES = 4
VIT_LAYERS = {
    "dinov2": "encoder.layer.{}.attention",
    "dinov2_with_registers": "encoder.layer.{}.attention",
    "dinov3_vit": "model.layer.{}.attention",
    "beit": "beit.layers.{}.attention",
}
"""The attention module of each layer, by the type of a plain ViT backbone."""


def wrap_backbone(
    weights: str, config: PreTrainedConfig, num_labels: int, head_size: int
) -> UperNetForSemanticSegmentation:
    """An UperNet over the backbone stored in ``weights``, whose head starts at random.

    A plain ViT is read at four layers spread evenly, the last among them.
    """
    settings: dict[str, Any] = {}
    layers = getattr(config, "num_hidden_layers", 0)
    if config.model_type in VIT_LAYERS:
        settings["out_indices"] = [layers * (stage + 1) // STAGES for stage in range(STAGES)]
    kind: Any = MODEL_FOR_BACKBONE_MAPPING[type(config)]  # AutoBackbone itself would ask the hub about a folder here
    backbone = kind.from_pretrained(weights, dtype=torch.float32, use_safetensors=True, **settings)
    network = UperNetForSemanticSegmentation(upernet_config(backbone.config, num_labels, head_size))
    network.backbone.load_state_dict(backbone.state_dict())
    return network


def upernet_config(backbone: PreTrainedConfig, num_labels: int, head_size: int = HEAD_SIZE) -> UperNetConfig:
    """The configuration of an UperNet without auxiliary head over a backbone's."""
    config = UperNetConfig(backbone_config=backbone, hidden_size=head_size, use_auxiliary_head=False)
    config.num_labels = num_labels
    config._attn_implementation = "eager"  # noqa: SLF001 (UperNet itself has none and refuses any other)
    return config


def _backbone_config(network: nn.Module) -> PreTrainedConfig:
    if not isinstance(network, UperNetForSemanticSegmentation):
        raise TypeError(f"Not an UperNet: {type(network).__name__}")
    config = network.config.backbone_config
    if not isinstance(config, PreTrainedConfig):
        raise TypeError(f"The backbone of {type(network).__name__} has no configuration.")
    return config


def _attention_blocks(network: nn.Module) -> tuple[tuple[str, ...], ...]:
    """A ViT's layers, parted into stages by the layers that the head reads."""
    config = _backbone_config(network)
    name = VIT_LAYERS.get(config.model_type)
    if name is None:
        return ()
    ends = list(config.out_indices)
    starts = [0, *ends[:-1]]
    return tuple(
        tuple(f"backbone.{name.format(layer)}" for layer in range(start, end))
        for start, end in zip(starts, ends, strict=True)
    )


def _tokens(network: nn.Module, stage: int, grid: Grid) -> Tokens:  # noqa: ARG001 (all stages of a ViT are alike)
    """A class token comes first, then register tokens where there are some."""
    return Tokens(grid, prefix=1 + int(getattr(_backbone_config(network), "num_register_tokens", 0)))


def _refusal(network: nn.Module) -> str:
    kind = _backbone_config(network).model_type
    reason = "attends within windows" if "swin" in kind else "has no attention that sats can tap"
    return (
        f"The backbone {kind} {reason}, so there is none to transfer: transfer features, with "
        "--method.attention-transfer.of features, or set its weight to 0."
    )


UPERNET = Family(
    model_type="upernet",
    encoder="backbone",
    classifier="decode_head.classifier",
    read=read_maps,
    returned=returned_maps,
    attention_blocks=_attention_blocks,
    tokens=_tokens,
    refusal=_refusal,
)
