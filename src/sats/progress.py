"""Progress bars with the time that is left, and what is waited for, on a terminal's stderr; elsewhere nothing."""

from __future__ import annotations

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


def bar(console: Console) -> Progress:
    """A bar on ``console``: what is done, how much of it, the time left. Gone when it is finished."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(compact=True),
    )
    return Progress(*columns, console=console, transient=True)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say ``what`` is being done as long as the context lasts, on a terminal: something that has no parts to count."""
    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else nullcontext():
        yield


@contextmanager
def bytes_bar(title: str, total: int) -> Iterator[Callable[[int], object]]:
    """A function to call with the bytes just done, of about ``total``; they get a bar, on a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(title, total=total)
        yield lambda size: shown.advance(task, size)


def progress_bar(items: Iterable[Item], title: str, total: int | None) -> Iterator[Item]:
    """Yield ``items``, ``total`` of them (None: nobody knows); they get a bar if they take more than a second."""
    console = Console(stderr=True)
    if not console.is_terminal:
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
