"""What runs cells: one interface, for this machine's processes and for a cluster's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Job:
    """A run to go on with to its end: its ``folder``, and the file that its output is added to."""

    name: str
    folder: Path
    log: Path


@dataclass(frozen=True)
class Ended:
    """A job that is over; ``error`` says why it failed, and is empty where it did not."""

    name: str
    error: str = ""


class Executor(Protocol):
    """Runs jobs, at most ``slots`` at a time."""

    @property
    def slots(self) -> int:
        """How many jobs may run at a time."""

    def submit(self, job: Job) -> None:
        """Start a job, if fewer than ``slots`` are running."""

    def wait(self, seconds: float) -> list[Ended]:
        """The jobs that have ended since the last call, as soon as there is one; none after ``seconds``."""

    def stop(self) -> None:
        """Ask every job to stop with a checkpoint, and wait until they have; nothing is submitted any more."""
