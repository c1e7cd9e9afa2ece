"""What each step brings: classes dealt to it from one source, everything at once, or whatever else arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sats.data.chained import ChainedSource
    from sats.data.source import Source
    from sats.types import Setting


@dataclass(frozen=True)
class Arrival:
    """What one step brings: the source's ids of the ``classes`` it learns, and its ``images``, sorted indices.

    With ``keeps_old``, labels of old classes stay in its images; otherwise they become background. ``domains`` names
    those that arrive, if any do.
    """

    classes: tuple[int, ...]
    images: NDArray[np.int64]
    keeps_old: bool = False
    domains: tuple[str, ...] = ()


def by_class(
    source: Source, groups: Sequence[Sequence[int]], setting: Setting = "overlapped", seed: int = 0
) -> tuple[Arrival, ...]:
    """The arrivals of ``groups`` of classes (ids of the ``source``), whose images the ``setting`` deals."""
    dealt = assign_images(source.presence(), groups, setting, seed)
    keeps_old = setting == "sequential"
    return tuple(Arrival(tuple(group), images, keeps_old) for group, images in zip(groups, dealt, strict=True))


def by_folder(source: ChainedSource, first: Sequence[Arrival]) -> tuple[Arrival, ...]:
    """What each step brings: what arrives ``first``, from part 0 of the ``source``; then the other parts, one a step.

    A folder brings those of its classes that were not there before, and all its labels count.
    """
    arrivals = list(first)
    known = {index for arrival in first for index in arrival.classes}
    for number in range(1, len(source.parts)):
        new = tuple(index for index in source.ids_of(number) if index not in known)
        known.update(new)
        arrivals.append(Arrival(new, source.images_of(number), keeps_old=True))
    return tuple(arrivals)


def at_once(arrivals: Sequence[Arrival]) -> Arrival:
    """All of them in one step."""
    return Arrival(
        classes=tuple(index for arrival in arrivals for index in arrival.classes),
        images=np.unique(np.concatenate([arrival.images for arrival in arrivals])),
        domains=tuple(name for arrival in arrivals for name in arrival.domains),
    )


def assign_images(
    presence: NDArray[np.bool_], groups: Sequence[Sequence[int]], setting: Setting, seed: int = 0
) -> list[NDArray[np.int64]]:
    """The images that each step sees, as sorted indices.

    ``presence`` [images, classes] says which classes an image holds; ``groups`` which classes each step learns.
    overlapped: every image with a class of the step. disjoint and sequential: and no class of a later step.
    partitioned (arXiv 2405.09858): each image belongs to the step of one of its foreground classes, drawn
    uniformly with ``seed``.
    """
    has = np.stack([presence[:, list(group)].any(axis=1) for group in groups], axis=1)
    if setting == "partitioned":
        owner = _draw_owner(presence, groups, seed)
        chosen = [owner == step for step in range(len(groups))]
    elif setting == "overlapped":
        chosen = [has[:, step] for step in range(len(groups))]
    else:
        chosen = [has[:, step] & ~has[:, step + 1 :].any(axis=1) for step in range(len(groups))]
    return [np.flatnonzero(mask) for mask in chosen]


def _draw_owner(presence: NDArray[np.bool_], groups: Sequence[Sequence[int]], seed: int) -> NDArray[np.int64]:
    """The step of one foreground class of each image, drawn uniformly from those it holds; -1 without any."""
    step_of_class = np.full(presence.shape[1], -1)
    for step, group in enumerate(groups):
        step_of_class[list(group)] = step
    candidates = presence & (step_of_class >= 0)
    draws = np.where(candidates, np.random.default_rng(seed).random(candidates.shape), -1.0)
    owner: NDArray[np.int64] = np.where(candidates.any(axis=1), step_of_class[draws.argmax(axis=1)], -1)
    return owner
