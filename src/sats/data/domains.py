"""Domains: parts of a data set, such as cities, that arrive step by step while the classes stay the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sats.data.protocol import cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sats.data.source import Source


@dataclass(frozen=True)
class Domains:
    """The domains that each step brings: ``names``, and the sorted indices of their ``images``, step by step."""

    names: tuple[tuple[str, ...], ...]
    images: tuple[NDArray[np.int64], ...]


def domains_by_step(
    source: Source,
    protocol: str,
    steps: Sequence[Sequence[str]] = (),
    order: Sequence[str] = (),
    order_seed: int | None = None,
    learned: int = 0,
) -> Domains:
    """The domains of ``source`` as they arrive, in alphabetical order unless told otherwise; see `cut`.

    The images of the first ``learned`` of the ``steps`` may be gone. ValueError if there are no two domains.
    """
    owners = [source.domain(index) for index in range(len(source))]
    gone = {name for group in steps[:learned] for name in group}
    names = sorted({*owners, *gone})
    if len(names) < 2:
        raise ValueError(
            "These images are not parted into domains: put those of each domain, a city or a hospital for example, "
            "into a folder of their own below images/train, and the masks likewise."
        )
    groups = cut(names, "domains", protocol, steps, order, order_seed)
    by_step = tuple(tuple(names[place] for place in group) for group in groups)
    belongs = np.array(owners)
    return Domains(by_step, tuple(np.flatnonzero(np.isin(belongs, group)) for group in by_step))


def merged(domains: Domains) -> Domains:
    """All of them in one step."""
    names = tuple(name for group in domains.names for name in group)
    return Domains((names,), (np.sort(np.concatenate(domains.images)),))
