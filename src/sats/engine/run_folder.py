"""A run's folder: its files, written beside and renamed into place. Used before torch is loaded."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import typing
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from sats.config import RunConfig, read_config, to_json
from sats.documents import is_a, parse_json, read_json
from sats.evaluation.scores import Scores, read_scores
from sats.files import building, is_utf8, replacing, saving, write_text
from sats.holding import held, is_held
from sats.words import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sats.methods import Method

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
SCORES = "scores.json"
STEPS = "steps.json"
STEP = "step-"
SKIPPED = "skipped"
MODEL = "model"
EXTENSION = "run"
"""Within the folder of an extended model: the run that made it."""


class Described(TypedDict):
    """What steps.json says of a step."""

    learns: list[str]
    images: int
    domains: NotRequired[list[str]]
    taken_over: NotRequired[bool]  # from a whole run, whose images may be gone


@dataclass(frozen=True)
class RunFolder:
    """The folder at ``path`` with everything one run leaves behind."""

    path: Path

    def absolute(self) -> RunFolder:
        """The same folder, named from the root, for a process that may work elsewhere."""
        return RunFolder(self.path.resolve())

    @property
    def config_path(self) -> Path:
        """The settings, enough to run it again."""
        return self.path / CONFIG

    @property
    def metrics_path(self) -> Path:
        """One line for each logged iteration."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Where an unfinished step's checkpoints are."""
        return self.path / "checkpoint"

    @property
    def memory_path(self) -> Path:
        """The exemplars after each finished step."""
        return self.path / "memory.json"

    @property
    def tracking_path(self) -> Path:
        """Which trackers follow the run."""
        return self.path / "tracking.json"

    def skipped_path(self, process: int = 0) -> Path:
        """Where a process of the run writes down what it left out of the data."""
        return self.path / (f"{SKIPPED}.jsonl" if process == 0 else f"{SKIPPED}-{process}.jsonl")

    def skipped(self) -> list[str]:
        """What was left out of the data by any process, because it cannot be used: a sentence each, none twice."""
        found = [problem for path in sorted(self.path.glob(f"{SKIPPED}*.jsonl")) for problem in read_skipped(path)]
        return list(dict.fromkeys(found))

    @property
    def copies(self) -> Path:
        """Where the exemplars' copies are."""
        return self.path / "memory"

    def discard_checkpoints(self) -> None:
        """Remove the checkpoints of a step that is finished."""
        if self.checkpoints.exists():
            shutil.rmtree(self.checkpoints)

    def held(self) -> AbstractContextManager[None]:
        """Keep other processes off the folder; ValueError names the one that has it. A dead one's hold is gone."""
        return held(self.path)

    def step(self, index: int) -> Path:
        """The folder of a finished step: model, scores, confusion matrix, the method's state."""
        return self.path / f"{STEP}{index}"

    def steps(self) -> list[Described]:
        """What each step learns, and from how many images; empty while its data was not opened yet."""
        path = self.path / STEPS
        found = read_json(path) if path.is_file() else []
        if not is_a(found, list[Described]):
            raise ValueError(f"{path} does not list steps: put back what sats wrote.")
        return list(typing.cast("list[Described]", found))

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; one that a crash has cut off is left out."""
        return list(_objects(self.metrics_path))

    def domains(self) -> tuple[tuple[str, ...], ...]:
        """The domains that each step brings, as written down when the run began; empty where there are none."""
        return tuple(tuple(step["domains"]) for step in self.steps() if "domains" in step)

    def num_steps(self) -> int:
        """How many steps the run has; 0 while that is not known, as its data was not opened yet."""
        return len(self.steps())

    def is_finished(self) -> bool:
        """Whether every step is done."""
        return 0 < self.num_steps() == len(self.scores())

    def state(self) -> str:
        """How far the run is, in a few words."""
        if self.is_finished():
            return "finished"
        word = "running" if is_held(self.path) else "interrupted"
        return f"{word}, {len(self.scores())} of {self.num_steps() or '?'} steps"

    def fingerprint(self) -> str:
        """What tells the run's checkpoints from those of runs with other settings."""
        return hashlib.sha256(self.config_path.read_bytes()).hexdigest()

    def config(self) -> RunConfig[Method]:
        """The run's settings; a ValueError says which other version of sats wrote them, if one did."""
        try:
            return read_config(self.config_path)
        except ValueError as error:
            raise ValueError(f"{error}{self._other_version()}") from error

    def _other_version(self) -> str:
        """A sentence on the version that wrote this run, where it is not this one; empty where that is not known."""
        try:
            written = read_json(self.path / ENVIRONMENT)["packages"]["sats"]
        except (ValueError, KeyError, TypeError):
            return ""
        here = version("sats")
        fix = "read it with that version"
        return "" if written == here else f" The run was written by sats {shown(written)}, this is {here}: {fix}."

    def scores(self) -> list[Scores]:
        """The scores of the finished steps, in order; ValueError for a file that holds none, or another step's."""
        found: list[Scores] = []
        while (path := self.step(len(found)) / SCORES).is_file():
            scores = read_scores(path)
            if scores.step != len(found):
                raise ValueError(f"{path} says that it is of another step: put back what sats wrote.")
            found.append(scores)
        return found

    def publish(self) -> Path | None:
        """Put the model of a finished extension into the folder around the run, and return that; else None.

        The files are written beside and renamed, the one that makes a model of the folder last.
        """
        out = self.extended()
        if out is None or not self.is_finished():
            return None
        model = self.step(self.num_steps() - 1) / MODEL
        with saving(out):
            for file in sorted(model.iterdir(), key=lambda file: file.name == CONFIG):
                with replacing(out / file.name) as beside:
                    shutil.copyfile(file, beside)
        return out

    def extended(self) -> Path | None:
        """The folder of the extended model around this run; None for any other run."""
        return self.path.parent if self.path.name == EXTENSION and self.config().extends.checkpoint else None

    def discard_unless_begun(self) -> None:
        """Remove the folder of a run that never began: one without a finished step or a logged iteration.

        Step 0 of an extension is a model as it came, and no beginning.
        """
        if not self.metrics_path.exists() and (self.config().extends.checkpoint or not self.step(0).exists()):
            around = self.extended()
            shutil.rmtree(self.path)
            if around and not any(around.iterdir()):
                around.rmdir()

    def write(self, name: str, text: str) -> None:
        """Write a text file, so that a reader sees the old one or the whole new one."""
        write_text(self.path / name, text)

    @contextmanager
    def writing_step(self, index: int) -> Iterator[Path]:
        """A folder to fill; it becomes the step's when the context ends without an error.

        FileNotFoundError where the run's own folder is gone: nobody wants a step alone in its place.
        """
        self.path.stat()
        with building(self.step(index)) as beside:
            yield beside


