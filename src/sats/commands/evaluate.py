"""``sats evaluate``: the scores of a trained model on a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sats import api
from sats.evaluation.table import show_scores
from sats.files import at_home, write_text
from sats.types import Background, Future, OnError

if TYPE_CHECKING:
    from collections.abc import Sequence


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

    out = place_for(arguments.out)
    scores = api.evaluate(
        arguments.model,
        arguments.data,
        arguments.split,
        future=arguments.future,
        background=arguments.background,
        crop=arguments.crop,
        on_error=arguments.on_error,
        batch_size=arguments.batch_size,
    )
    show_scores([scores])
    if out:
        write_text(out, scores.to_json())
        print(f"scores: {arguments.out}")


def place_for(out: str) -> Path | None:
    """The file to write, its folder made before anything is measured; None where none was asked for."""
    if not out:
        return None
    file = at_home(out)
    if file.is_dir():
        raise ValueError(f"{file} is a folder: name the file to write with --out FILE.json.")
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
