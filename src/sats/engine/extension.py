"""Extending a model that somebody trained: what is planned from it and the data, and how it becomes a run's step 0."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sats.config import DataConfig, ExtensionConfig
from sats.data.extension import HELD_OUT
from sats.data.folder import read_classes, split_names, split_to_measure
from sats.data.unmatched import unmatched
from sats.engine import processes
from sats.engine.run_folder import find_model, run_of
from sats.errors import repeated, unknown
from sats.files import at_home
from sats.methods import METHODS, Finetune, method_name
from sats.methods.base import prepare_model
from sats.methods.context import Context
from sats.models import checkpoint
from sats.recipes import extend
from sats.types import BACKGROUND, MOST_CLASSES, NOT_LEARNED_YET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sats.config import RunConfig
    from sats.engine.run import Run
    from sats.methods import Method
    from sats.models.preprocessing import Preprocessing
    from sats.types import HasBackground

PLAIN = Finetune().step0_key()
"""How a model that somebody else trained is taken to have been trained."""


@dataclass(frozen=True)
class Origin:
    """A model to extend, as far as it is known without its weights.

    ``name`` is its folder, absolute, or its name on the hub; ``classes`` are its own without the ``background``, which
    is empty where it has none. ``notes`` say what was assumed about it.
    """

    name: str
    classes: tuple[str, ...]
    background: str
    preprocessing: Preprocessing
    notes: tuple[str, ...]


def look(model: str, has_background: HasBackground = "auto") -> Origin:
    """What there is to know of ``model``: a run, a step of one, a model folder, or a name on the hub.

    ``has_background`` says whether its class 0 is a background; "auto" goes by what is written beside it, or by the
    name. ValueError if it is not a semantic segmentation model.
    """
    path = at_home(model)
    name = str(find_model(path).resolve()) if path.exists() else model
    _check_training(Path(name))
    config = checkpoint.stored_config(name)
    checkpoint.check_family(name, config)
    checkpoint.check_names(name, config)
    names = checkpoint.class_names(config)
    known = checkpoint.has_background(config)
    first = known if has_background == "auto" else has_background == "yes"
    preprocessing = checkpoint.preprocessing_of(name, config)
    notes = []
    if not checkpoint.has_preprocessor(name):
        notes.append(f"It has no preprocessor: its images are normalised as other {config.model_type} models' are.")
    if getattr(config, "use_auxiliary_head", False):
        notes.append("Its auxiliary head, which only helps a first training, is left out.")
    if (Path(name) / checkpoint.RESERVED).is_file():
        notes.append("Its rows for classes that it has not learned are left out: where they won, it saw background.")
    if not first:
        notes.append(
            f"It has no background: its first class, {names[0]!r}, is a class like others (--old-background yes says "
            "otherwise). Unlabelled pixels are the old model's."
        )
    return Origin(name, tuple(names[first:]), names[0] if first else "", preprocessing, tuple(notes))


def _check_training(model: Path) -> None:
    """ValueError if a run trained ``model`` to tell each class from the rest: its logits mean something else."""
    run = run_of(model) if model.exists() else None
    method = run.config().method if run else Finetune()
    if not method.step0_key().startswith(PLAIN):
        raise ValueError(
            f"{model} was trained by {method_name(method)}, whose logits are of another kind ({method.step0_key()}): "
            "only models trained by cross-entropy over all classes are extended."
        )


def defaults(origin: Origin, method: str) -> RunConfig[Method]:
    """The settings from which the extension of a model starts, with ``method``'s own."""
    config = extend(method)
    side = origin.preprocessing.short_side
    train = dataclasses.replace(config.train, resize=side, crop=side) if side else config.train
    own = config.method
    if not origin.background and own.init == "background":
        own = dataclasses.replace(own, init="teacher")
    extends = ExtensionConfig(checkpoint=origin.name, background=origin.background)
    steps = (origin.classes, ("the new classes",))
    stream = dataclasses.replace(config.stream, protocol="", steps=steps)
    return dataclasses.replace(config, method=own, train=train, extends=extends, stream=stream)


