"""Domains: parts of a data set, such as cities, that arrive step by step while the classes stay the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sats.data.arrivals import Arrival
from sats.data.protocol import cut
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.data.source import Source


def domains_by_step(
    source: Source,
    protocol: str,
    steps: Sequence[Sequence[str]] = (),
    order: Sequence[str] = (),
    order_seed: int | None = None,
    learned: int = 0,
) -> tuple[Arrival, ...]:
    """The domains of ``source`` as they arrive, in alphabetical order unless told otherwise; see `cut`.

    Step 0 brings every class, later ones none, and every label counts.
    The images of the first ``learned`` of the ``steps`` may be gone. ValueError if there are no two domains.
    """
    owners = [source.domain(index) for index in range(len(source))]
    gone = {name for group in steps[:learned] for name in group}
    names = sorted({*owners, *gone})
    if len(names) < 2:
        raise ValueError(
            "These images are not divided into domains: put the images of each domain (a city, a hospital) into a "
            "folder of its own below images/SPLIT, and the masks likewise."
        )
    groups = cut(names, "domains", protocol, steps, order, order_seed)
    by_step = [tuple(names[place] for place in group) for group in groups]
    every = tuple(range(BACKGROUND + 1, len(source.classes)))
    return tuple(
        Arrival(() if step else every, np.flatnonzero(np.isin(owners, group)), keeps_old=True, domains=group)
        for step, group in enumerate(by_step)
    )
