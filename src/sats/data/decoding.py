"""Images decoded to see whether they can be: the index reads their headers and ends alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sats.progress import progress_bar

if TYPE_CHECKING:
    from sats.data.source import Source


def broken_images(source: Source, title: str) -> list[str]:
    """Decode every image of ``source`` under a bar; returns a sentence on each that cannot be."""

    def fault(index: int) -> str:
        try:
            source.image(index)
        except ValueError as error:
            return str(error)
        return ""

    pool = ThreadPoolExecutor()
    try:
        found = pool.map(fault, range(len(source)))
        return [problem for problem in progress_bar(found, title, len(source)) if problem]
    finally:
        pool.shutdown(cancel_futures=True)
