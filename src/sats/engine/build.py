"""From settings to the things they name: sources, stream, loaders, the first model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from sats.data.domains import domains_by_step
from sats.data.extension import Extension
from sats.data.folder import open_folder, split_names
from sats.data.layouts import open_data
from sats.data.loader import TrainLoader, sensible_workers
from sats.data.protocol import all_first, class_groups
from sats.data.saliency import open_saliency
from sats.data.scenes import ScenesSource
from sats.data.stream import Stream
from sats.data.transforms import TestTransform, TrainTransform
from sats.engine import launch
from sats.models.creation import create

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from sats.config import RunConfig
    from sats.data.source import Source
    from sats.data.stream import Samples
    from sats.methods import Method
    from sats.models.segmenter import Segmenter
    from sats.types import Step

TEST_SHARE = 4
"""Scenes: one test image for so many training images."""


def open_source(config: RunConfig[Method], split: str) -> Source:
    """One split of the data that ``config`` names; ValueError where something is wrong with it."""
    data = config.data
    if data.source == "scenes":
        images = data.images if split == data.train_split else max(1, data.images // TEST_SHARE)
        return ScenesSource(split, images, data.image_size, classes=data.classes or None)
    root = Path(data.root).expanduser()
    return open_data(data.source, root, split, data.classes, data.has_background, data.rebuild_index)


def build_stream(
    config: RunConfig[Method], learned: int = 0, domains: Sequence[Sequence[str]] = ()
) -> Stream | Extension:
    """The steps of the data under the configured protocol, setting and class order; or those of an extension.

    The images of the first ``learned`` steps may be gone. ``domains`` are those of each step, where that is known.
    """
    if config.extends.checkpoint:
        return build_extension(config)
    train = open_source(config, config.data.train_split)
    test = open_source(config, config.data.test_split)
    settings = config.stream
    at_once, void = config.method.data == "all", config.data.void
    when = (settings.protocol, domains or settings.steps, settings.order, settings.order_seed)
    if settings.of == "domains":
        arriving = domains_by_step(train, *when, learned=learned)
        groups = all_first(train.classes, len(arriving.names))
        return Stream(train, test, groups, all_at_once=at_once, learned=learned, void=void, domains=arriving)
    groups = class_groups(train.classes, *when)
    return Stream(train, test, groups, settings.setting, config.seed, at_once, learned, void=void)


def build_extension(config: RunConfig[Method]) -> Extension:
    """The steps of an extension; its classes stand in the configuration."""
    extends, data = config.extends, config.data
    old, new = config.stream.steps
    has_tests = data.test_split in split_names(Path(data.root))
    return Extension(
        train_source=open_source(config, data.train_split),
        tests=open_source(config, data.test_split) if has_tests else None,
        old=old,
        new=new,
        background=extends.background,
        old_source=open_folder(Path(extends.old_data), data.test_split) if extends.old_data else None,
    )


def train_loader(
    config: RunConfig[Method],
    stream: Stream | Extension,
    step: Step,
    device: torch.device,
    process: int,
    processes: int,
) -> TrainLoader:
    """The batches of ``step`` for one of the run's processes."""
    settings = config.train
    transform = TrainTransform(
        settings.crop,
        settings.scale,
        settings.flip,
        settings.resize,
        settings.colour,
        area=settings.scaling == "area",
    )
    return TrainLoader(
        samples=train_samples(config, stream, step),
        transform=transform,
        batch_size=settings.batch_size,
        seed=(config.seed, step.index),
        accumulation=settings.accumulation,
        workers=workers(config, device),
        device=device,
        process=process,
        processes=processes,
    )


def train_samples(config: RunConfig[Method], stream: Stream | Extension, step: Step) -> Samples:
    """The step's training images; salient background is marked where the method looks for it."""
    samples = stream.train_samples(step)
    if not config.method.uses_saliency:
        return samples
    saliency = open_saliency(config.data.saliency)
    saliency.check(samples.source.key(int(index)) for index in samples.indices)
    return dataclasses.replace(samples, saliency=saliency)


def workers(config: RunConfig[Method], device: torch.device) -> int:
    """How many processes load images for each that trains."""
    chosen = config.train.workers
    return sensible_workers(device, launch.processes_here()) if chosen < 0 else chosen


def evaluation_transform(config: RunConfig[Method]) -> TestTransform:
    """What test images go through."""
    crop = config.train.crop if config.evaluation.mode == "crop" else 0
    return TestTransform(resize=config.train.resize, crop=crop)


def first_model(config: RunConfig[Method], stream: Stream | Extension) -> Segmenter:
    """The model before step 0, with the channels of step 0."""
    model = config.model
    return create(model.name, stream.names(stream.steps[0]), model.weights, model.decoder_size)
