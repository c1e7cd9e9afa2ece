"""From settings to the things they name: sources, stream, loaders, the first model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from sats.data.arrivals import by_class, by_folder
from sats.data.chained import ChainedSource, GoneSource
from sats.data.domains import domains_by_step
from sats.data.extension import Extension
from sats.data.folder import is_there, open_folder, read_classes, split_names, split_to_measure
from sats.data.layouts import OWN, open_data
from sats.data.loader import TrainLoader, sensible_workers
from sats.data.protocol import class_groups
from sats.data.saliency import open_saliency
from sats.data.scenes import ScenesSource
from sats.data.stream import Stream, Test
from sats.data.transforms import TestTransform, TrainTransform
from sats.engine import launch
from sats.files import at_home
from sats.methods.base import freezes_encoder
from sats.models.creation import create
from sats.types import BACKGROUND, SALIENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from sats.config import RunConfig
    from sats.data.arrivals import Arrival
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
    root = at_home(data.root)
    return open_data(data.source, root, split, data.classes, data.has_background, data.rebuild_index, data.on_error)


def build_stream(
    config: RunConfig[Method], learned: int = 0, domains: Sequence[Sequence[str]] = ()
) -> Stream | Extension:
    """The steps of the data under the configured protocol, setting and class order; or those of an extension.

    The images of the first ``learned`` steps may be gone. ``domains`` are those of each step, where that is known.
    """
    if config.extends.checkpoint:
        return build_extension(config)
    source = open_first(config, learned)
    first = first_arrivals(config, source, learned, domains)
    steps = range(len(first), len(first) + len(config.data.folders))
    later = [open_folder_of(config, number, learned > step) for number, step in enumerate(steps)]
    train = ChainedSource([source, *later])
    at_once = config.method.data == "all"
    arrivals = by_folder(train, first)
    refuse_idle_steps(config.method, arrivals[learned:], learned)
    tests = open_tests(config, steps)
    if not tests:
        raise ValueError(
            f"None of the folders has a split {config.data.test_split!r} to measure on: put images and masks of that "
            "name into one, or name another split with --data.test-split."
        )
    return Stream(train, tests, arrivals, learned, all_at_once=at_once, void=config.data.void)


def refuse_idle_steps(method: Method, arrivals: Sequence[Arrival], number: int) -> None:
    """ValueError for a step after the first that brings no class, where the method learns new classes only."""
    if not (method.needs_new_classes or freezes_encoder(method)):
        return
    for index, arrival in enumerate(arrivals, number):
        if index and not arrival.classes:
            raise ValueError(
                f"Step {index} brings no new class, and this method has nothing else to learn: leave its folder out, "
                "or choose a method that changes the encoder."
            )


def first_arrivals(
    config: RunConfig[Method], source: Source, learned: int, domains: Sequence[Sequence[str]]
) -> tuple[Arrival, ...]:
    """What arrives from the configured data itself, before any folder."""
    settings = config.stream
    when = (settings.protocol, domains or settings.steps, settings.order, settings.order_seed)
    if settings.of == "domains":
        return domains_by_step(source, *when, learned=learned)
    return by_class(source, class_groups(source.classes, *when), settings.setting, config.seed)


def open_first(config: RunConfig[Method], learned: int) -> Source:
    """The configured training images; if all of a folder's are gone, and ``learned``, its classes alone."""
    data = config.data
    if data.source == OWN and data.folders and learned and not is_there(Path(data.root), data.train_split):
        return GoneSource(read_classes(Path(data.root), data.classes, data.has_background))
    return open_source(config, data.train_split)


def open_folder_of(config: RunConfig[Method], number: int, may_be_gone: bool) -> Source:
    """The training images of a folder that arrives; if they are gone, and that may be, its classes alone."""
    data, root = config.data, Path(config.data.folders[number])
    if may_be_gone and not is_there(root, data.train_split):
        return GoneSource(read_classes(root, has_background=data.has_background))
    return open_folder(root, data.train_split, (), data.has_background, data.rebuild_index, data.on_error)


def open_tests(config: RunConfig[Method], steps: Sequence[int] = ()) -> list[Test]:
    """The configured test images; those of each folder that has some count from its step on, one of ``steps``."""
    data = config.data
    tests = []
    if not data.folders or data.source != OWN or is_there(Path(data.root), data.test_split):
        tests.append(Test(open_source(config, data.test_split)))
    for folder, step in zip(data.folders, steps, strict=True):
        if is_there(Path(folder), data.test_split):
            settings = (data.has_background, data.rebuild_index, data.on_error)
            tests.append(Test(open_folder(Path(folder), data.test_split, (), *settings), step))
    return tests


def all_tests(config: RunConfig[Method]) -> Source:
    """All test images of a run that is done, those of its folders included."""
    data = config.data
    tests = open_tests(config, range(len(data.folders)))
    if not tests:
        raise ValueError(f"{data.root} has no split {data.test_split!r} to measure on: name a folder with --data.")
    return ChainedSource([test.source for test in tests], expected=foreground(config) if data.folders else ())


def foreground(config: RunConfig[Method]) -> list[str]:
    """Every class of the configured data and of the folders that arrive after it, without the background."""
    data = config.data
    known = [read_classes(Path(folder), (), data.has_background) for folder in data.folders]
    if data.source == OWN:
        known.append(read_classes(Path(data.root), data.classes, data.has_background))
    else:
        known.append(open_source(config, data.test_split).classes)
    return sorted({name for classes in known for name in classes[BACKGROUND + 1 :]})


def build_extension(config: RunConfig[Method]) -> Extension:
    """The steps of an extension; its classes stand in the configuration."""
    extends, data = config.extends, config.data
    old, new = config.stream.steps
    has_tests = data.test_split in split_names(Path(data.root))
    old_source = None
    if extends.old_data:
        root = Path(extends.old_data)
        old_source = open_folder(root, split_to_measure(root, data.test_split), on_error=data.on_error)
    return Extension(
        train_source=open_source(config, data.train_split),
        tests=open_source(config, data.test_split) if has_tests else None,
        old=old,
        new=new,
        background=extends.background,
        old_source=old_source,
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
    if (total := len(stream.names(stream.steps[-1]))) > SALIENT:
        raise ValueError(
            f"With the background there are {total} classes, and methods that look for objects (ssul) know {SALIENT} "
            "at most, as one id marks objects: choose fewer with --classes, or another method."
        )
    saliency = open_saliency(config.data.saliency)
    saliency.check(samples.source.key(int(index)) for index in samples.indices)
    return dataclasses.replace(samples, saliency=saliency)


def workers(config: RunConfig[Method], device: torch.device) -> int:
    """How many processes load images for each that trains."""
    chosen = config.train.workers
    return sensible_workers(device, launch.local_world_size()) if chosen < 0 else chosen


def evaluation_transform(config: RunConfig[Method]) -> TestTransform:
    """What test images go through."""
    return TestTransform(resize=config.train.resize, crop=config.measured_crop)


def first_model(config: RunConfig[Method], stream: Stream | Extension) -> Segmenter:
    """The model before step 0, with the channels of step 0."""
    model = config.model
    return create(model.name, stream.names(stream.steps[0]), model.weights, model.decoder_size)
