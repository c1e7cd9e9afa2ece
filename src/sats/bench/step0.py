"""Which runs can share a trained step 0."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING

from sats.config import MemoryConfig, OptimConfig, PartFactors, TrainConfig

if TYPE_CHECKING:
    from sats.config import RunConfig, StreamConfig
    from sats.methods import Method


def step0_of(config: RunConfig[Method]) -> str | None:
    """A sum of all that decides the step 0 of a run: those of equal sums are the same. None: it has none to share."""
    if config.method.data == "all":
        return None
    alike = dataclasses.replace(
        config,
        recipe="",
        stream=_first_of(config.stream),
        optim=dataclasses.replace(config.optim, lr_later=OptimConfig.lr_later, factors_later=PartFactors()),
        train=dataclasses.replace(
            config.train,
            epochs_later=TrainConfig.epochs_later,
            checkpoint_minutes=TrainConfig.checkpoint_minutes,
            log_every=TrainConfig.log_every,
        ),
        memory=MemoryConfig(),
        start_from="",
    )
    values = {**dataclasses.asdict(alike), "method": config.method.step0_key()}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _first_of(stream: StreamConfig) -> StreamConfig:
    """What step 0 learns: of A-B the A, unless images are dealt to all steps at once."""
    if stream.setting == "partitioned" or stream.steps:
        return stream
    return dataclasses.replace(stream, protocol=stream.protocol.partition("-")[0])
