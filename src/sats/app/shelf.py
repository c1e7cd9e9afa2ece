"""The images of a new class as small pictures, with what is marked in them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from sats.app.collection import NEW
from sats.app.painting import marked
from sats.app.recent import Recent
from sats.app.text import rendered
from sats.data.index import read_image
from sats.report.pictures import photo, resized_labels
from sats.words import count, percent, shown

if TYPE_CHECKING:
    from sats.app.collection import Collected, Collection
    from sats.report.pictures import Picture

    Entry = tuple[Picture, str]
    """A small picture, and how many percent of it are the new class; empty without a mask."""

SIDE = 160
"""Pixels of a small picture."""
MOST_SHOWN = 60
BYTES = 2**25


class Shelf:
    """Shows a collection; small pictures are kept for as long as their files stay the same. For several threads."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._lock = Lock()
        self._kept: Recent[tuple[object, ...], Entry] = Recent(BYTES, lambda entry: len(entry[0].uri))

    def html(self) -> str:
        """The collection as the page shows it."""
        items = self._collection.items()
        entries = [(shown(item.name), *self._entry(item)) for item in items[:MOST_SHOWN]]
        marked = sum(item.mask is not None for item in items)
        return rendered(
            "shelf",
            total=f"{count(len(items), 'image')}, {marked} with a mask",
            bare=len(items) - marked,
            left=len(items) - len(entries),
            entries=entries,
        )

    def _entry(self, item: Collected) -> Entry:
        files = [item.image, *([item.mask] if item.mask else [])]
        stamp = (item.image, *(file.stat().st_mtime_ns for file in files))
        with self._lock:
            return self._kept.get(stamp, lambda: small_picture(item))


def small_picture(item: Collected) -> Entry:
    """A small picture of an image with its mask over it, and how much of it is the new class."""
    labels = item.labels()
    height, width = labels.shape
    image = read_image(str(item.image), scale=min(1.0, 2 * SIDE / max(height, width)))
    image.thumbnail((SIDE, SIDE))
    drawn = photo(marked(image, resized_labels(labels, image.size)), SIDE)
    return drawn, percent(float((labels == NEW).mean())) if item.mask else ""
