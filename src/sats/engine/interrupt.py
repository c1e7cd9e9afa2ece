"""Ctrl-C and SIGTERM between two iterations instead of within one."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.engine import launch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@dataclass
class StopRequest:
    """Whether somebody asked this process to stop."""

    asked: bool = False


@contextmanager
def deferred_interrupts() -> Iterator[StopRequest]:
    """Within this context SIGINT and SIGTERM are only noted; a SIGINT after another signal interrupts at once.

    A second SIGTERM does not: a cluster's scheduler sends it to all processes of a job, and the launcher passes its own
    on. Outside the main thread, where signals cannot be caught, nothing changes.
    """
    request = StopRequest()

    def note(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 (a handler's signature)
        if request.asked:
            if signum == signal.SIGINT:
                raise KeyboardInterrupt
            return
        request.asked = True
        if launch.is_main():
            os.write(2, b"\nStopping after this iteration; Ctrl-C once more stops at once.\n")  # safe in a handler

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, note) for number in signals]
    try:
        yield request
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
