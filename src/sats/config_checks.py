"""Settings that cannot work, refused before anything is written."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Final

from sats.methods.base import freezes_encoder
from sats.types import MIN_SIDE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sats.config import RunConfig
    from sats.methods import Method


LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "train.epochs": (1, math.inf),
    "train.batch_size": (1, math.inf),
    "train.accumulation": (1, math.inf),
    "train.crop": (MIN_SIDE, math.inf),
    "train.workers": (-1, math.inf),
    "train.log_every": (1, math.inf),
    "train.colour": (0, 1),
    "optim.momentum": (0, 1),
    "optim.warmup": (0, 1),
    "evaluation.batch_size": (1, math.inf),
    "method.pretuning.epochs": (1, math.inf),
    "data.images": (1, math.inf),
    "data.image_size": (MIN_SIDE, math.inf),
}
"""The least and the most that a setting may be, where that is not any number from 0; a method's are its own."""


def check(config: RunConfig[Method]) -> None:
    """Refuse settings that cannot work, before anything is written."""
    for name, (value, least, most) in _bounds(config).items():
        if not least <= value <= most:
            between = f"at least {least}" if most == math.inf else f"between {least} and {most}"
            raise ValueError(f"{name} must be {between}, not {value}.")
    for broken, message in _conflicts(config):
        if broken:
            raise ValueError(message)


def _conflicts(config: RunConfig[Method]) -> list[tuple[bool, str]]:
    """Settings that exclude each other: whether they are there, and what to do."""
    return [
        *_method_conflicts(config),
        *_data_conflicts(config),
        *_extension_conflicts(config),
        *_cost_conflicts(config),
    ]


def _method_conflicts(config: RunConfig[Method]) -> list[tuple[bool, str]]:
    return [
        (
            config.method.data == "all" and config.method.attention_transfer.weight > 0,
            "A method that trains once on everything has no teacher to transfer attention from.",
        ),
        (
            config.method.logit_adjustment not in (0, type(config.method).logit_adjustment)
            and (config.method.data == "all" or config.stream.of == "domains" or bool(config.extends.checkpoint)),
            (
                "Logits are adjusted where a step brings new classes and it is known how many images were learned from "
                "before; here that is not so: leave out method.logit_adjustment."
            ),
        ),
        (
            freezes_encoder(config.method) and config.method.attention_transfer.weight > 0,
            (
                "The encoder is frozen after step 0, so its attention cannot move: leave out the attention transfer, "
                "--method.attention-transfer.weight 0, or let the encoder learn."
            ),
        ),
        (
            config.method.init == "reserved" and type(config.method).init != "reserved",
            "Only methods with reserved rows (ssul, dft) can start new rows from them: choose another --method.init.",
        ),
        (
            config.method.attention_transfer.of == "features"
            and config.method.attention_transfer.pooling == "class-pair",
            "Features have no keys to pool by class: take another --method.attention-transfer.pooling.",
        ),
        (
            config.method.data == "all" and config.memory.size > 0,
            "A method that trains once on everything has no earlier step to keep exemplars of: leave out memory.size.",
        ),
        (
            config.memory.size > 0 and config.train.batch_size < 2,
            "With a memory, half of each batch are exemplars: make train.batch_size 2 or more, or memory.size 0.",
        ),
    ]


def _data_conflicts(config: RunConfig[Method]) -> list[tuple[bool, str]]:
    train, domains, folders = config.train, config.stream.of == "domains", bool(config.data.folders)
    return [
        (folders and domains, "Folders arrive, or domains of one folder, but not both: leave out stream.of or --step."),
        (
            folders and config.method.data == "all",
            (
                "Joint training needs every class labelled in every image, which folders that arrive don't have: make "
                "one folder of them."
            ),
        ),
        (
            domains and config.stream.setting != "overlapped",
            "A setting deals images by their classes, and here domains arrive: leave out stream.setting.",
        ),
        (
            domains and (config.method.needs_new_classes or freezes_encoder(config.method)),
            (
                "Where domains arrive, step 0 learns all classes, and this method has nothing to learn after it: "
                "choose one that changes the encoder."
            ),
        ),
        (0 < train.resize < MIN_SIDE, f"train.resize must be 0 (off) or at least {MIN_SIDE}, not {train.resize}."),
        (
            train.batch_size % train.accumulation > 0,
            (
                f"A batch of {train.batch_size} does not divide into {train.accumulation} equal parts: "
                "change train.batch_size or train.accumulation."
            ),
        ),
        (
            not 0 < train.scale[0] <= train.scale[1],
            f"train.scale is a range such as 0.5 2.0, not {train.scale}.",
        ),
        (
            config.data.source != "scenes" and not config.data.root,
            "Where is the data? Name its folder with --data DIR.",
        ),
    ]


def _extension_conflicts(config: RunConfig[Method]) -> list[tuple[bool, str]]:
    extends = bool(config.extends.checkpoint)
    return [
        (
            extends and config.memory.size > 0,
            "There are no images of earlier steps to keep when a checkpoint is extended: leave out memory.size.",
        ),
        (
            extends and len(config.stream.steps) != 2,
            "To extend a checkpoint, stream.steps lists two steps: its own classes, and the new ones.",
        ),
    ]


def _cost_conflicts(config: RunConfig[Method]) -> list[tuple[bool, str]]:
    """Of settings that save time or memory."""
    train = config.train
    varied = train.colour > 0 or train.scaling == "area" or train.scale[0] < train.scale[1]
    return [
        (
            train.feature_cache > 0 and not freezes_encoder(config.method),
            (
                "What an encoder that learns makes of an image changes, so nothing can be kept: leave out "
                "train.feature_cache, or add --method.frozen-encoder."
            ),
        ),
        (
            train.feature_cache > 0 and varied,
            (
                "Images that are zoomed or coloured at random never come again, so nothing can be kept of them: leave "
                "out train.feature_cache, or take --train.scale 1 1 --train.scaling zoom --train.colour 0."
            ),
        ),
    ]


def _bounds(config: RunConfig[Method]) -> dict[str, tuple[float, float, float]]:
    """Each number, by its dotted name: its value, the least and the most it may be."""
    limits = {**LIMITS, **{f"method.{name}": least_and_most for name, least_and_most in config.method.limits.items()}}
    return {name: (value, *limits.get(name.partition("[")[0], (0, math.inf))) for name, value in _numbers(config, "")}


def _numbers(part: Any, prefix: str) -> Iterator[tuple[str, float]]:
    """The numbers in a dataclass, with dotted names; those of a list with their place behind."""
    for entry in dataclasses.fields(part):
        value = getattr(part, entry.name)
        if dataclasses.is_dataclass(value):
            yield from _numbers(value, f"{prefix}{entry.name}.")
        elif isinstance(value, tuple):
            yield from (
                (f"{prefix}{entry.name}[{place}]", item) for place, item in enumerate(value) if _is_number(item)
            )
        elif _is_number(value):
            yield f"{prefix}{entry.name}", value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)  # a boolean is 0 or 1 where a file has it in a number's place
