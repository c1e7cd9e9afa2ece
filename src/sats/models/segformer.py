"""SegFormer: its sizes, and where its parts are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import SegformerConfig, SegformerForSemanticSegmentation
from transformers.modeling_outputs import BaseModelOutput

from sats.models.family import Family, Tokens

if TYPE_CHECKING:
    from torch import nn

    from sats.models.family import Grid

SMALL = (32, 64, 160, 256)
LARGE = (64, 128, 320, 512)
SIZES: dict[str, dict[str, object]] = {
    # Xie et al. 2021 (arXiv 2105.15203), table 6
    "segformer-b0": {"depths": (2, 2, 2, 2), "hidden_sizes": SMALL, "decoder_hidden_size": 256},
    "segformer-b1": {"depths": (2, 2, 2, 2), "hidden_sizes": LARGE, "decoder_hidden_size": 256},
    "segformer-b2": {"depths": (3, 4, 6, 3), "hidden_sizes": LARGE, "decoder_hidden_size": 768},
    "segformer-b3": {"depths": (3, 4, 18, 3), "hidden_sizes": LARGE, "decoder_hidden_size": 768},
    "segformer-b4": {"depths": (3, 8, 27, 3), "hidden_sizes": LARGE, "decoder_hidden_size": 768},
    "segformer-b5": {"depths": (3, 6, 40, 3), "hidden_sizes": LARGE, "decoder_hidden_size": 768},
    # ours: for the built-in data and for tests; wide initial weights let so small a model start learning at once
    "segformer-tiny": {
        "depths": (1, 1, 1, 1),
        "hidden_sizes": (16, 32, 64, 96),
        "num_attention_heads": (1, 2, 4, 4),
        "patch_sizes": (7, 5, 3, 3),
        "sr_ratios": (4, 2, 1, 1),
        "decoder_hidden_size": 64,
        "initializer_range": 0.1,
        "drop_path_rate": 0.0,
        "classifier_dropout_prob": 0.0,
    },
}


def segformer_config(size: str, decoder_size: int = 0) -> SegformerConfig:
    """The configuration of one of SIZES; ``decoder_size`` channels in the head, 0 for the size's own."""
    if size not in SIZES:
        raise ValueError(f"There is no model {size!r}; choose one of {', '.join(SIZES)}.")
    settings = dict(SIZES[size])
    if decoder_size:
        settings["decoder_hidden_size"] = decoder_size
    return SegformerConfig.from_dict(settings)


def _attention_blocks(network: nn.Module) -> tuple[tuple[str, ...], ...]:
    if not isinstance(network, SegformerForSemanticSegmentation):
        raise TypeError(f"Not a SegFormer: {type(network).__name__}")
    return tuple(
        tuple(f"segformer.stages.{stage}.blocks.{block}.attention" for block in range(depth))
        for stage, depth in enumerate(network.config.depths)
    )


def _tokens(network: nn.Module, stage: int, grid: Grid) -> Tokens:
    """Keys are reduced by a convolution whose kernel and stride are the stage's ratio."""
    if not isinstance(network, SegformerForSemanticSegmentation):
        raise TypeError(f"Not a SegFormer: {type(network).__name__}")
    ratio = network.config.sr_ratios[stage]
    return Tokens((grid[0] // ratio, grid[1] // ratio))


SEGFORMER = Family(
    model_type="segformer",
    encoder="segformer",
    classifier="decode_head.classifier",
    attention_blocks=_attention_blocks,
    read=lambda _network, encoded: tuple(encoded.hidden_states),
    returned=lambda _network, read: BaseModelOutput(hidden_states=tuple(read)),
    tokens=_tokens,
)
