"""The choice of exemplars: images of finished steps that later steps learn from again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from sats.types import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sats.types import Selection

_DRAW: Final = 2**31
"""Keeps the draws of the selection apart from those of the epochs, which are numbered from 0."""


@dataclass(frozen=True)
class Exemplar:
    """An image that is kept: its ``key`` in the source, and the ``step`` whose labels it carries.

    ``image`` and ``mask`` name the files of its copy; empty where it is read from the source.
    """

    key: str
    step: int
    image: str = ""
    mask: str = ""


def select(
    selection: Selection, candidates: Sequence[Exemplar], held: NDArray[np.bool_], size: int, seed: int, step: int
) -> list[Exemplar]:
    """The memory after ``step``: at most ``size`` of the candidates, no image twice, in order of step and key.

    The candidates are the last memory and the step's images; ``held`` [candidates, channels] says which classes each
    of them holds. An image that is in both stands among them twice, once with each step: the first one that is
    taken stays, with the labels of its step, and the other is out.
    """
    if selection == "random":
        chosen = reservoir(candidates, size, seed)
    else:  # "ssul" is balanced, too: it differs in what counts as held
        chosen = balanced(candidates, held, size, np.random.default_rng([seed, step, _DRAW]))
    return sorted(chosen, key=lambda exemplar: (exemplar.step, exemplar.key))


def balanced(
    candidates: Sequence[Exemplar], held: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> list[Exemplar]:
    """Take turns among the foreground classes until there are ``size`` exemplars (SSUL's rule).

    Candidates and classes are shuffled once. Each class in turn takes the first remaining candidate that holds
    it; one without any is passed over. It ends early when a round adds nothing, where the published loop never does.
    """
    order = rng.permutation(len(candidates))
    classes = rng.permutation(np.arange(BACKGROUND + 1, held.shape[1]))
    queues = [iter(order[held[order, channel]]) for channel in classes]
    chosen: dict[str, Exemplar] = {}
    before = -1
    while before < len(chosen):
        before = len(chosen)
        for queue in queues:
            remaining = (candidates[place] for place in queue if candidates[place].key not in chosen)
            taken = next(remaining, None)
            if taken is not None and len(chosen) < size:
                chosen[taken.key] = taken
    return list(chosen.values())


def reservoir(candidates: Sequence[Exemplar], size: int, seed: int) -> list[Exemplar]:
    """A random sample of all images seen so far, each of them equally likely to be kept.

    Every image has a lot, decided by ``seed`` and its key, and the ``size`` lowest of all are kept. Whoever is among
    the lowest of all was so in each earlier step, so the last memory and the step's images suffice to find them; and
    an image that several steps saw has one lot like any other. It carries the labels of one of those steps, drawn
    in the same way.
    """
    chosen: dict[str, Exemplar] = {}
    for candidate in sorted(candidates, key=lambda one: (_lot(seed, one.key), _lot(seed, one.key, str(one.step)))):
        chosen.setdefault(candidate.key, candidate)
    return list(chosen.values())[:size]


def _lot(seed: int, *words: str) -> bytes:
    """A number as good as random, the same wherever it is computed."""
    text = "\0".join([str(seed), *words])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()  # file names need not be Unicode
