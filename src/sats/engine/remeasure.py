"""Trained models measured again: as their run does, or otherwise, or on other data. Loads torch late."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sats.engine.run_folder import MODEL, STEP, run_of
from sats.engine.skipped import show_skipped, show_unmatched
from sats.files import at_home
from sats.progress import progress_bar
from sats.types import ALL, BACKGROUND, Background, Future, OnError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

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
class Manner:
    """What pixels of ``future`` classes and of the ``background`` count as, and how images are read.

    ``crop`` is the side of the middle square that is measured, 0 for whole images.
    """

    future: Future = "background"
    background: Background = "count"
    crop: int = 0
    on_error: OnError = "error"
    batch_size: int = 16

    def config(self, run: RunFolder) -> RunConfig[Method]:
        """The settings of a ``run``, with what was asked for of images that cannot be used."""
        config = run.config()
        return dataclasses.replace(config, data=dataclasses.replace(config.data, on_error=self.on_error))


def measure_again(predictor: Predictor, model: Path, data: str, split: str, asked: Mapping[str, Any]) -> Scores:
    """The scores of ``predictor``, the model in the folder ``model``, on the ``split`` of the folder ``data``.

    Both empty: on what its run measures it on. ``asked`` are fields of `Manner`; what it leaves out, or has as None, is
    as in the run. ValueError for what does not go together.
    """
    run = run_of(model)
    step = step_of(model, run)
    manner = dataclasses.replace(manner_of(run), **{name: value for name, value in asked.items() if value is not None})
    if run is None or step is None or data or split:
        scores = measure_by_name(predictor, run, manner, data, split)
    elif run.config().extends.checkpoint:
        refuse_ways_to_measure(asked)
        scores = measure_extended(predictor, run, step, manner)
    elif run.config().data.folders:
        scores = measure_in_run(predictor, run, step, manner)
    else:
        scores = measure_by_name(predictor, run, manner)
    return scores if step is None else dataclasses.replace(scores, step=step)


def measure_by_name(
    predictor: Predictor, run: RunFolder | None, manner: Manner, data: str = "", split: str = ""
) -> Scores:
    """The scores on a ``split`` of the folder ``data``, else of the run's own data, whose classes are found by name."""
    source = open_source_of(run, manner, data, split)
    never = never_learned(run, source) if run and not data else ()
    scores = measure(predictor, source, manner, num_first_of(run), never)
    if data:
        show_unmatched(data, source.classes[BACKGROUND + 1 :], scores.classes[BACKGROUND + 1 :])
    return scores


def never_learned(run: RunFolder, source: Source) -> list[str]:
    """The classes of ``source``, the run's own data, that no step brings: they are no future ones, but background."""
    config = run.config()
    if not config.stream.steps or config.stream.of != "classes" or config.extends.checkpoint:
        return []
    folders = {name for step in run.steps() for name in step["learns"]}  # that arrived later bring more
    learned = folders.union(*config.stream.steps)
    return [name for name in source.classes[BACKGROUND + 1 :] if name not in learned]


def refuse_ways_to_measure(asked: Mapping[str, Any]) -> None:
    """ValueError for what an extended model's own way to be measured leaves no choice of."""
    for name in ("future", "background"):
        if asked.get(name):
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


def manner_of(run: RunFolder | None) -> Manner:
    """How ``run`` measures its models; without one, whole images and every pixel."""
    if run is None:
        return Manner()
    config = run.config()
    return Manner(
        future=config.evaluation.future,
        background=config.evaluation.background,
        crop=config.measured_crop,
        on_error=config.data.on_error,
    )


def open_source_of(run: RunFolder | None, manner: Manner, data: str = "", split: str = "") -> Source:
    """What to measure on: the folder ``data``, else the data of ``run``; ValueError if there is neither."""
    from sats.data.folder import open_folder
    from sats.engine.build import all_tests, open_source

    config = manner.config(run) if run else None
    if data:
        split = split or (config.data.test_split if config else "val")
        background = config.data.has_background if config else "auto"
        return open_folder(at_home(data), split, has_background=background, on_error=manner.on_error)
    if config is None:
        raise ValueError("On what data? Name a folder of images and masks with --data DIR.")
    return open_source(config, split) if split else all_tests(config)


