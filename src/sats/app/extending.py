"""New classes for models: each extension is a numbered folder that says how far it is, whoever looks."""

from __future__ import annotations

import dataclasses
import shutil
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from sats import api
from sats.app.models import Model
from sats.bench.executor import Job
from sats.bench.process import start
from sats.data.extension import HELD_OUT
from sats.engine.run_folder import EXTENSION, RunFolder, is_run
from sats.files import write_text
from sats.holding import is_held
from sats.methods import METHODS, Finetune, method_name
from sats.types import BACKGROUND_NAMES
from sats.words import LONGEST_NAME, count, shown, verbatim

if TYPE_CHECKING:
    from pathlib import Path

    from sats.app.collection import Collection
    from sats.bench.process import RunningJob

PREFIX = "extension-"
DATA, MODEL, LOG, FAULT = "data", "model", "output.txt", "fault.txt"


@dataclass(frozen=True)
class Wish:
    """What is asked for: a model to extend, the name of the new class, a method and passes over the images."""

    model: Model
    class_name: str
    method: str
    epochs: int


@dataclass(frozen=True)
class Extension:
    """The extension in ``folder``: the data it learns from, the new model with its run, what its process said."""

    folder: Path

    @property
    def number(self) -> int:
        """Its place in the order of extensions."""
        return int(self.folder.name.removeprefix(PREFIX))

    @property
    def out(self) -> Path:
        """Where the new model comes to lie."""
        return self.folder / MODEL

    @property
    def run(self) -> RunFolder:
        """The run that makes it."""
        return RunFolder(self.out / EXTENSION)

    @property
    def has_run(self) -> bool:
        """Whether the run is there: one that could not begin is not."""
        return is_run(self.run.path)

    @property
    def is_finished(self) -> bool:
        """Whether the new model is there."""
        return self.has_run and self.run.is_finished() and (self.out / "config.json").is_file()

    @property
    def fault(self) -> str:
        """Why its process ended early, if it did."""
        path = self.folder / FAULT
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def model(self) -> Model:
        """The new model."""
        config = self.run.config()
        old, new = config.stream.steps
        title = f"extension {self.number}: {', '.join(map(shown, new))} ({method_name(config.method)})"
        return Model(title, "", self.out, (*old, *new))


class Extensions:
    """The extensions in the folder ``work``, at most one of which is at work. For several threads."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._lock = Lock()
        self._job: RunningJob | None = None

    def all(self) -> list[Extension]:
        """Every extension, in order."""
        found = [path for path in self._work.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal()]
        return sorted(map(Extension, found), key=lambda extension: extension.number)

    def made(self) -> list[Model]:
        """The new models, those left out whose files somebody changed."""
        found = []
        for extension in self.all():
            with suppress(ValueError):
                found += [extension.model()] if extension.is_finished else []
        return found

    def last(self) -> Extension | None:
        """The one that was begun last."""
        found = self.all()
        return found[-1] if found else None

    def is_running(self) -> bool:
        """Whether an extension is at work, be it one that another process started."""
        with self._lock:
            return self._is_running()

    def begin(self, wish: Wish, collection: Collection) -> None:
        """Start to teach a class; ValueError if that cannot be, or another is at work."""
        name = checked_name(wish.class_name)
        check_images(collection)
        with self._lock:
            self._refuse_second()
            folder = self._work / f"{PREFIX}{1 + max((extension.number for extension in self.all()), default=0)}"
            try:
                collection.write(folder / DATA, name)
                config = api.extension(wish.model.folder, folder / DATA, wish.method)
                train = dataclasses.replace(config.train, epochs=wish.epochs)
                api.start_extension(dataclasses.replace(config, train=train), Extension(folder).out)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._start(Extension(folder))

    def go_on(self) -> None:
        """Go on with the last extension, which was interrupted."""
        with self._lock:
            self._refuse_second()
            extension = self.last()
            if extension is None or not extension.has_run or extension.is_finished:
                raise ValueError("There is no interrupted extension to go on with: start one.")
            self._start(extension)

    def stop(self) -> None:
        """Ask the extension at work to stop with a checkpoint, and wait until it has.

        ValueError if another process started it.
        """
        with self._lock:
            if self._job:
                self._job.stop()
                self._job.ended()
                self._job = None
            elif self._is_running():
                raise ValueError("Another process started this extension: stop it there.")

    def _refuse_second(self) -> None:
        if self._is_running():
            raise ValueError("An extension is at work already: wait for it, or stop it first.")

    def _start(self, extension: Extension) -> None:
        (extension.folder / FAULT).unlink(missing_ok=True)
        job = Job(extension.folder.name, extension.run.path, extension.folder / LOG)
        self._job = start(job, one_thread=False)

    def _is_running(self) -> bool:
        """`is_running`, with the lock held; records the error of a process that has ended."""
        if self._job is None:
            last = self.last()
            return last is not None and is_held(last.run.path)
        if not self._job.is_over():
            return True
        fault = self._job.ended().error
        if fault:
            write_text(self._job.job.log.with_name(FAULT), verbatim(fault))
        self._job = None
        return False


def able_methods() -> list[str]:
    """The methods by which any model can be extended, in the order of the alphabet."""
    plain = Finetune().step0_key()
    return sorted(name for name, kind in METHODS.items() if kind().step0_key() == plain)


def checked_name(text: str) -> str:
    """The name of a new class; ValueError for none, one that is too long, or the background's."""
    name = " ".join(text.split())
    if not name or len(name) > LONGEST_NAME or verbatim(name) != name:
        raise ValueError(f"A class needs a name of 1 to {LONGEST_NAME} visible characters.")
    if name.casefold() in BACKGROUND_NAMES:
        raise ValueError(f"{name} is what class 0 is called: choose another name for the new class.")
    return name


def check_images(collection: Collection) -> None:
    """ValueError unless there are images to learn from and to measure on."""
    labelled = len(collection.labelled())
    if labelled < HELD_OUT:
        raise ValueError(
            f"{count(labelled, 'image has', 'images have')} a mask; at least {HELD_OUT} are needed, as one in "
            f"{HELD_OUT} is kept to measure on. Upload or paint more."
        )
