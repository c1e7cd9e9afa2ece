"""``sats evaluate``: the scores of a trained model on a data set."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sats import api
from sats.commands.measuring import (
    Manner,
    manner_of,
    measure,
    measure_extended,
    measure_in_run,
    num_first_of,
    open_source_of,
)
from sats.engine.run_folder import STEP, find_model, run_of
from sats.evaluation.table import show_scores
from sats.files import at_home, write_text
from sats.types import MIN_SIDE, Background, Future, OnError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.engine.run_folder import RunFolder
    from sats.evaluation.scores import Scores


@dataclass(frozen=True, kw_only=True)
class EvaluateArguments:
    """Measure a trained model. Classes are matched by name."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN|MODEL")]
    """A run (its last step is measured), a step of one, or a model folder."""
    data: str = ""
    """A folder of images and masks. Default: the run's own data."""
    split: str = ""
    """The split to measure on. Default: the run's test split, else val."""
    future: Future | None = None
    """What pixels of classes that the model does not know count as. Default: as in the run, else background."""
    background: Background | None = None
    """Whether pixels of the background are measured. Default: as in the run, else they are."""
    crop: int | None = None
    """Scale to this short side and measure the middle square; 0: whole images. Default: as in the run, else 0."""
    on_error: OnError | None = None
    """What to do about an image or mask that cannot be used: stop with an error, or skip it and list it at the end.
    Default: as in the run, else stop."""
    batch_size: int = 16
    """Images at a time."""
    out: str = ""
    """A JSON file to write the scores to."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    arguments = tyro.cli(EvaluateArguments, args=words, prog="sats evaluate")

    check_numbers(arguments)
    model = find_model(at_home(arguments.model))  # complains before the data is looked at
    out = place_for(arguments.out)
    scores = scores_of(arguments, model)
    show_scores([scores])
    if out:
        write_text(out, scores.to_json())
        print(f"scores: {arguments.out}")


def check_numbers(arguments: EvaluateArguments) -> None:
    """ValueError for numbers that cannot be."""
    if arguments.batch_size < 1:
        raise ValueError(f"--batch-size is {arguments.batch_size}; it must be at least 1.")
    if arguments.crop and arguments.crop < MIN_SIDE:
        raise ValueError(f"--crop is {arguments.crop}; it must be at least {MIN_SIDE}, or 0 for whole images.")


def place_for(out: str) -> Path | None:
    """The file to write, its folder made before anything is measured; None where none was asked for."""
    if not out:
        return None
    file = at_home(out)
    if file.is_dir():
        raise ValueError(f"{file} is a folder: name the file to write with --out FILE.json.")
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def scores_of(arguments: EvaluateArguments, model: Path) -> Scores:
    """The scores of the model in ``model``: where nothing else is said, as its run measures them."""
    run = run_of(model)
    manner = asked_manner(arguments, run)
    step = step_of(model, run)
    if run and step is not None and not (arguments.data or arguments.split):
        config = run.config()
        if config.extends.checkpoint:
            refuse_ways_to_measure(arguments)
            return measure_extended(api.load(model), run, step, manner)
        leaves_classes_out = bool(config.stream.steps) and manner.future == "ignore"  # which are no future ones
        if config.data.folders or leaves_classes_out:
            return measure_in_run(api.load(model), run, step, manner)
    predictor = api.load(model)
    source = open_source_of(run, manner, arguments.data, arguments.split)
    scores = measure(predictor, source, manner, num_first_of(run))
    return scores if step is None else dataclasses.replace(scores, step=step)


def asked_manner(arguments: EvaluateArguments, run: RunFolder | None) -> Manner:
    """How to measure: as was asked for, else as the run does."""
    own = manner_of(run)
    return Manner(
        future=arguments.future or own.future,
        background=arguments.background or own.background,
        crop=own.crop if arguments.crop is None else arguments.crop,
        on_error=arguments.on_error or own.on_error,
        batch_size=arguments.batch_size,
    )


def refuse_ways_to_measure(arguments: EvaluateArguments) -> None:
    """ValueError for what an extended model's own way to be measured leaves no choice of."""
    for name in ("future", "background"):
        if getattr(arguments, name):
            raise ValueError(
                f"An extended model is measured as `sats extend` did, where --{name} says nothing: leave it out, or "
                "name a folder with --data."
            )


def step_of(model: Path, run: RunFolder | None) -> int | None:
    """Which step of ``run`` the model folder is of; None if it is not one of its steps'."""
    if run and model.resolve() == run.path.parent and run.config().extends.checkpoint:
        return 1  # the extended model, as it was published
    number = model.parent.name.removeprefix(STEP)
    return int(number) if run and model.resolve().parent.parent == run.path and number.isdecimal() else None
