"""How much the losses make at once: what fits into a processor's cache, or what keeps a GPU busy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Portion:
    """The most ``elements`` that exist at one time, and, where several images are taken ``together``, of those."""

    elements: int
    together: int

    def images(self, elements: int) -> int:
        """How many images of so many ``elements`` each are taken together: 1 where not even two fit."""
        return max(1, self.together // elements)


LOGITS = {"cpu": Portion(elements=2**19, together=0)}
"""Logits, by kind of device: 2 MiB fit into a processor's cache, and are not asked of the system anew."""
LOGITS_ELSEWHERE = Portion(elements=2**27, together=2**23)
"""On a GPU small images go together, lest it wait for many small operations; a large one fills it and its cache."""
ROWS = {"cpu": Portion(elements=2**24, together=0)}
"""Elements of attention maps: one image after another, as its regions may be small."""
ROWS_ELSEWHERE = Portion(elements=2**26, together=2**26)
ASKED = {"cpu"}
"""Kinds of device that are asked how much there is to do. Others work behind, and would stand still meanwhile."""


def logits_at_once(device: torch.device) -> Portion:
    """What a ``device`` makes at once of logits."""
    return LOGITS.get(device.type, LOGITS_ELSEWHERE)


def rows_at_once(device: torch.device) -> Portion:
    """What a ``device`` makes at once of attention maps."""
    return ROWS.get(device.type, ROWS_ELSEWHERE)


def may_be_asked(device: torch.device) -> bool:
    """Whether to look at what a ``device`` has computed to spare it work, or to let it do all."""
    return device.type in ASKED
