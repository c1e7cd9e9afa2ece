"""``sats evaluate``: the scores of a trained model on a data set."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sats import api
from sats.commands.tables import show_skipped
from sats.engine.run_folder import MODEL, STEP, find_model, run_of
from sats.evaluation.table import show_scores
from sats.files import at_home, write_text
from sats.progress import progress_bar
from sats.types import ALL, BACKGROUND, MIN_SIDE, Background, Future, OnError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sats.config import RunConfig
    from sats.data.source import Source
    from sats.data.stream import Joined, Samples
    from sats.engine.run_folder import RunFolder
    from sats.evaluation.predict import Predictor
    from sats.evaluation.scores import Scores
    from sats.methods import Method
    from sats.models.segmenter import Segmenter


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
    """What an image or mask that cannot be used does: end this, or be left out and told of. Default: as in the run,
    else it ends this."""
    batch_size: int = 16
    """Images at a time."""
    out: str = ""
    """A JSON file to write the scores to."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    arguments = tyro.cli(EvaluateArguments, args=words, prog="sats evaluate")

    check_numbers(arguments)
    model = find_model(at_home(arguments.model))  # complains before the data is looked at
    scores = scores_of(arguments, model)
    show_scores([scores])
    if arguments.out:
        write_text(at_home(arguments.out), scores.to_json())
        print(f"scores: {arguments.out}")


def check_numbers(arguments: EvaluateArguments) -> None:
    """ValueError for numbers that cannot be."""
    if arguments.batch_size < 1:
        raise ValueError(f"--batch-size is {arguments.batch_size}; it must be at least 1.")
    if arguments.crop and arguments.crop < MIN_SIDE:
        raise ValueError(f"--crop is {arguments.crop}; it must be at least {MIN_SIDE}, or 0 for whole images.")


def scores_of(arguments: EvaluateArguments, model: Path) -> Scores:
    """The scores of the model in ``model``: where nothing else is said, as its run measures them."""
    run = run_of(model)
    config = asked_config(run, arguments) if run else None
    step = step_of(model, run)
    if run and config and step is not None and not (arguments.data or arguments.split):
        if config.extends.checkpoint:
            refuse_ways_to_measure(arguments)
            return measure_extended(api.load(model), run, step, as_in_the_run(arguments, config))
        if config.data.folders:
            return measure_in_run(api.load(model), run, step, as_in_the_run(arguments, config))
    arguments = as_in_the_run(arguments, config)
    scores = measure(api.load(model), open_source_of(arguments, config), arguments, num_first_of(run))
    return scores if step is None else dataclasses.replace(scores, step=step)


def refuse_ways_to_measure(arguments: EvaluateArguments) -> None:
    """ValueError for what an extended model's own way to be measured leaves no choice of."""
    for name in ("future", "background"):
        if getattr(arguments, name):
            raise ValueError(
                f"An extended model is measured as `sats extend` did, where --{name} says nothing: leave it out, or "
                "name a folder with --data."
            )


def asked_config(run: RunFolder, arguments: EvaluateArguments) -> RunConfig[Method]:
    """The run's settings, with what was asked for of images that cannot be used."""
    config = run.config()
    on_error = arguments.on_error or config.data.on_error
    return dataclasses.replace(config, data=dataclasses.replace(config.data, on_error=on_error))


def step_of(model: Path, run: RunFolder | None) -> int | None:
    """Which step of ``run`` the model folder is of; None if it is not one of its steps'."""
    if run and model.resolve() == run.path.parent and run.config().extends.checkpoint:
        return 1  # the extended model, as it was published
    number = model.parent.name.removeprefix(STEP)
    return int(number) if run and model.resolve().parent.parent == run.path and number.isdecimal() else None


def measure(predictor: Predictor, source: Source, arguments: EvaluateArguments, num_first: int) -> Scores:
    """The scores of ``predictor`` on ``source``; its first ``num_first`` classes count as old (0: all)."""
    from sats.data.stream import samples_by_name

    has_background = predictor.model.classifier.has_background
    samples = samples_by_name(
        source, predictor.classes, arguments.future or "background", arguments.background or "count", has_background
    )
    return measure_on(predictor, samples, arguments, num_first)


