"""Which models there are to try: every finished step of runs, and model folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.engine.run_folder import CONFIG, EXTENSION, MODEL, find_model, is_run, open_run
from sats.methods import method_name
from sats.models import checkpoint
from sats.report.gather import named_runs
from sats.types import BACKGROUND, IGNORE
from sats.words import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sats.engine.run_folder import RunFolder


@dataclass(frozen=True)
class Model:
    """A trained model in ``folder``: the step ``part`` of what is called ``group``, or all there is of that.

    ``classes`` are those it knows without the background; ``title`` tells it from all others.
    """

    group: str
    part: str
    folder: Path
    classes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The group, and which part of it."""
        return ", ".join(filter(None, (self.group, self.part)))


def models_in(paths: Sequence[Path]) -> list[Model]:
    """The models in ``paths``, each a run, a folder of runs, a step of a run, or a model folder.

    ValueError for a path that holds none, one that is named twice, and more classes than a map holds.
    """
    if not paths:
        raise ValueError("Which model? Name a run, a folder of runs, or a model folder: sats app RUN|MODEL [...].")
    found = [model for folder, name in named_runs(paths) for model in _models_of(folder, shown(name))]
    all_classes(found)  # complains before anything is loaded
    return found


def _models_of(folder: Path, name: str) -> list[Model]:
    if is_run(folder) or is_run(folder / EXTENSION):
        return _steps_of(open_run(folder), name)
    model = find_model(folder)
    return [Model(name, "", model, known_classes(model))]


def _steps_of(run: RunFolder, name: str) -> list[Model]:
    """The steps of a run whose weights are there; ValueError if there are none."""
    method = method_name(run.config().method)
    group = name if method in name else f"{name} ({method})"
    found = [
        Model(group, f"step {scores.step}", run.step(scores.step) / MODEL, scores.classes[BACKGROUND + 1 :])
        for scores in run.scores()
    ]
    there = [model for model in found if (model.folder / CONFIG).is_file()]
    if not there:
        raise ValueError(f"{run.path} has no finished step with a model yet: wait for it, or go on with `sats resume`.")
    return there


def known_classes(model: Path) -> tuple[str, ...]:
    """The classes of the model in a folder, without the background, as its configuration names them."""
    config = checkpoint.stored_config(str(model))
    checkpoint.check_family(str(model), config)
    return tuple(checkpoint.class_names(config)[checkpoint.has_background(config) :])


def all_classes(models: Iterable[Model]) -> tuple[str, ...]:
    """The background and every class that any of the ``models`` knows, each at the place that gives it its colour.

    ValueError for more than a class map holds.
    """
    foreground = dict.fromkeys(name for model in models for name in model.classes)
    if len(foreground) >= IGNORE:
        raise ValueError(
            f"The models know {len(foreground)} classes together, and a class map holds {IGNORE - 1}: name fewer."
        )
    return ("background", *foreground)
