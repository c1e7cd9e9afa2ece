"""How much the losses make at once: what fits into a processor's cache, or what keeps a GPU busy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Portion:
    """The most ``elements`` that exist at one time, and the most of several images that are taken ``together``."""

    elements: int
    together: int

    def images(self, elements: int) -> int:
        """How many images of so many ``elements`` each are taken together: 1 where not even two fit."""
        return max(1, self.together // elements)


@dataclass(frozen=True)
class Way:
    """How a kind of device works: what it makes at once of logits and of rows of attention maps.

    And whether it may be ``asked`` what it computed, to spare it work. To ask a GPU is to wait until all that was
    launched is done, and then it waits until more is.
    """

    logits: Portion
    rows: Portion
    asked: bool


PROCESSOR = Way(logits=Portion(2**19, together=0), rows=Portion(2**24, together=0), asked=True)
"""2 MiB of logits fit into the cache, and are not asked of the system anew; 64 MiB of rows, as few as regions need."""
GPU = Way(logits=Portion(2**27, together=2**23), rows=Portion(2**26, together=2**26), asked=False)
"""Small images go together, lest there be many small operations: 32 MiB of logits, 256 MiB of rows."""
WAYS = {"cpu": PROCESSOR}


def way_of(device: torch.device) -> Way:
    """How a ``device`` works."""
    return WAYS.get(device.type, GPU)
