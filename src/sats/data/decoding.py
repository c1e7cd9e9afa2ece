"""Images decoded to see whether they can be, and show anything: the index reads their headers and ends alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from sats.progress import progress_bar

if TYPE_CHECKING:
    from sats.data.source import Source

DARK: Final = 16  # of 256 values; the upper 8 of 16 bits stay below it where 12 bits were stored


@dataclass(frozen=True)
class Decoded:
    """What was found: a sentence on each image that cannot be decoded, and the keys of those that are nearly black."""

    broken: list[str]
    dark: list[str]


def decode_all(source: Source, title: str) -> Decoded:
    """Decode every image of ``source`` under a bar."""

    def looked_at(index: int) -> Decoded:
        try:
            brightest = np.asarray(source.image(index)).max()
        except ValueError as error:
            return Decoded([str(error)], [])
        return Decoded([], [source.key(index)] if brightest < DARK else [])

    pool = ThreadPoolExecutor()
    try:
        found = list(progress_bar(pool.map(looked_at, range(len(source))), title, len(source)))
    finally:
        pool.shutdown(cancel_futures=True)
    return Decoded([fault for one in found for fault in one.broken], [key for one in found for key in one.dark])
