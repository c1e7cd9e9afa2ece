"""What all steps of one run share, and what each of them needs of it."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from sats.engine import build, launch
from sats.engine.run_folder import MODEL
from sats.engine.skipped import Skipped
from sats.models.checkpoint import load as load_model
from sats.words import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from accelerate import Accelerator

    from sats.config import RunConfig
    from sats.data.extension import Extension
    from sats.data.loader import TrainLoader
    from sats.data.stream import Stream
    from sats.engine.log import Log
    from sats.engine.run_folder import RunFolder
    from sats.methods import Method
    from sats.models.segmenter import Segmenter
    from sats.types import Batch, Step


@dataclass(frozen=True)
class Run:
    """What all steps of one run share."""

    config: RunConfig[Method]
    folder: RunFolder
    stream: Stream | Extension
    accelerator: Accelerator
    log: Log

    @property
    def method(self) -> Method:
        """The continual-learning method."""
        return self.config.method

    @cached_property
    def skipped(self) -> Skipped | None:
        """What is told of images that cannot be used; None where they end the run."""
        if self.config.data.on_error == "error":
            return None
        return Skipped(self.folder.skipped_path(launch.rank()), self.log.say)


def finished_model(run: Run, step: Step) -> Segmenter:
    """The saved model that ``step`` ended with, on the CPU; ValueError if it knows other classes."""
    groups = [earlier.num_new for earlier in run.stream.steps[: step.index + 1]]
    folder = run.folder.step(step.index) / MODEL
    model, wanted = load_model(folder, groups), run.stream.names(step)
    if model.classes != wanted:
        raise ValueError(
            f"{folder} knows the classes {names(model.classes)}, and its step has learned {names(wanted)}: put back "
            "the model that sats wrote, or the names of the data's classes."
        )
    return model


def described_steps(run: Run, learned: Sequence[Mapping[str, object]]) -> str:
    """The text of steps.json: the ``learned`` steps as they are, then what others learn, and from how many images."""
    later = [
        {
            "learns": run.stream.new_names(step),
            "images": len(run.stream.train_samples(step)),
            **({"domains": domains} if (domains := run.stream.domains(step)) else {}),
        }
        for step in run.stream.steps[len(learned) :]
    ]
    return json.dumps([*learned, *later], indent=2, ensure_ascii=False) + "\n"


def make_loader(run: Run, step: Step) -> TrainLoader:
    """This process's batches of ``step``, without exemplars."""
    accelerator = run.accelerator
    loader = build.train_loader(
        run.config, run.stream, step, accelerator.device, accelerator.process_index, accelerator.num_processes
    )
    return dataclasses.replace(loader, skipped=run.skipped)


@dataclass(frozen=True)
class OnePass:
    """A step's own images once, each time that somebody iterates, under a progress bar called ``title``."""

    run: Run
    loader: TrainLoader
    title: str

    def __iter__(self) -> Iterator[Batch]:
        total = math.ceil(len(self.loader.samples) / (self.loader.micro_batch_size * self.loader.processes))
        return self.run.log.follow(self.loader.one_pass(), self.title, total)


def seed_everything(*numbers: int) -> None:
    """Seed torch's random state by the run's seed, the step and a part of it.

    So what starts there does not depend on what ran before.
    """
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))