def create_run(path: Path, config: RunConfig[Method]) -> RunFolder:
    """A new run folder with its configuration; ValueError if ``path`` holds anything already."""
    folder = RunFolder(path)
    if is_run(path):
        if folder.is_finished():
            raise ValueError(f"{path} holds a finished run: choose another folder with --out.")
        raise ValueError(
            f"{path} holds an unfinished run: go on with `sats resume {path}`, or choose another folder with --out."
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists and is not an empty folder: choose another one with --out.")
    if not is_utf8(path.absolute()):
        raise ValueError(f"The path of {path} is not UTF-8, which files of weights need: choose another with --out.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder.write(CONFIG, to_json(config))
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}. Choose another folder with --out.") from error
    return folder


def is_run(path: Path) -> bool:
    """Whether ``path`` holds a run: its config.json names a recipe, where a model's names an architecture."""
    try:
        settings = parse_json((path / CONFIG).read_text(encoding="utf-8"), str(path / CONFIG))
    except OSError:
        return False
    except ValueError:  # broken: a model's has weights beside it; what is wrong with a run's, its reader will say
        return not any(path.glob("*.safetensors"))
    return isinstance(settings, dict) and "recipe" in settings


def open_run(path: Path) -> RunFolder:
    """The run in ``path``, or the one that makes the extended model there; ValueError if there is none."""
    if not is_run(path) and is_run(path / EXTENSION):
        path = path / EXTENSION
    if not is_run(path):
        raise ValueError(f"{path} holds no run: name the folder that `sats train` wrote, with its {CONFIG}.")
    return RunFolder(path)


def run_of(model: Path) -> RunFolder | None:
    """The run that made the model in ``model``, RUN/step-K/model or an extended one; None for any other."""
    model = model.resolve()
    step, run = model.parent, model.parent.parent
    is_step = model.name == MODEL and step.name.startswith(STEP)
    if not is_step and is_run(model / EXTENSION):
        return RunFolder(model / EXTENSION)
    return RunFolder(run) if is_step and is_run(run) else None


def find_model(folder: Path) -> Path:
    """The model folder that ``folder`` means, a run (its last finished step), a step of one, or a model.

    ValueError if it is none of these.
    """
    if (folder / MODEL / CONFIG).is_file():  # RUN/step-K
        return folder / MODEL
    if is_run(folder):
        steps = len(RunFolder(folder).scores())
        if not steps:
            raise ValueError(f"The run {folder} has no finished step yet: wait for it, or go on with `sats resume`.")
        return RunFolder(folder).step(steps - 1) / MODEL
    if is_run(folder / EXTENSION) and not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds an unfinished extension: go on with `sats resume {folder}`.")
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} is neither a run nor a model folder: it should hold step-0/ or {CONFIG}.")
    return folder


def read_skipped(path: Path) -> list[str]:
    """The sentences in a file that says what was skipped."""
    return [entry["problem"] for entry in _objects(path) if isinstance(entry.get("problem"), str)]


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that are objects of JSON; others, as a crash may leave one, are passed over."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            entry = parse_json(line, "")
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def new_folder(parent: Path, name: str) -> Path:
    """A new folder, ``parent / name`` or with the first number behind it that nobody took, not even at this moment.

    ValueError if it cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return next(path for path in _numbered(parent, name) if _made(path))
    except OSError as error:
        raise ValueError(f"{parent} cannot be written: {error.strerror}. Choose a folder with --out.") from error


def _made(path: Path) -> bool:
    """Make a folder; False if it is there already."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def unused_folder(parent: Path, name: str) -> Path:
    """``parent / name``, or with the first number behind it that is not taken."""
    return next(path for path in _numbered(parent, name) if not path.exists())


def _numbered(parent: Path, name: str) -> Iterator[Path]:
    yield parent / name
    yield from (parent / f"{name}-{number}" for number in itertools.count(2))
