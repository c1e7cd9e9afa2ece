"""``sats evaluate``: the scores of a trained model on a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sats.commands.tables import show_scores
from sats.engine.run_folder import run_of
from sats.files import write_text
from sats.types import Future

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.data.source import Source
    from sats.engine.run_folder import RunFolder
    from sats.evaluation.predict import Predictor
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
    future: Future = "background"
    """What pixels of classes that the model does not know count as."""
    crop: int = 0
    """Scale to this short side and measure the middle square. 0: whole images."""
    batch_size: int = 16
    """Images at a time."""
    out: str = ""
    """A JSON file to write the scores to."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    arguments = tyro.cli(EvaluateArguments, args=words, prog="sats evaluate")

    from sats.evaluation.predict import find_model, load

    folder = arguments.model.expanduser()
    find_model(folder)  # complains before the data is looked at
    source = _open_source(arguments, run_of(folder))
    scores = measure(load(folder), source, arguments, _num_first(folder))
    show_scores([scores])
    if arguments.out:
        write_text(Path(arguments.out).expanduser(), scores.to_json())
        print(f"scores: {arguments.out}")


def measure(predictor: Predictor, source: Source, arguments: EvaluateArguments, num_first: int) -> Scores:
    """The scores of ``predictor`` on ``source``; its first ``num_first`` classes count as old (0: all)."""
    from sats.data.loader import evaluation_batches, sensible_workers
    from sats.data.stream import samples_by_name
    from sats.data.transforms import TestTransform
    from sats.engine.log import progress_bar
    from sats.evaluation.confusion import confusion_matrix
    from sats.evaluation.scores import compute_scores

    device = next(predictor.model.parameters()).device
    samples = samples_by_name(source, predictor.classes, arguments.future)
    transform = TestTransform(resize=predictor.resize, crop=arguments.crop)
    count = -(-len(samples) // arguments.batch_size)
    loaded = evaluation_batches(samples, transform, arguments.batch_size, sensible_workers(device), device)
    matrix = confusion_matrix(predictor.model, progress_bar(loaded, "measuring", count), predictor.method.scores)
    return compute_scores(matrix.numpy(), predictor.classes, 0, num_first or len(predictor.classes))


def _num_first(folder: Path) -> int:
    """How many channels a run's protocol calls old; 0 where there is no run."""
    run = run_of(folder)
    return len(run.scores()[0].classes) if run is not None and run.config().method.data == "stream" else 0


def _open_source(arguments: EvaluateArguments, run: RunFolder | None) -> Source:
    from sats.data.folder import FolderSource
    from sats.engine.build import open_source

    if arguments.data:
        split = arguments.split or (run.config().data.test_split if run else "val")
        return FolderSource(Path(arguments.data).expanduser(), split)
    if run is None:
        raise ValueError("On what data? Name a folder of images and masks with --data DIR.")
    config = run.config()
    return open_source(config, arguments.split or config.data.test_split)
