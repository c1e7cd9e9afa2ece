"""Tiny networks of every family, as somebody else would have saved them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import (
    BeitConfig,
    BeitForSemanticSegmentation,
    Dinov2Config,
    DPTConfig,
    DPTForSemanticSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    UperNetForSemanticSegmentation,
)

from conftest import TINY
from sats.models.upernet import upernet_config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from transformers import PreTrainedModel

VIT = {"hidden_size": 24, "num_hidden_layers": 5, "num_attention_heads": 3, "intermediate_size": 48}


def segformer(auxiliary: bool) -> PreTrainedModel:  # noqa: ARG001 (it has none)
    return SegformerForSemanticSegmentation(SegformerConfig(**TINY))


def upernet(auxiliary: bool) -> PreTrainedModel:
    backbone = Dinov2Config(**VIT, image_size=56, patch_size=14, out_indices=[2, 3, 4, 5], reshape_hidden_states=True)
    config = upernet_config(backbone, 2, 16)
    config.use_auxiliary_head = auxiliary
    config.auxiliary_in_channels = 24
    return UperNetForSemanticSegmentation(config)


def beit(auxiliary: bool) -> PreTrainedModel:
    config = BeitConfig(
        **VIT,
        image_size=64,
        patch_size=16,
        out_indices=[2, 3, 4, 5],
        pool_scales=[1, 2],
        use_relative_position_bias=True,
        use_auxiliary_head=auxiliary,
    )
    return BeitForSemanticSegmentation(config)


def dpt(auxiliary: bool) -> PreTrainedModel:
    config = DPTConfig(
        **VIT,
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 4],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        use_auxiliary_head=auxiliary,
    )
    return DPTForSemanticSegmentation(config)


NETWORKS: dict[str, Callable[[bool], PreTrainedModel]] = {
    "segformer": segformer,
    "upernet": upernet,
    "beit": beit,
    "dpt": dpt,
}


def network(family: str, classes: Sequence[str], auxiliary: bool = False, seed: int = 0) -> PreTrainedModel:
    """A network with random weights that knows ``classes``, in their order."""
    torch.manual_seed(seed)
    config = NETWORKS[family](auxiliary).config
    config.num_labels = len(classes)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: index for index, name in enumerate(classes)}
    return type(NETWORKS[family](auxiliary))(config).eval()


def foreign(folder: Path, family: str, classes: Sequence[str], auxiliary: bool = False) -> Path:
    """Such a network saved in ``folder``, without a preprocessor."""
    network(family, classes, auxiliary).save_pretrained(folder)
    return folder