def plan(origin: Origin, config: RunConfig[Method], old_data: str = "", merge: bool = False) -> RunConfig[Method]:
    """``config`` with the classes that its data adds to ``origin``'s.

    With ``merge``, what the data labels as one of the old classes is learned as that; otherwise ValueError names them.
    ValueError as well for a method that cannot go on from a model that was trained in the usual way.
    """
    _check_method(origin, config.method)
    data = config.data
    if data.source != "folder" or (data.root == "." and not Path("classes.txt").is_file()):
        raise ValueError("Where are the new images? Name a folder of images and masks with --data DIR.")
    if config.start_from:
        raise ValueError("--from names the step 0 of a run, and here MODEL is that: leave it out.")
    new = _new_classes(origin, data, merge)
    _check_splits(data)
    return dataclasses.replace(
        config,
        stream=dataclasses.replace(config.stream, steps=(origin.classes, new)),
        extends=dataclasses.replace(config.extends, old_data=old_data),
    )


def what_is_measured_on(config: RunConfig[Method]) -> Iterator[str]:
    """A sentence for each folder that has no test split, or whose names are not what they seem."""
    data, old_data = config.data, config.extends.old_data
    background, first, *_ = read_classes(at_home(data.root), (), data.has_background)
    if background == NOT_LEARNED_YET and first in config.stream.steps[1]:
        yield (
            f"Class 0 of {data.root}, {first}, is learned as a class: where it only means that nobody looked, add "
            "--data.has-background yes."
        )
    if data.test_split not in split_names(at_home(data.root)):
        yield f"{data.root} has no split {data.test_split!r}: one in {HELD_OUT} of its images is kept to measure on."
    if old_data and (split := split_to_measure(at_home(old_data), data.test_split)) != data.test_split:
        yield f"{old_data} has no split {data.test_split!r}: old classes are measured on its split {split!r}."
    if old_data:
        labelled = read_classes(at_home(old_data))[BACKGROUND + 1 :]
        old, new = config.stream.steps
        yield from unmatched(old_data, [name for name in labelled if name not in new], old)


def _check_splits(data: DataConfig) -> None:
    """ValueError for a test split that was asked for by name and is not there."""
    splits = split_names(at_home(data.root))
    if data.test_split not in splits and data.test_split != DataConfig().test_split:
        raise ValueError(unknown("split", data.test_split, splits, data.root))


def _new_classes(origin: Origin, data: DataConfig, merge: bool) -> tuple[str, ...]:
    """The classes of ``data`` that the model does not know; ValueError where there are none, or too many."""
    named = read_classes(at_home(data.root), data.classes, data.has_background)[BACKGROUND + 1 :]
    known = {name.casefold() for name in (*origin.classes, origin.background)}
    new = tuple(name for name in named if name.casefold() not in known)
    both = [name for name in named if name not in new]
    if not new:
        raise ValueError(f"{origin.name} knows every class of {data.root} already: {', '.join(both)}.")
    if both and not merge:
        raise ValueError(
            f"{data.root} labels {', '.join(both)}, which {origin.name} knows already: learn from these labels, too, "
            f"with --merge, or leave them out with --classes {','.join(new)}."
        )
    if repeats := repeated([name.casefold() for name in new]):
        raise ValueError(f"{data.root} has classes that differ only in case, {repeats}: call them otherwise.")
    total = len(origin.classes) + len(new)
    if total > MOST_CLASSES:
        raise ValueError(f"Together they are {total} classes, and sats knows {MOST_CLASSES} at most.")
    return new


def _check_method(origin: Origin, method: Method) -> None:
    if method.step0_key() != PLAIN:
        able = [name for name, kind in METHODS.items() if kind().step0_key() == PLAIN]
        raise ValueError(
            f"Method {method_name(method)} needs a step 0 of its own ({method.step0_key()}), which {origin.name} has "
            f"not had: choose one of {', '.join(sorted(able))}."
        )
    if method.init == "background" and not origin.background:
        raise ValueError(
            f'Init "background" copies the row of the background, and {origin.name} has none: take teacher.'
        )
    if method.init == "nest" and not origin.background:
        raise ValueError(f'Init "nest" tunes the background as well, and {origin.name} has none: take another.')


def opened(run: Run) -> Context:
    """The model to extend, as if step 0 of ``run`` had just been trained."""
    extends, step = run.config.extends, run.stream.steps[0]
    network = checkpoint.fetch_network(extends.checkpoint, checkpoint.stored_config(extends.checkpoint))
    preprocessing = checkpoint.preprocessing_of(extends.checkpoint, network.config)
    model = checkpoint.as_segmenter(network, preprocessing, first_is_background=bool(extends.background))
    if model.classes != run.stream.names(step):
        raise ValueError(f"{extends.checkpoint} has other classes than when this run was begun: start a new one.")
    prepare_model(run.method, model, step)
    return Context(step, model.to(run.accelerator.device).eval(), None, {}, processes.total)
