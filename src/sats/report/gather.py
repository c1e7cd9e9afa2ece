"""What run folders hold, as plain values; torch is not loaded."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sats.documents import read_json
from sats.engine.run_folder import CONFIG, ENVIRONMENT, EXTENSION, SCORES, RunFolder, is_run, open_run
from sats.files import at_home
from sats.methods import method_name
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sats.config import RunConfig
    from sats.evaluation.scores import Scores
    from sats.methods import Method

    Matrix = NDArray[np.int64]


@dataclass(frozen=True)
class LoggedLoss:
    """The weighted terms of the loss, by name, at an iteration of a step; images learned from a second, MiB taken."""

    step: int
    iteration: int
    terms: dict[str, float]
    speed: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class RunRecord:
    """One run as far as it is: ``history`` holds the scores of its finished steps, at least one.

    ``name`` tells it from the others of the report. ``num_steps`` are planned, 0 where that is not known.
    ``domains`` are those of each planned step; none where classes arrive. ``confusions`` holds the matrix [C, C] (rows:
    truth) of each finished step, None where it was not kept.
    """

    name: str
    folder: RunFolder
    config: RunConfig[Method]
    history: tuple[Scores, ...]
    num_steps: int
    domains: tuple[tuple[str, ...], ...]
    losses: tuple[LoggedLoss, ...]
    environment: dict[str, object]
    confusions: tuple[Matrix | None, ...]

    @property
    def method(self) -> str:
        """The method's name."""
        return method_name(self.config.method)

    @property
    def is_joint(self) -> bool:
        """Whether it learned everything at once."""
        return self.config.method.data == "all"

    @property
    def adds_classes(self) -> bool:
        """Whether a finished step after the first learned a new class; where domains arrive, none does."""
        return any(self.learned()[1:])

    @property
    def first(self) -> Scores:
        """The scores after step 0."""
        return self.history[0]

    @property
    def last(self) -> Scores:
        """The scores after the last finished step."""
        return self.history[-1]

    @property
    def is_finished(self) -> bool:
        """Whether every planned step is done."""
        return len(self.history) == self.num_steps

    @property
    def kept(self) -> float | None:
        """Old-mIoU after the last step as a share of that after step 0; None for joint training and step 0 alone."""
        before, after = self.first.miou["old"], self.last.miou["old"]
        if len(self.history) < 2 or after is None or not before or not self.first.measured_alike(self.last):
            return None
        return after / before

    def learned(self) -> list[tuple[str, ...]]:
        """The names of the classes that each finished step learned, without the background."""
        known = [0, *(len(scores.classes) for scores in self.history)]
        return [self.last.classes[max(start, BACKGROUND + 1) : end] for start, end in pairwise(known)]


def gather(paths: Sequence[Path]) -> list[RunRecord]:
    """The runs in ``paths``, each a run or a folder of them.

    ValueError for one that is none, is named twice, or has no finished step.
    """
    if not paths:
        raise ValueError("Which run? Name the folder of one, or of several to compare: sats report RUN [RUN ...].")
    return [read_run(folder, name) for folder, name in named_runs(paths)]


def named_runs(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """The runs in ``paths``, each once, with a name of its own; ValueError for a path that is named twice."""
    named = [at_home(path).resolve() for path in paths]
    for path in named:
        if named.count(path) > 1:
            raise ValueError(f"{path} is named twice: name each once.")
    folders = list(dict.fromkeys(run for path in named for run in runs_below(path)))
    return list(zip(folders, distinct_names(folders), strict=True))


def runs_below(path: Path) -> list[Path]:
    """``path`` itself; or, if it is a folder of runs, those of its runs that have a score and can be read."""
    if _is_one_run(path):
        return [path]
    scored = _scored_runs(path)
    return [folder for folder in scored if not problem(folder)] or scored or [path]


def left_out(paths: Sequence[Path]) -> list[str]:
    """Why `gather` leaves out some of the runs in the folders of runs among ``paths``, a sentence for each."""
    folders = [at_home(path).resolve() for path in paths]
    problems = [problem(run) for folder in folders if not _is_one_run(folder) for run in _scored_runs(folder)]
    return [sentence for sentence in problems if sentence]


def problem(run: Path) -> str:
    """Why the run in this folder cannot be read; empty where it can."""
    try:
        read_run(run, run.name)
    except ValueError as error:
        return str(error)
    return ""


def _is_one_run(path: Path) -> bool:
    return is_run(path) or is_run(path / EXTENSION)


def _scored_runs(path: Path) -> list[Path]:
    found = [config.parent for config in sorted(path.glob(f"*/{CONFIG}")) if is_run(config.parent)]
    return [folder for folder in found if (RunFolder(folder).step(0) / SCORES).is_file()]


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or what follows the part common to all where two would be called the same."""
    last = [folder.name for folder in folders]
    if len(set(last)) == len(last):
        return last
    common = common_parent(folders)
    return [str(folder.relative_to(common)) for folder in folders]


def common_parent(folders: Sequence[Path]) -> Path:
    """The deepest folder that holds all of ``folders`` (absolute paths)."""
    return Path(os.path.commonpath([folder.parent for folder in folders]))


def read_run(path: Path, name: str) -> RunRecord:
    """The run in ``path``; ValueError if there is none, a file of it is broken, or no step is finished."""
    folder = open_run(path)
    config = folder.config()
    try:
        history, num_steps, domains = folder.scores(), folder.num_steps(), folder.domains()
        environment = read_environment(folder.path / ENVIRONMENT)
        confusions = tuple(read_confusion(folder.step(scores.step), len(history[0].classes)) for scores in history)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"The files of {path} cannot be read ({error!r}): leave the run out, or fix them.") from error
    if not history:
        raise ValueError(
            f"{path} has no finished step yet, so there is nothing to report: wait for it, or go on with "
            f"`sats resume {path}`."
        )
    losses = read_losses(folder)
    return RunRecord(name, folder, config, tuple(history), num_steps, domains, losses, environment, confusions)


def read_environment(path: Path) -> dict[str, object]:
    """What the run ran on, by name; empty where nobody wrote it down."""
    return dict(read_json(path)) if path.is_file() else {}


def read_confusion(step: Path, num_first: int) -> Matrix | None:
    """The confusion matrix in the folder of a ``step``, None where there is none.

    Rows of classes beyond ``num_first`` may have been measured on other pixels, by a matrix of their own.
    """
    path = step / "confusion.json"
    if not path.is_file():
        return None
    values = read_json(path)
    matrix = np.asarray(values["matrix"], dtype=np.int64)
    if (later := values.get("matrix of later classes")) is not None:
        matrix[num_first:] = np.asarray(later, dtype=np.int64)[num_first:]
    return matrix


def read_losses(folder: RunFolder) -> tuple[LoggedLoss, ...]:
    """The losses that a run logged; lines that a crash has cut off, and values that are no numbers, are left out."""
    return tuple(loss for loss in map(_read_loss, folder.metrics()) if loss is not None)


def _read_loss(values: Mapping[str, Any]) -> LoggedLoss | None:
    try:
        terms = {str(name): float(value) for name, value in values["losses"].items() if math.isfinite(value)}
        speed = values.get("images_per_second")
        memory = values.get("memory_mib")
        return LoggedLoss(
            int(values["step"]),
            int(values["iteration"]),
            terms,
            float(speed) if speed else None,
            int(memory) if memory else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
