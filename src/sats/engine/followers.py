"""What follows a run while it learns: its trackers. One that fails is left behind, and the training goes on."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from sats.config import to_json
from sats.dotted import flat
from sats.engine.trackers import KINDS, Subject
from sats.engine.tracking import read_tracking, write_tracking
from sats.words import shown, verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from PIL import Image

    from sats.engine.log import Log
    from sats.engine.run_folder import RunFolder
    from sats.engine.trackers import Tracker
    from sats.evaluation.scores import Scores

UNFIT = re.compile(r"[^\w\- ]")
"""What the name of a value may not hold everywhere."""
LONGEST = 200
"""Characters of an error's first line that are shown."""


class Followers:
    """The trackers that follow a run. They know its iterations as those of all its steps, one after another.

    A tracker that meets the run for the first time is told what the run's folder knows of the steps before.
    """

    def __init__(self, folder: RunFolder, trackers: Iterable[str], say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._named = tuple(trackers)
        self._following: dict[str, Tracker] | None = None
        self._before = 0

    def begin(self, step: int, iteration: int) -> None:
        """A step begins, or goes on after ``iteration``; with the first one the trackers start."""
        self._before = iterations_before(self._folder.metrics(), step)
        if self._following is not None:
            return
        self._following = {name: KINDS[name]() for name in self._named}
        for name in self._named:
            self._ask(name, partial(self._start, name, after=self._before + iteration))

    def logged(self, line: Mapping[str, Any]) -> None:
        """An iteration was logged, as a line of metrics.jsonl says."""
        values, at = values_of(line), self._before + line["iteration"]
        self._ask_all(lambda tracker: tracker.log(values, at) if at > tracker.reached else None)

    def scored(self, scores: Scores, draw: Callable[[], Image.Image]) -> None:
        """A step is finished; ``draw`` makes a picture of what its model sees in test images."""
        if not self._following:
            return
        at = iterations_before(self._folder.metrics(), scores.step + 1)
        values = figures_of(scores)
        self._ask_all(lambda tracker: tracker.log(values, at))
        try:
            picture = draw()
        except Exception as error:  # noqa: BLE001 (a picture is not worth a training)
            self._say(f"No picture of step {scores.step} for the trackers: {in_short(error)}")
            return
        self._ask_all(lambda tracker: tracker.show(picture, at))

    def end(self, *, is_complete: bool) -> None:
        """The training has come to its end, or to an interruption."""
        self._ask_all(lambda tracker: tracker.finish(is_complete=is_complete))

    def _start(self, name: str, tracker: Tracker, after: int) -> None:
        known = read_tracking(self._folder.tracking_path)
        called, where = tracker.start(self._subject(), known.ids.get(name, ""), after)
        self._say(f"{name}: {where}")
        if known.ids.get(name) != called:
            write_tracking(self._folder.tracking_path, dataclasses.replace(known, ids={**known.ids, name: called}))
            self._tell_of_before(tracker)

    def _tell_of_before(self, tracker: Tracker) -> None:
        """What the folder knows of the run so far, in its order."""
        lines = self._folder.metrics()
        scores = self._folder.scores()
        for step in range(len(scores) + 1):
            before = iterations_before(lines, step)
            for line in (line for line in lines if line["step"] == step):
                tracker.log(values_of(line), before + line["iteration"])
            if step < len(scores):
                tracker.log(figures_of(scores[step]), iterations_before(lines, step + 1))

    def _subject(self) -> Subject:
        folder = self._folder.absolute()
        own = folder.extended() or folder.path
        return Subject(folder.path, own.parent, own.name, flat(json.loads(to_json(folder.config()))))

    def _ask_all(self, request: Callable[[Tracker], object]) -> None:
        for name in tuple(self._following or ()):
            self._ask(name, request)

    def _ask(self, name: str, request: Callable[[Tracker], object]) -> None:
        """Ask a tracker for something; one that cannot is not asked again."""
        following = self._following or {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # theirs, of what they use
                request(following[name])
        except Exception as error:  # noqa: BLE001 (whatever it is, a training goes on)
            del following[name]
            self._say(f"{name} no longer follows the run, which goes on without it: {in_short(error)}")


@contextmanager
def following(folder: RunFolder, log: Log) -> Iterator[None]:
    """Let the run's trackers hear what ``log`` is told, as long as the context lasts."""
    trackers = read_tracking(folder.tracking_path).trackers
    if log.quiet or not trackers:
        yield
        return
    log.followers = Followers(folder, trackers, log.say)
    is_complete = False
    try:
        yield
        is_complete = True
    finally:
        log.followers.end(is_complete=is_complete)
        log.followers = None


def iterations_before(lines: Iterable[Mapping[str, object]], step: int) -> int:
    """The iterations of all steps before ``step``; each one's last is always logged."""
    last: dict[int, int] = {}
    for line in lines:
        number, iteration = line.get("step"), line.get("iteration")
        if isinstance(number, int) and isinstance(iteration, int) and number < step:
            last[number] = max(iteration, last.get(number, 0))
    return sum(last.values())


def values_of(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in a line of metrics.jsonl, by name."""
    own = {name: line.get(name) for name in ("step", "epoch", "images_per_second", "memory_mib")}
    parts = {"loss": {**line.get("losses", {}), "total": line.get("total")}, "lr": line.get("lr", {}), "run": own}
    return {
        f"{part}/{fit(name)}": value
        for part, values in parts.items()
        for name, value in values.items()
        if isinstance(value, int | float)
    }


def figures_of(scores: Scores) -> dict[str, float]:
    """The figures after a step, by name; those that are not defined are left out."""
    titles = [fit(name) for name in scores.classes]
    distinct = [f"{title} {index}" if titles.count(title) > 1 else title for index, title in enumerate(titles)]
    found = {f"miou/{name}": value for name, value in scores.miou.items()}
    found |= {f"iou/{title}": scores.iou[name] for name, title in zip(scores.classes, distinct, strict=True)}
    found |= {
        f"forgetting/{title}": scores.forgetting.get(name) for name, title in zip(scores.classes, distinct, strict=True)
    }
    return {"run/step": scores.step} | {name: value for name, value in found.items() if value is not None}


def fit(name: str) -> str:
    """``name`` as every tracker takes it."""
    return UNFIT.sub("_", shown(name))


def in_short(error: Exception) -> str:
    """The first line of what went wrong."""
    line = next(iter(verbatim(str(error)).strip().splitlines()), "")
    return f"{type(error).__name__}: {line[:LONGEST]}" if line else type(error).__name__
