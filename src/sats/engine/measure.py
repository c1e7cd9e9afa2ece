"""How a step's model is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sats.data.extension import Extension
from sats.data.loader import EvaluationBatches
from sats.engine import build, launch, processes
from sats.engine.run import finished_model
from sats.evaluation.argmax import best_classes
from sats.evaluation.confusion import confusion_matrix
from sats.types import BACKGROUND, Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from sats.data.stream import Joined, Samples
    from sats.engine.run import Run
    from sats.models.segmenter import Segmenter
    from sats.types import Step


@dataclass(frozen=True)
class Measurement:
    """The confusion matrix [classes, classes] of a step's model, rows: truth.

    Where classes of later steps are measured on other pixels than those of step 0, ``later`` is the matrix for them.
    """

    matrix: NDArray[np.int64]
    later: NDArray[np.int64] | None = None


def measure(run: Run, model: Segmenter, step: Step) -> Measurement:
    """Measure ``model`` after ``step``; all processes share the work and get the same."""
    stream = run.stream
    if isinstance(stream, Extension):
        return _measure_extension(run, stream, model, step)
    config = run.config.evaluation
    batches = _batches(run, stream.test_samples(step, config.future, config.background))
    return Measurement(_confusion(run, model, batches, step, len(batches)))


def _measure_extension(run: Run, stream: Extension, model: Segmenter, step: Step) -> Measurement:
    """New classes on the new images; old ones on old data, or else where the new images have no label of a new class.

    There the old model's answers are the truth. Before and after, old classes are measured on the same pixels.
    """
    tests = _batches(run, stream.test_samples(step))
    if stream.old_source is None:
        old = model if step.index == 0 else finished_model(run, stream.steps[0]).to(run.accelerator.device).eval()
        later = _confusion(run, model, _answered(tests, old), step, len(tests))
        matrix = later.copy()
        matrix[stream.num_first :] = 0
        return Measurement(matrix, later)
    olds = _batches(run, stream.old_samples(step))
    matrix = _confusion(run, model, olds, step, len(olds))
    if step.index == 0:
        return Measurement(matrix)
    return Measurement(matrix, _confusion(run, model, tests, step, len(tests)))


def _batches(run: Run, samples: Samples | Joined) -> EvaluationBatches:
    return EvaluationBatches(
        samples,
        build.evaluation_transform(run.config),
        run.config.evaluation.batch_size,
        build.workers(run.config, run.accelerator.device),
        run.accelerator.device,
        slice(launch.process(), None, launch.processes()),
        run.skipped,
    )


def _confusion(run: Run, model: Segmenter, batches: Iterable[Batch], step: Step, total: int) -> NDArray[np.int64]:
    followed = run.log.follow(batches, f"step {step.index}, measuring", total)
    return processes.total(confusion_matrix(model, followed, run.method.scores)).numpy()


@torch.no_grad()
def _answered(batches: Iterable[Batch], old: Segmenter) -> Iterator[Batch]:
    """The batches, with the old model's answer wherever they have no label."""
    old.eval()
    for batch in batches:
        height, width = batch.labels.shape[-2:]
        answers = best_classes(old(batch.images), (height, width), len(old.classes)).long()
        yield Batch(batch.images, answers.where(batch.labels == BACKGROUND, batch.labels))
