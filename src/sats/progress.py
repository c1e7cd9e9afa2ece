"""Progress bars with the time that is left, and what is waited for, on a terminal that somebody watches."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")

SECONDS_BEFORE_BAR = 1.0
LOADING = "loading torch"
"""What most commands wait for first."""


LONGEST_BAR, SHORTEST_BAR, BESIDE_BAR = 30, 3, 55
"""Columns of a bar, and those that title, count and time left take beside it."""
NO = ("", "0", "false")


def voice() -> Console:
    """Where it is said what goes on: stderr; in a notebook, which shows stderr as an error, its plain output."""
    console = Console(stderr=True)
    return Console(force_jupyter=False, file=sys.stdout) if console.is_jupyter else console


def is_watched(console: Console) -> bool:
    """Whether lines can be written over: not in a pipe, a file, a dumb terminal or a notebook.

    Nor in the log of a build service, many of which give their jobs a terminal (CI) or tell programs to colour a pipe
    (FORCE_COLOR): a bar would leave a line there for each of its steps.
    """
    if not console.is_interactive or os.environ.get("CI", "").lower() not in NO:
        return False
    return "FORCE_COLOR" not in os.environ or console.file.isatty()


def bar(console: Console) -> Progress:
    """A bar on ``console``: what is done, how much of it, the time left. Gone when it is finished."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=max(SHORTEST_BAR, min(LONGEST_BAR, console.width - BESIDE_BAR))),
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(compact=True),
    )
    return Progress(*columns, console=console, transient=True)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say ``what`` is being done as long as the context lasts, on a terminal: something that has no parts to count."""
    console = voice()
    with console.status(what) if is_watched(console) else nullcontext():
        yield


@contextmanager
def bytes_bar(title: str, total: int) -> Iterator[Callable[[int], object]]:
    """A function to call with the bytes just done, of about ``total``; they get a bar, on a terminal."""
    console = voice()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=LONGEST_BAR),
        DownloadColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not is_watched(console)) as shown:
        task = shown.add_task(title, total=total)
        yield lambda size: shown.advance(task, size)


def progress_bar(items: Iterable[Item], title: str, total: int | None) -> Iterator[Item]:
    """Yield ``items``, ``total`` of them (None: nobody knows); they get a bar if they take more than a second."""
    console = voice()
    if not is_watched(console):
        yield from items
        return
    shown = bar(console)
    task = shown.add_task(title, total=total)
    start = time.monotonic()
    try:
        for item in items:
            yield item
            shown.advance(task)
            if not shown.live.is_started and time.monotonic() - start > SECONDS_BEFORE_BAR:
                shown.start()
    finally:
        if shown.live.is_started:
            shown.stop()
