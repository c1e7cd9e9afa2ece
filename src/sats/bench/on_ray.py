"""Cells as tasks of Ray, on this machine or a cluster whose machines see the same files."""

from __future__ import annotations

import logging
import os
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sats.bench.executor import Ended, Executor, Job
from sats.bench.process import start
from sats.holding import wait_until_free

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOK_EVERY = 0.2
"""Seconds."""
MOST_RETRIES = 3
"""How often a run whose worker died is gone on with by another."""
SECONDS_TO_STOP = 120.0
"""For how long runs may finish their iteration and write a checkpoint."""


class RayExecutor(Executor):
    """Runs jobs on what Ray has, each with so many ``cpus`` and ``gpus``; at most ``limit`` of them, 0 for any number.

    Without an ``address`` Ray is started on this machine. ValueError if it is not installed or cannot be reached.
    """

    def __init__(self, address: str, cpus: float, gpus: float, limit: int) -> None:
        if find_spec("ray") is None:
            raise ValueError("Sweeps on Ray need one more package: pip install ray")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # tell nobody
        import ray

        self._ray: Any = ray
        try:
            ray.init(
                address=address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ValueError(f"Ray cannot be reached at {address or 'this machine'}: {error}") from error
        self._demand = {"CPU": cpus, "GPU": gpus}
        self._limit = limit
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=MOST_RETRIES)(go_on)
        self._running: dict[Any, Job] = {}

    @property
    def slots(self) -> int:
        """How many jobs Ray has room for now; one at least, which waits until there is room."""
        room = room_for(self._demand, self._ray.cluster_resources())
        return max(1, min(room, self._limit or room))

    def submit(self, job: Job) -> None:
        """Start a job."""
        self._running[self._task.remote(job)] = job

    def wait(self, seconds: float) -> list[Ended]:
        """The jobs that have ended, as soon as there is one; none after ``seconds``."""
        over, _ = self._ray.wait(list(self._running), timeout=seconds)
        return [self._ended(task) for task in over]

    def _ended(self, task: Any) -> Ended:
        job = self._running.pop(task)
        try:
            ended: Ended = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            return Ended(job.name, f"Ray gave it up: {str(error).strip().splitlines()[0]}")
        return ended

    def stop(self) -> None:
        """Ask every job to stop with a checkpoint, wait until they have, and leave Ray."""
        for task in self._running:
            self._ray.cancel(task)
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=SECONDS_TO_STOP)
        for job in self._running.values():
            wait_until_free(job.folder, SECONDS_TO_STOP)
        self._running = {}
        self._ray.shutdown()


def room_for(demand: Mapping[str, float], resources: Mapping[str, float]) -> int:
    """How many jobs of a ``demand`` fit into the ``resources``."""
    return min(int(resources.get(name, 0.0) / number) for name, number in demand.items() if number)


def go_on(job: Job) -> Ended:
    """Go on with a job in a process of its own, in a worker of Ray's; whatever ends this early stops the process."""
    running = start(job)
    try:
        while not running.is_over():
            time.sleep(LOOK_EVERY)
    except BaseException:  # Ray cancels a task by KeyboardInterrupt
        running.stop()
        running.process.wait()
        raise
    return running.ended()
