"""A folder that one process works on and others stay off."""

from __future__ import annotations

import os
import platform
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
from filelock import FileLock, Timeout

from sats.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWNER = ".owner"
"""Says which process holds the folder: "process 123 on machine"."""

LOOK_EVERY = 0.2
"""Seconds."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes off ``folder``; ValueError names the one that has it. A dead one's hold is gone."""
    owner = folder / OWNER
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = owner.read_text(encoding="utf-8").strip() if owner.is_file() else "another process"
        raise ValueError(f"{folder} is being worked on by {who}: wait for it, or stop it first.") from error
    try:
        write_text(owner, f"process {os.getpid()} on {platform.node()}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process that is alive, or on another machine, holds ``folder``. Only looks: takes no lock."""
    try:
        _, number, _, machine = (folder / OWNER).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return False
    return machine != platform.node() or psutil.pid_exists(int(number))


def wait_until_free(folder: Path, seconds: float) -> None:
    """Wait while another process holds ``folder``, at most for ``seconds``."""
    end = time.monotonic() + seconds
    while is_held(folder) and time.monotonic() < end:
        time.sleep(LOOK_EVERY)
