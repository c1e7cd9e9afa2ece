"""Which of a run's processes this one is, as torchrun says in the environment. Read before torch is loaded."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

LAUNCHER = "SATS_LAUNCHER"
"""What tells the processes of `start_processes` whose they are: its number."""
LOOK_EVERY, PATIENCE = 1.0, 60.0
"""Seconds between looks for the launcher, and until a process ends that goes on without it."""
INTERRUPTED = 130
"""The exit code of a command that was interrupted."""


def world_size() -> int:
    """How many processes share the run: 1 unless a launcher started several."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ["RANK"]) if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that owns the run's folder and speaks to the user."""
    return rank() == 0


def local_world_size() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world_size() > 1 else 1


def local_rank() -> int:
    """Which of those on this machine this one is, from 0."""
    return int(os.environ["LOCAL_RANK"]) if world_size() > 1 else 0


def flag() -> str:
    """The flag with which `sats resume` uses as many processes as this command; empty under another launcher."""
    return f" --processes {world_size()}" if LAUNCHER in os.environ and world_size() > 1 else ""


def refuse_lone_process() -> None:
    """ValueError where `accelerate launch` was asked for several processes but started this one alone.

    Without GPUs it does, unless MPI starts them; all that tells of it is the address at which they should have met.
    """
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    if by_accelerate and "MASTER_ADDR" in os.environ and "LOCAL_RANK" not in os.environ:
        raise ValueError(
            "`accelerate launch` was asked for several processes and started one, as it does without GPUs: add "
            "--multi_gpu, which works without them, too, and leave out --cpu; or use torchrun, or --processes N."
        )


def stop_with_launcher() -> None:
    """Let this process stop, as by SIGTERM, once the one that started it with `start_processes` is gone.

    Killed (SIGKILL), that one can stop nobody: its processes would wait for it, or go on and keep the run's folder.
    """
    if LAUNCHER in os.environ and "LOCAL_RANK" in os.environ:
        threading.Thread(target=_watch, daemon=True).start()


def is_abandoned() -> bool:
    """Whether the process that started this one with `start_processes` is gone."""
    return "LOCAL_RANK" in os.environ and os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid())


def _watch() -> None:
    while not is_abandoned():
        time.sleep(LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)  # for a checkpoint
    os.kill(os.getpid(), signal.SIGKILL)


def start_processes(words: Sequence[str], number: int) -> NoReturn:
    """Run ``sats WORDS`` in ``number`` processes of this machine, by torch's launcher; exit as the first to fail did.

    Each gets its share of the cores, unless OMP_NUM_THREADS says otherwise. What went wrong they have said themselves.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // number)))
    os.environ[LAUNCHER] = str(os.getpid())
    logging.disable()  # the launcher's own words, in this process alone
    from sats.progress import waiting

    with waiting(f"starting {number} processes"):
        from torch.distributed import run
        from torch.distributed.elastic.multiprocessing.api import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        run.run(run.parse_args(["--standalone", "--nproc-per-node", str(number), "-m", "sats", *words]))
    except ChildFailedError as error:
        sys.exit(error.get_first_failure()[1].exitcode)
    except SignalException:
        sys.exit(INTERRUPTED)
    sys.exit(0)
