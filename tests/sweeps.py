"""Suites of tiny runs, and executors that need no processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sats import api
from sats.bench.bench_folder import BenchFolder
from sats.bench.executor import Ended, Executor, Job
from sats.bench.schedule import Listener, Sweep, work
from sats.bench.settings import Places
from sats.bench.suite import Cell, cells, parse_suite
from sats.engine.run_folder import RunFolder

TINY = {
    "data": {"images": 20, "image_size": 32},
    "train": {"epochs": 1, "epochs_later": 1, "batch_size": 6, "crop": 32, "log_every": 1},
}


def spanned(**values: object) -> tuple[Cell, ...]:
    """The cells of a suite on tiny data; ``values`` are its other keys."""
    return cells(parse_suite({"name": "test", "base": TINY, **values}), Places())


class Inline(Executor):
    """Goes on with a job where it is submitted, one after the other."""

    @property
    def slots(self) -> int:
        return 1

    def __init__(self, go_on: Callable[[RunFolder], object] = api.run) -> None:
        self.go_on, self.started, self.stopped = go_on, list[str](), False
        self._over: list[Ended] = []

    def submit(self, job: Job) -> None:
        self.started.append(job.name)
        try:
            self.go_on(RunFolder(job.folder))
        except (ValueError, RuntimeError) as error:
            self._over.append(Ended(job.name, str(error)))
        else:
            self._over.append(Ended(job.name))

    def wait(self, seconds: float) -> list[Ended]:  # noqa: ARG002 (there is nothing to wait for)
        over, self._over = self._over, []
        return over

    def stop(self) -> None:
        self.stopped = True


def swept(folder: Path, every: tuple[Cell, ...], executor: Executor) -> Sweep:
    """What came of running what is left of ``every`` cell."""
    sweep = Sweep(BenchFolder(folder), every)
    assert work(sweep, executor, Listener())
    return sweep
