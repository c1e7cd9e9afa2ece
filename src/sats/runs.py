"""A run from Python: its settings, scores, models and pictures."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sats.engine import runtime
from sats.engine.run_folder import MODEL, RunFolder, open_run
from sats.evaluation.table import (
    agreement_note,
    as_html,
    class_table,
    figure_table,
    percent,
    show_scores,
    unmeasured_note,
)
from sats.files import at_home
from sats.methods import method_name
from sats.progress import LOADING, waiting
from sats.words import evenly, shown, verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from sats.config import RunConfig
    from sats.evaluation.predict import Predictor
    from sats.evaluation.scores import Scores
    from sats.methods import Method

MOST_STEPS = 6
"""Steps that a picture shows unless it is told which; of more, the first, the last and some between."""


@dataclass(frozen=True)
class RunStep:
    """A step of a run: what it ``learns`` from how many ``images``; ``scores`` is None until it is finished."""

    index: int
    learns: tuple[str, ...]
    images: int
    scores: Scores | None


@dataclass(frozen=True)
class Run:
    """The run in the folder ``path``, as far as it is: all is read when it is asked for.

    It can stand for its folder: ``sats.load(run)``, ``sats.resume(run)``.
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def config(self) -> RunConfig[Method]:
        """The run's settings."""
        return self._folder.config()

    @property
    def scores(self) -> tuple[Scores, ...]:
        """The scores of the finished steps, in order."""
        return tuple(self._folder.scores())

    @property
    def steps(self) -> tuple[RunStep, ...]:
        """Every step that is planned; none while the data was not opened yet."""
        done = dict(enumerate(self.scores))
        return tuple(
            RunStep(index, tuple(step["learns"]), step["images"], done.get(index))
            for index, step in enumerate(self._folder.steps())
        )

    @property
    def state(self) -> str:
        """How far the run is, in a few words."""
        return self._folder.state()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What was logged while it learned, a dictionary for each logged iteration, as in metrics.jsonl."""
        return self._folder.metrics()

    def model(self, step: int = -1) -> Predictor:
        """The model after a finished ``step``, as ``sats.load`` gives it; -1: after the last that is finished."""
        folder = self._folder.step(self._finished(step)) / MODEL
        runtime.prepare()
        with waiting(LOADING):
            from sats.evaluation.predict import read_predictor
        return read_predictor(folder, self.config.method)

    def picture(self, images: int = 4, steps: Sequence[int] = ()) -> Image.Image:
        """Test images, each beside its truth and what the models after ``steps`` see in it, over a legend.

        Without ``steps``, all that are finished, six at most. ValueError for a step that is not, or data that are gone.
        """
        if images < 1:
            raise ValueError(f"A picture shows at least one image, not {images}.")
        chosen = [self._finished(step) for step in steps] or evenly(range(self._finished(-1) + 1), MOST_STEPS)
        runtime.prepare()
        with waiting(LOADING):
            from sats.engine.panel import draw_panel
            from sats.engine.train import open_stream
        config = self.config
        stream = open_stream(config, self._folder)
        models = {f"step {step}": self.model(step) for step in chosen}
        return draw_panel(config, stream, stream.steps[max(chosen)], models, images)

    def show(self, images: int = 4) -> None:
        """Show the scores after each step as tables; in a notebook the `picture` of ``images``, too (0: none)."""
        if Console().is_jupyter:
            from IPython.display import display

            display(self)
            if self.scores and images:
                display(self.picture(images))
        elif self.scores:
            show_scores(self.scores)
        else:
            Console().print(repr(self), highlight=False, markup=False, soft_wrap=True)

    def __repr__(self) -> str:
        try:
            return f"Run({str(self.path)!r}: {self._summary()})"
        except ValueError:  # its files are gone or broken: whoever reads them says so
            return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the scores after each step, or what is wrong with the run's files."""
        try:
            return f"<div>{self._html()}</div>"
        except ValueError as error:
            return f"<p>{html.escape(verbatim(str(error)))}</p>"

    def _html(self) -> str:
        scores = self.scores
        title = f"<p><b>{html.escape(shown(self.path.name))}</b>: {html.escape(self._summary())}</p>"
        tables = [as_html(class_table(scores)), as_html(figure_table(scores))] if scores else []
        notes = [agreement_note(self.config), unmeasured_note(scores[-1])] if scores else []
        return "".join([title, *tables, *(f"<p>{html.escape(note)}</p>" for note in notes if note)])

    def _summary(self) -> str:
        method, scores = method_name(self.config.method), self.scores
        measured = scores[-1].miou["all"] if scores else None
        return f"{method}, {self.state}" + ("" if measured is None else f", mIoU {percent(measured)} %")

    def _finished(self, step: int) -> int:
        """The place of a finished step, counted from the end if negative; ValueError if there is no such."""
        done = len(self.scores)
        place = step + done if step < 0 else step
        if not 0 <= place < done:
            raise ValueError(f"{self.path} has {done or 'no'} finished step(s), and no step {step} among them.")
        return place

    @property
    def _folder(self) -> RunFolder:
        return RunFolder(self.path)


def read_run(folder: Path | str) -> Run:
    """The run in ``folder``, finished or not, or the one that makes the extended model there.

    ValueError if there is none.
    """
    return Run(open_run(at_home(folder)).path)
