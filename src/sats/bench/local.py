"""Cells as processes of this machine, side by side."""

from __future__ import annotations

import time

from sats.bench.executor import Ended, Executor, Job
from sats.bench.process import RunningJob, start

LOOK_EVERY = 0.1
"""Seconds."""


class LocalExecutor(Executor):
    """Runs ``slots`` jobs at a time, each in a process of one thread."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running: list[RunningJob] = []

    @property
    def slots(self) -> int:
        """How many jobs may run at a time."""
        return self._slots

    def submit(self, job: Job) -> None:
        """Start a job."""
        self._running.append(start(job))

    def wait(self, seconds: float) -> list[Ended]:
        """The jobs that have ended, as soon as there is one; none after ``seconds``."""
        end = time.monotonic() + seconds
        while not (over := [job for job in self._running if job.is_over()]) and time.monotonic() < end:
            time.sleep(LOOK_EVERY)
        self._running = [job for job in self._running if job not in over]
        return [job.ended() for job in over]

    def stop(self) -> None:
        """Ask every job to stop with a checkpoint, and wait until they have."""
        for job in self._running:
            job.stop()
        for job in self._running:
            job.ended()
        self._running = []