def num_first_of(run: RunFolder | None) -> int:
    """How many channels a run's protocol calls old, whatever the method; 0 (all) without a run, and for domains."""
    if run is None or run.domains():
        return 0
    stream = run.config().stream
    if stream.protocol == ALL:  # and folders, perhaps, after that
        return len(run.steps()[0]["learns"])
    return BACKGROUND + 1 + (len(stream.steps[0]) if stream.steps else int(stream.protocol.partition("-")[0]))


def measure(
    predictor: Predictor, source: Source, manner: Manner, num_first: int, never: Collection[str] = ()
) -> Scores:
    """The scores of ``predictor`` on ``source``; its first ``num_first`` classes count as old (0: all).

    Those that it ``never`` learns are background.
    """
    from sats.data.stream import samples_by_name

    has_background = predictor.model.classifier.has_background
    samples = samples_by_name(source, predictor.classes, manner.future, manner.background, has_background, never)
    return measure_on(predictor, samples, manner, num_first)


def measure_in_run(predictor: Predictor, run: RunFolder, step: int, manner: Manner) -> Scores:
    """The scores on what the run itself measures ``step`` on: folders that had arrived, as far as they are labelled."""
    from sats.data.stream import Stream
    from sats.engine.build import build_stream

    stream = build_stream(manner.config(run), run.num_steps(), run.domains())
    assert isinstance(stream, Stream)  # noqa: S101 (an extension has no folders that arrive)
    samples = stream.test_samples(stream.steps[step], manner.future, manner.background)
    return measure_on(predictor, samples, manner, stream.num_first)


def measure_extended(predictor: Predictor, run: RunFolder, step: int, manner: Manner) -> Scores:
    """The scores of an extended model, or of the one before, measured as `sats extend` does."""
    from sats.engine.build import build_extension
    from sats.engine.measure import measure_extension
    from sats.models import checkpoint

    stream = build_extension(manner.config(run))
    found = measure_extension(
        stream,
        stream.steps[step],
        lambda samples, old: count_on(predictor, samples, manner, old),
        lambda: checkpoint.load(run.step(0) / MODEL).to(predictor.device),
    )
    return found.scores(predictor.classes, step, stream.num_first, run.scores()[:step])


def measure_on(predictor: Predictor, samples: Samples | Joined, manner: Manner, num_first: int) -> Scores:
    """The scores on ``samples`` in the model's channels."""
    from sats.evaluation.scores import compute_scores

    matrix = count_on(predictor, samples, manner)
    return compute_scores(matrix, predictor.classes, 0, num_first or len(predictor.classes))


def count_on(
    predictor: Predictor, samples: Samples | Joined, manner: Manner, answers: Segmenter | None = None
) -> NDArray[np.int64]:
    """The confusion matrix on ``samples``; what they do not label is as another model ``answers``."""
    from sats.data.loader import EvaluationBatches, sensible_workers, watched_workers
    from sats.data.transforms import TestTransform
    from sats.engine.measure import answered
    from sats.evaluation.confusion import confusion_matrix

    device = predictor.device
    transform = TestTransform(resize=predictor.resize, crop=manner.crop)
    skipped: list[str] = []
    batches = EvaluationBatches(
        samples,
        transform,
        manner.batch_size,
        sensible_workers(device),
        device,
        skipped=skipped.append if manner.on_error == "skip" else None,
    )
    followed = progress_bar(answered(batches, answers) if answers else batches, "measuring", len(batches))
    with watched_workers("run the command again, with a smaller --batch-size"):
        matrix = confusion_matrix(predictor.model, followed, predictor.method.scores)
    show_skipped([*samples.skipped, *skipped])
    return matrix.numpy()
