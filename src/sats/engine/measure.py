"""How a step's model is measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from sats.data.extension import Extension
from sats.data.loader import EvaluationBatches
from sats.engine import build, launch, processes
from sats.engine.run import finished_model
from sats.evaluation.argmax import best_classes
from sats.evaluation.confusion import confusion_matrix
from sats.evaluation.scores import compute_scores
from sats.types import BACKGROUND, Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sats.data.stream import Joined, Samples
    from sats.engine.run import Run
    from sats.evaluation.scores import Scores
    from sats.models.segmenter import Segmenter
    from sats.types import Step

    Count = Callable[[Samples, Segmenter | None], NDArray[np.int64]]
    """A model's confusion matrix on samples, where another one, if any, answers for what they do not label."""


@dataclass(frozen=True)
class Measurement:
    """The confusion matrix [classes, classes] of a step's model, rows: truth.

    Where classes of later steps are measured on other pixels than those of step 0, ``later`` is the matrix for them.
    ``agreement``: the truth of step 0's classes is what another model answers.
    """

    matrix: NDArray[np.int64]
    later: NDArray[np.int64] | None = None
    agreement: bool = False

    def scores(self, classes: Sequence[str], step: int, num_first: int, history: Sequence[Scores]) -> Scores:
        """The scores of a model of ``classes``; the others as in `compute_scores`."""
        return compute_scores(self.matrix, classes, step, num_first, history, self.later, self.agreement)


def measure(run: Run, model: Segmenter, step: Step) -> Measurement:
    """Measure ``model`` after ``step``; all processes share the work and get the same."""
    stream = run.stream
    if isinstance(stream, Extension):

        def old() -> Segmenter:
            return model if step.index == 0 else finished_model(run, stream.steps[0]).to(run.accelerator.device)

        return measure_extension(stream, step, partial(_counted, run, model, step), old)
    config = run.config.evaluation
    return Measurement(_counted(run, model, step, stream.test_samples(step, config.future, config.background)))


def measure_extension(stream: Extension, step: Step, count: Count, old: Callable[[], Segmenter]) -> Measurement:
    """New classes on the new images; old ones on old data, or else where the new images have no label of a new class.

    There the answers of the ``old`` model are the truth. Before and after, old classes are measured on the same pixels.
    """
    tests = stream.test_samples(step)
    if stream.old_source is None:
        later = count(tests, old().eval())
        matrix = later.copy()
        matrix[stream.num_first :] = 0
        return Measurement(matrix, later, agreement=True)
    matrix = count(stream.old_samples(step), None)
    return Measurement(matrix, count(tests, None) if step.index else None)


def _counted(
    run: Run, model: Segmenter, step: Step, samples: Samples | Joined, answers: Segmenter | None = None
) -> NDArray[np.int64]:
    """The confusion matrix of ``model`` on ``samples``; what they do not label is as another one ``answers``."""
    batches = _batches(run, samples)
    labelled = answered(batches, answers) if answers else batches
    followed = run.log.follow(labelled, f"step {step.index}, measuring", len(batches))
    return processes.total(confusion_matrix(model, followed, run.method.scores)).numpy()


def _batches(run: Run, samples: Samples | Joined) -> EvaluationBatches:
    return EvaluationBatches(
        samples,
        build.evaluation_transform(run.config),
        run.config.evaluation.batch_size,
        build.workers(run.config, run.accelerator.device),
        run.accelerator.device,
        slice(launch.rank(), None, launch.world_size()),
        run.skipped,
    )


@torch.no_grad()
def answered(batches: Iterable[Batch], old: Segmenter) -> Iterator[Batch]:
    """The batches, with the answer of the ``old`` model, in eval mode, wherever they have no label."""
    for batch in batches:
        height, width = batch.labels.shape[-2:]
        answers = best_classes(old(batch.images), (height, width), len(old.classes)).long()
        yield Batch(batch.images, answers.where(batch.labels == BACKGROUND, batch.labels))