def measure_in_run(predictor: Predictor, run: RunFolder, step: int, arguments: EvaluateArguments) -> Scores:
    """The scores on what the run itself measures ``step`` on: folders that had arrived, as far as they are labelled."""
    from sats.data.stream import Stream
    from sats.engine.build import build_stream

    stream = build_stream(asked_config(run, arguments), run.num_steps(), run.domains())
    assert isinstance(stream, Stream)  # noqa: S101 (an extension has no folders that arrive)
    samples = stream.test_samples(stream.steps[step], arguments.future or "background", arguments.background or "count")
    scores = measure_on(predictor, samples, arguments, stream.num_first)
    return dataclasses.replace(scores, step=step)


def measure_extended(predictor: Predictor, run: RunFolder, step: int, arguments: EvaluateArguments) -> Scores:
    """The scores of an extended model, or of the one before, measured as `sats extend` does."""
    from sats.engine.build import build_extension
    from sats.engine.measure import measure_extension
    from sats.evaluation.scores import compute_scores
    from sats.models import checkpoint

    stream = build_extension(asked_config(run, arguments))
    found = measure_extension(
        stream,
        stream.steps[step],
        lambda samples, old: count_on(predictor, samples, arguments, old),
        lambda: checkpoint.load(run.step(0) / MODEL).to(predictor.device),
    )
    history = run.scores()[:step]
    return compute_scores(found.matrix, predictor.classes, step, stream.num_first, history, found.later)


def measure_on(predictor: Predictor, samples: Samples | Joined, arguments: EvaluateArguments, num_first: int) -> Scores:
    """The scores on ``samples`` in the model's channels."""
    from sats.evaluation.scores import compute_scores

    matrix = count_on(predictor, samples, arguments)
    return compute_scores(matrix, predictor.classes, 0, num_first or len(predictor.classes))


def count_on(
    predictor: Predictor, samples: Samples | Joined, arguments: EvaluateArguments, answers: Segmenter | None = None
) -> NDArray[np.int64]:
    """The confusion matrix on ``samples``; what they do not label is as another model ``answers``."""
    from sats.data.loader import EvaluationBatches, sensible_workers, watched_workers
    from sats.data.transforms import TestTransform
    from sats.engine.measure import answered
    from sats.evaluation.confusion import confusion_matrix

    device = predictor.device
    transform = TestTransform(resize=predictor.resize, crop=arguments.crop or 0)
    skipped: list[str] = []
    batches = EvaluationBatches(
        samples,
        transform,
        arguments.batch_size,
        sensible_workers(device),
        device,
        skipped=skipped.append if arguments.on_error == "skip" else None,
    )
    followed = progress_bar(answered(batches, answers) if answers else batches, "measuring", len(batches))
    with watched_workers("run the command again, with a smaller --batch-size"):
        matrix = confusion_matrix(predictor.model, followed, predictor.method.scores)
    show_skipped([*samples.skipped, *skipped])
    return matrix.numpy()


def as_in_the_run(arguments: EvaluateArguments, config: RunConfig[Method] | None) -> EvaluateArguments:
    """The arguments, with what was not said taken from the run's own way to measure."""
    if config is None:
        return arguments
    own_crop = config.train.crop if config.evaluation.mode == "crop" else 0
    return dataclasses.replace(
        arguments,
        future=arguments.future or config.evaluation.future,
        background=arguments.background or config.evaluation.background,
        on_error=arguments.on_error or config.data.on_error,
        crop=own_crop if arguments.crop is None else arguments.crop,
    )


def num_first_of(run: RunFolder | None) -> int:
    """How many channels a run's protocol calls old, whatever the method; 0 (all) without a run, and for domains."""
    if run is None or run.domains():
        return 0
    stream = run.config().stream
    if stream.protocol == ALL:  # and folders, perhaps, after that
        learned = run.steps()[0]["learns"]
        return len(learned) if isinstance(learned, list) else 0
    return BACKGROUND + 1 + (len(stream.steps[0]) if stream.steps else int(stream.protocol.partition("-")[0]))


def open_source_of(arguments: EvaluateArguments, config: RunConfig[Method] | None) -> Source:
    """The data to measure on; ValueError if nobody said which."""
    from sats.data.folder import open_folder
    from sats.engine.build import all_tests, open_source

    if arguments.data:
        split = arguments.split or (config.data.test_split if config else "val")
        background = config.data.has_background if config else "auto"
        on_error = arguments.on_error or "error"
        return open_folder(at_home(arguments.data), split, has_background=background, on_error=on_error)
    if config is None:
        raise ValueError("On what data? Name a folder of images and masks with --data DIR.")
    return open_source(config, arguments.split) if arguments.split else all_tests(config)
