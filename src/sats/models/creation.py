"""New models from settings: of a size, at random or from weights, or over whatever the weights are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    MODEL_FOR_BACKBONE_MAPPING,
    AutoModelForSemanticSegmentation,
    ResNetBackbone,
    SegformerForSemanticSegmentation,
)

from sats.models import checkpoint
from sats.models.deeplab import DEPTHS, resnet_config, wrap_resnet
from sats.models.segformer import SEGFORMER, segformer_config
from sats.models.segmenter import FAMILIES, Segmenter
from sats.models.upernet import HEAD_SIZE, wrap_backbone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedConfig

    from sats.models.family import Family

AUTO = "auto"
"""The size of a model whose network is the one that its weights hold."""
SHAPE = ("depths", "hidden_sizes", "num_attention_heads", "strides", "patch_sizes", "sr_ratios", "mlp_ratios")
"""What weights must agree on with the size that was asked for, where they have it."""


def create(size: str, classes: Sequence[str], weights: str = "", decoder_size: int = 0) -> Segmenter:
    """A SegFormer or DeepLabV3 of ``size`` for ``classes`` (background first).

    ``weights`` is a local folder or a hub name; an encoder alone will do. What it lacks, and everything when it
    is empty, starts at random from torch's global seed. ValueError if the weights are of another size, or
    cannot be read. ``size`` "auto" takes whatever network or backbone the weights are of; see `create_from`.
    """
    if size == AUTO:
        return create_from(weights, classes, decoder_size)
    if size in DEPTHS:
        return _create_deeplab(size, classes, weights, decoder_size)
    config = segformer_config(size, decoder_size)
    config.num_labels = len(classes)
    if not weights:
        return Segmenter(SegformerForSemanticSegmentation(config), classes)
    weights = checkpoint.local(weights)
    stored = checkpoint.stored_config(weights)
    _check_shape(stored, config, weights, size)
    if not decoder_size:
        config.decoder_hidden_size = stored.decoder_hidden_size
    with checkpoint.reading(weights):
        loaded: Any = SegformerForSemanticSegmentation.from_pretrained(
            weights,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    network, report = loaded
    _check_encoder(report, weights, SEGFORMER)
    return Segmenter(network, classes, preprocessing=checkpoint.preprocessing_of(weights, stored))


def _create_deeplab(size: str, classes: Sequence[str], weights: str, decoder_size: int) -> Segmenter:
    """A DeepLabV3 whose ResNet is that of ``weights``, or starts at random."""
    config = resnet_config(size)
    if not weights:
        return Segmenter(wrap_resnet(ResNetBackbone(config), len(classes), decoder_size), classes)
    weights = checkpoint.local(weights)
    stored = checkpoint.stored_config(weights)
    _check_shape(stored, config, weights, size)
    with checkpoint.reading(weights):
        backbone: Any = ResNetBackbone.from_pretrained(
            weights, out_features=config.out_features, dtype=torch.float32, use_safetensors=True
        )
    network = wrap_resnet(backbone, len(classes), decoder_size)
    return Segmenter(network, classes, preprocessing=checkpoint.preprocessing_of(weights, stored))


def create_from(weights: str, classes: Sequence[str], head_size: int = 0) -> Segmenter:
    """A segmenter for ``classes`` over what ``weights`` hold: a backbone of transformers, or a whole network.

    A backbone (DINOv2 with or without registers, DINOv3, BEiT, Swin and others) gets an UperNet head of ``head_size``
    channels (0: 64) that starts at random; of a whole network everything is taken but the classifier.
    """
    if not weights:
        raise ValueError("--model.name auto takes the network from its weights: name them with --model.weights.")
    weights = checkpoint.local(weights)
    stored = checkpoint.stored_config(weights)
    is_backbone = type(stored) in MODEL_FOR_BACKBONE_MAPPING and not _is_whole(stored)
    if not is_backbone and stored.model_type not in FAMILIES:
        raise ValueError(
            f"The weights {weights!r} are of a {stored.model_type} model, which is neither a backbone of transformers "
            f"nor one of {', '.join(FAMILIES)}."
        )
    with checkpoint.reading(weights):
        if is_backbone:
            network = wrap_backbone(weights, stored, len(classes), head_size or HEAD_SIZE)
        else:
            loaded: Any = AutoModelForSemanticSegmentation.from_pretrained(
                weights,
                num_labels=len(classes),
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **checkpoint.without_auxiliary_head(stored),
            )
            network, report = loaded
            _check_encoder(report, weights, FAMILIES[stored.model_type])
    return Segmenter(network, classes, preprocessing=checkpoint.preprocessing_of(weights, stored))


def _is_whole(config: PreTrainedConfig) -> bool:
    """Whether weights of a family that has both are a network for segmentation, not an encoder alone."""
    return any(name.endswith("ForSemanticSegmentation") for name in config.architectures or ())


def _check_encoder(report: dict[str, Any], weights: str, family: Family) -> None:
    """Refuse weights that left a part of the encoder at random; the head may start anew."""
    prefix = f"{family.encoder}."
    mismatched = [entry[0] for entry in report["mismatched_keys"]]
    lacking = sorted(name for name in (*report["missing_keys"], *mismatched) if name.startswith(prefix))
    if lacking:
        raise ValueError(
            f"The weights {weights!r} lack {len(lacking)} parameters of the encoder, or have them in another "
            f"shape, {lacking[0]} among them: they are not those of a {family.model_type} as transformers saves it."
        )


def _check_shape(stored: PreTrainedConfig, wanted: PreTrainedConfig, weights: str, size: str) -> None:
    if stored.model_type != wanted.model_type:
        raise ValueError(f"The weights {weights!r} are of a {stored.model_type} model, not of {size}.")
    for name in SHAPE:
        if not hasattr(wanted, name):
            continue
        if list(getattr(stored, name)) != list(getattr(wanted, name)):
            raise ValueError(
                f"The weights {weights!r} are not of {size}: their {name} are {list(getattr(stored, name))}, "
                f"not {list(getattr(wanted, name))}. Choose the size they have with --model.name."
            )
