"""A run in a process of its own, which stops with a checkpoint when whoever started it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.bench.executor import Ended

if TYPE_CHECKING:
    from sats.bench.executor import Job

ENTRY = "sats.bench.cell"
OWN = "sats: "
"""How the message of a command that fails begins, which may be several lines."""
MOST_LINES = 20
"""A message has no more lines than these."""


@dataclass(frozen=True)
class RunningJob:
    """A job's process; its output begins at ``offset`` of the job's log."""

    job: Job
    process: subprocess.Popen[bytes]
    offset: int

    def is_over(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def ended(self) -> Ended:
        """What came of it, once it has ended."""
        code = self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        return Ended(self.job.name, "" if code == 0 else self._last_words() or _exit(code))

    def stop(self) -> None:
        """Ask it to stop after its next iteration, with a checkpoint."""
        if not self.is_over():
            self.process.terminate()

    def _last_words(self) -> str:
        """What the command says of an error, on one line; of another program the last line of its output."""
        with self.job.log.open("rb") as log:
            log.seek(self.offset)
            lines = [line.strip() for line in log.read().decode("utf-8", errors="replace").split("\n") if line.strip()]
        start = max((place for place, line in enumerate(lines) if line.startswith(OWN)), default=len(lines) - 1)
        message = lines[max(start, 0) :]
        if any(line.startswith("Traceback") for line in message) or len(message) > MOST_LINES:
            message = lines[-1:]  # that was a warning, long before
        return " ".join(message).removeprefix(OWN)


def start(job: Job, one_thread: bool = True) -> RunningJob:
    """Start a job's process, its output added to the job's log; of ``one_thread``, as others run beside it."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ} if one_thread else dict(os.environ)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} ---\n".encode())
        log.flush()
        process = subprocess.Popen(  # noqa: S603 (our own command)
            [sys.executable, "-m", ENTRY, str(job.folder)],
            stdin=subprocess.PIPE,  # closed by the system when this process is gone, however it went
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for whoever started it, who tells it in order
        )
        return RunningJob(job, process, log.tell())


def _exit(code: int) -> str:
    if code >= 0:
        return f"its process ended with code {code} and said nothing"
    name = signal.Signals(-code).name
    return f"its process was ended by {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}"
