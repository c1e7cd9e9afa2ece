"""Named presets: where ``sats train RECIPE`` starts from."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING

from sats.config import (
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    OptimConfig,
    PartFactors,
    RunConfig,
    StreamConfig,
    TrainConfig,
)
from sats.errors import unknown
from sats.methods import Method, method_class
from sats.published import BENCHMARKS, WITH_MEMORY, published

if TYPE_CHECKING:
    from collections.abc import Callable


def scenes(method: Method) -> RunConfig[Method]:
    """The built-in data with a small SegFormer from scratch: minutes on two cores."""
    return RunConfig(
        recipe="scenes",
        method=method,
        data=DataConfig(source="scenes", images=2000, image_size=64),
        stream=StreamConfig(protocol="5-5"),
        model=ModelConfig(name="segformer-tiny"),
        optim=OptimConfig(
            optimizer="adamw",
            lr=5e-3,
            lr_later=1e-2,  # what keeps the old classes slows the new ones down
            weight_decay=0.01,
            warmup=0.05,
            clip=1.0,
        ),
        train=TrainConfig(epochs=14, epochs_later=8, batch_size=16, crop=64, scale=(1.0, 1.0), flip=False),
        evaluation=EvaluationConfig(batch_size=64),
    )


def folder(method: Method) -> RunConfig[Method]:
    """Your own images and masks with a SegFormer-B0: sizes for a GPU; set --crop and --batch-size for less."""
    return RunConfig(
        recipe="folder",
        method=method,
        data=DataConfig(source="folder", root="."),
        stream=StreamConfig(protocol=""),
        model=ModelConfig(name="segformer-b0"),
        optim=OptimConfig(
            optimizer="adamw",
            lr=6e-5,
            lr_later=6e-5,
            factors=PartFactors(decoder=10.0, classifier=10.0),
            factors_later=PartFactors(decoder=10.0, classifier=10.0),
            weight_decay=0.01,
            warmup=0.05,
            clip=1.0,
        ),
        train=TrainConfig(epochs=20, batch_size=8, crop=384),
    )


def extend(method: str) -> RunConfig[Method]:
    """What `sats extend` starts from: as `folder`, but with a trained model in place of step 0."""
    config = folder(method_class(method)())
    new_rows_first = dataclasses.replace(config.optim.factors_later, classifier=100.0)
    return dataclasses.replace(
        config,
        recipe="extend",
        optim=dataclasses.replace(config.optim, factors_later=new_rows_first),
    )


RECIPES: dict[str, Callable[[Method], RunConfig[Method]]] = {
    "scenes": scenes,
    "folder": folder,
    **{
        f"{data}-{protocol}{ending}": partial(published, data, protocol, bool(ending))
        for ending in ("", WITH_MEMORY)
        for data, benchmark in BENCHMARKS.items()
        for protocol in benchmark.protocols
        if benchmark.exemplars or not ending
    },
}


def recipe(name: str, method: str) -> RunConfig[Method]:
    """The settings of recipe ``name`` with ``method``'s defaults; ValueError names the nearest right name."""
    if name not in RECIPES:
        raise ValueError(unknown("recipe", name, RECIPES))
    return RECIPES[name](method_class(method)())


def with_method(config: RunConfig[Method], method: str) -> RunConfig[Method]:
    """``config`` with another method, at its defaults."""
    return dataclasses.replace(config, method=method_class(method)())
