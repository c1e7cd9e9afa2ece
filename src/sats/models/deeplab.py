"""DeepLabV3 over a ResNet, the CNN that papers of the field compare on; transformers has none, so it is ours.

Its folders load with ``AutoModelForSemanticSegmentation`` where sats has been imported (see `register`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSemanticSegmentation,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetBackbone,
    ResNetConfig,
)
from transformers.modeling_outputs import SemanticSegmenterOutput

from sats.models.family import Family, Tokens, read_maps, returned_maps

if TYPE_CHECKING:
    from torch import Tensor

DEPTHS = {"deeplabv3-r50": [3, 4, 6, 3], "deeplabv3-r101": [3, 4, 23, 3]}
STAGES = ["stage1", "stage2", "stage3", "stage4"]
RATES = (6, 12, 18)
"""Dilations of the head's 3x3 convolutions at output stride 16 (arXiv 1706.05587, section 4.1)."""
HEAD_SIZE = 256


class DeepLabV3Config(PreTrainedConfig):
    """A ResNet's configuration, and the channels of the head."""

    model_type = "sats_deeplabv3"

    def __init__(
        self,
        backbone_config: dict[str, Any] | ResNetConfig | None = None,
        hidden_size: int = HEAD_SIZE,
        **common: Any,  # what every configuration of transformers holds, as its base class reads it
    ) -> None:
        if not isinstance(backbone_config, ResNetConfig):
            backbone_config = ResNetConfig.from_dict(backbone_config or {"out_features": STAGES})
        self.backbone_config = backbone_config
        self.hidden_size = hidden_size
        super().__init__(**common)


def _convolution(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, batch norm, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class PyramidHead(nn.Module):
    """Atrous spatial pyramid pooling and a classifier (arXiv 1706.05587, section 3.3)."""

    def __init__(self, inputs: int, size: int, num_labels: int) -> None:
        super().__init__()
        dilated = [_convolution(inputs, size, 3, rate) for rate in RATES]
        self.branches = nn.ModuleList([_convolution(inputs, size), *dilated])
        self.pooled = _convolution(inputs, size)
        self.project = nn.Sequential(_convolution(size * (len(self.branches) + 1), size), nn.Dropout(0.1))
        self.classifier = nn.Conv2d(size, num_labels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, C, h, w] of features [B, c, h, w]."""
        whole = self.pooled(features.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *features.shape[2:])
        mixed = self.project(torch.cat([*(branch(features) for branch in self.branches), whole], dim=1))
        logits: Tensor = self.classifier(mixed)
        return logits


class DeepLabV3ForSemanticSegmentation(PreTrainedModel):
    """A ResNet whose last stage is dilated instead of strided (output stride 16), under a `PyramidHead`."""

    config_class = DeepLabV3Config
    main_input_name = "pixel_values"

    def __init__(self, config: DeepLabV3Config) -> None:
        super().__init__(config)
        self.backbone = ResNetBackbone(config.backbone_config)
        _dilate(self.backbone.get_submodule("encoder.stages.3"))
        self.decode_head = PyramidHead(self.backbone.channels[-1], config.hidden_size, int(config.num_labels or 0))
        self.post_init()  # type: ignore[no-untyped-call]  # transformers'

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False) -> SemanticSegmenterOutput:
        """Logits at a sixteenth of the resolution of ``pixel_values`` [B, 3, H, W]."""
        features = self.backbone(pixel_values).feature_maps
        return SemanticSegmenterOutput(
            logits=self.decode_head(features[-1]), hidden_states=features if output_hidden_states else None
        )


def _dilate(stage: nn.Module) -> None:
    """Take the stride out of a ResNet stage and space its 3x3 convolutions, but for the first, twice as wide."""
    spatial = [part for part in stage.modules() if isinstance(part, nn.Conv2d)]
    first = True
    for part in spatial:
        part.stride = (1, 1)
        if part.kernel_size == (3, 3):
            if not first:
                part.dilation = part.padding = (2, 2)
            first = False


def wrap_resnet(backbone: ResNetBackbone, num_labels: int, head_size: int = 0) -> DeepLabV3ForSemanticSegmentation:
    """A DeepLabV3 over ``backbone``, whose head of ``head_size`` channels (0: 256) starts at random."""
    config = DeepLabV3Config(backbone.config, hidden_size=head_size or HEAD_SIZE, num_labels=num_labels)
    network = DeepLabV3ForSemanticSegmentation(config)
    network.backbone.load_state_dict(backbone.state_dict())
    return network


def resnet_config(size: str) -> ResNetConfig:
    """The configuration of the ResNet below one of DEPTHS."""
    config: ResNetConfig = ResNetConfig.from_dict({"depths": DEPTHS[size], "out_features": STAGES})
    return config


def register() -> None:
    """Make transformers' Auto classes know DeepLabV3; may be called again."""
    AutoConfig.register(DeepLabV3Config.model_type, DeepLabV3Config, exist_ok=True)
    AutoModelForSemanticSegmentation.register(DeepLabV3Config, DeepLabV3ForSemanticSegmentation, exist_ok=True)


DEEPLAB = Family(
    model_type=DeepLabV3Config.model_type,
    encoder="backbone",
    classifier="decode_head.classifier",
    read=read_maps,
    returned=returned_maps,
    attention_blocks=lambda _network: (),
    tokens=lambda _network, _stage, grid: Tokens(grid),
    refusal=lambda _network: (
        "A DeepLabV3 has no attention to transfer: transfer features, with "
        "--method.attention-transfer.of features, or set its weight to 0."
    ),
    adapt=lambda _network: register(),
)
