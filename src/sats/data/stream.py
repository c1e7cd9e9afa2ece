"""The class stream: groups of classes, or of domains, and a setting turn a source into steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sats.data.domains import merged
from sats.types import BACKGROUND, IGNORE, UNKNOWN, steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from sats.data.domains import Domains
    from sats.data.saliency import Saliency
    from sats.data.source import Source
    from sats.types import Background, Future, Setting, Step, Void


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


@dataclass(frozen=True)
class Samples:
    """Some images of a source, with masks in a step's channels; ``table`` [256] maps the source's ids.

    With ``saliency``, background that it calls salient is UNKNOWN.
    """

    source: Source
    indices: NDArray[np.int64]
    table: NDArray[np.uint8]
    saliency: Saliency | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Image.Image, NDArray[np.uint8]]:
        """An RGB image and its labels [H, W]."""
        index = int(self.indices[position])
        image, labels = self.source.image(index), self.table[self.source.mask(index)]
        if self.saliency is not None:
            salient = self.saliency.salient(self.source.key(index), image)
            labels[salient & (labels == BACKGROUND)] = UNKNOWN
        return image, labels

    def size(self, position: int) -> tuple[int, int]:
        """Height and width of an image, without decoding it."""
        return self.source.size(int(self.indices[position]))

    @property
    def is_marked(self) -> bool:
        """Whether labels may be UNKNOWN."""
        return self.saliency is not None

    def presence(self, num_channels: int) -> NDArray[np.bool_]:
        """Which of the first channels each image's labels hold: [images, channels]; column 0 is never asked for."""
        in_source = self.source.presence()[self.indices]
        found = np.zeros((len(self), num_channels), dtype=bool)
        for index in range(in_source.shape[1]):
            found[:, self.table[index]] |= in_source[:, index]
        return found


@dataclass(frozen=True)
class Joined:
    """Several samples as one, ``parts`` one after the other."""

    parts: tuple[Samples, ...] = ()

    @property
    def is_marked(self) -> bool:
        """Whether labels may be UNKNOWN, in some part."""
        return any(part.is_marked for part in self.parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, position: int) -> tuple[Image.Image, NDArray[np.uint8]]:
        """An RGB image and its labels [H, W]."""
        part, within = self._find(position)
        return part[within]

    def size(self, position: int) -> tuple[int, int]:
        """Height and width of an image, without decoding it."""
        part, within = self._find(position)
        return part.size(within)

    def _find(self, position: int) -> tuple[Samples, int]:
        """The part that holds ``position``, and where in it."""
        for part in self.parts:
            if position < len(part):
                return part, position
            position -= len(part)
        raise IndexError(f"There are only {len(self)} samples.")


def samples_by_name(
    source: Source,
    classes: Sequence[str],
    future: Future,
    background: Background = "count",
    has_background: bool = True,
) -> Samples:
    """Every image of ``source``, labelled with the channels of ``classes`` (background first) by their names.

    Other classes are background or ignored, the images' own background is measured or ignored; both are ignored for a
    model that has no background. ValueError if no foreground class is in both.
    """
    if not {name.casefold() for name in source.classes[BACKGROUND + 1 :]} & {
        name.casefold() for name in classes[BACKGROUND + 1 :]
    }:
        raise ValueError(
            f"The data and the model have no class in common: the data knows {', '.join(source.classes[1:])}; "
            f"the model {', '.join(classes[1:])}."
        )
    unknown = BACKGROUND if future == "background" and has_background else IGNORE
    own = BACKGROUND if background == "count" and has_background else IGNORE
    return Samples(source, np.arange(len(source)), channels_by_name(source, classes, unknown, own))


def channels_by_name(
    source: Source, classes: Sequence[str], unknown: int, background: int = BACKGROUND
) -> NDArray[np.uint8]:
    """The channel of each id [256] of ``source`` by the name of its class, whatever its case if need be.

    Classes that are not among ``classes`` (background first) are ``unknown``; the source's own background is
    ``background``.
    """
    exact = {name: channel for channel, name in enumerate(classes)}
    folded = {name.casefold(): channel for channel, name in enumerate(classes)}
    table = np.full(256, unknown, dtype=np.uint8)
    table[[BACKGROUND, IGNORE]] = background, IGNORE
    for index, name in enumerate(source.classes[BACKGROUND + 1 :], BACKGROUND + 1):
        table[index] = exact.get(name, folded.get(name.casefold(), unknown))
    return table


class Stream:
    """The steps of a data source under a protocol and a setting.

    ``groups`` lists the source's class indices that each step learns; channels of the model follow that order,
    after the background. ``all_at_once`` makes one step of them, with every label: joint training. The images of
    the first ``learned`` steps may be gone. ``void`` says what pixels of IGNORE are in training. Where ``domains``
    arrive, each step sees their images with every label, and step 0 learns all classes.
    """

    def __init__(
        self,
        train: Source,
        test: Source,
        groups: Sequence[Sequence[int]],
        setting: Setting = "overlapped",
        seed: int = 0,
        all_at_once: bool = False,
        learned: int = 0,
        *,
        void: Void = "ignore",
        domains: Domains | None = None,
    ) -> None:
        self.train_source, self.test_source, self.setting = train, test, setting
        self._void = BACKGROUND if void == "background" else IGNORE
        self.num_first = BACKGROUND + 1 + len(groups[0])
        if all_at_once:
            groups = [[index for group in groups for index in group]]
            domains = merged(domains) if domains else None
        self.groups = [list(group) for group in groups]
        self.steps = steps_of([len(group) for group in self.groups])
        self._domains = domains
        self._images = domains.images if domains else assign_images(train.presence(), self.groups, setting, seed)
        self._refuse_without_images(self.steps[learned:])

    def _refuse_without_images(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if not len(self._images[step.index]):
                raise ValueError(
                    f"No training image for the step that brings {', '.join(self.brings(step))} "
                    f"(setting {self.setting}): leave these out, or add images that hold them."
                )

    def _name(self, index: int) -> str:
        return self.train_source.classes[index]

    def domains(self, step: Step) -> tuple[str, ...]:
        """The names of the domains that ``step`` brings; none where classes arrive."""
        return self._domains.names[step.index] if self._domains else ()

    def brings(self, step: Step) -> tuple[str, ...]:
        """The names of what ``step`` brings: domains, or classes without the background."""
        return self.domains(step) or tuple(self._name(index) for index in self.groups[step.index])

    def new_names(self, step: Step) -> tuple[str, ...]:
        """The names of the channels that ``step`` adds; at step 0 the background's is the first."""
        names = tuple(self._name(index) for index in self.groups[step.index])
        return names if step.index else (self._name(BACKGROUND), *names)

    def names(self, step: Step) -> tuple[str, ...]:
        """The names of every channel known in ``step``, old ones first."""
        return tuple(name for earlier in self.steps[: step.index + 1] for name in self.new_names(earlier))

    def train_samples(self, step: Step) -> Samples:
        """The step's training images; old classes are background in their labels.

        Not so in the setting "sequential", nor where domains arrive.
        """
        return Samples(self.train_source, self._images[step.index], self.own_labels(step))

    def own_labels(self, step: Step) -> NDArray[np.uint8]:
        """The channel of each source id [256] in ``step``'s own training labels."""
        first = 0 if self.setting == "sequential" or self._domains else step.index
        return self._train_table(first, step.index)

    def seen_labels(self, step: Step) -> NDArray[np.uint8]:
        """The channel of each source id [256] where every class seen up to ``step`` is labelled."""
        return self._train_table(0, step.index)

    def _train_table(self, first: int, last: int) -> NDArray[np.uint8]:
        table = self._table(first, last, unseen=BACKGROUND)
        table[IGNORE] = self._void
        return table

    def test_samples(self, step: Step, future: Future, background: Background = "count") -> Samples:
        """Every test image, labelled with all classes seen so far; later ones are background or ignored.

        The images' own background is measured, or ignored as well.
        """
        unseen = IGNORE if future == "ignore" else BACKGROUND
        table = self._table(0, step.index, unseen)
        table[BACKGROUND] = IGNORE if background == "ignore" else BACKGROUND
        return Samples(self.test_source, np.arange(len(self.test_source)), table)

    def _table(self, first: int, last: int, unseen: int) -> NDArray[np.uint8]:
        """Channel of each source id: classes of steps ``first`` to ``last`` keep theirs."""
        in_stream = [index for group in self.groups for index in group]
        table = np.full(256, BACKGROUND, dtype=np.uint8)
        table[in_stream] = unseen
        table[IGNORE] = IGNORE
        for step, group in zip(self.steps[first : last + 1], self.groups[first : last + 1], strict=True):
            table[group] = range(step.first_new, step.num_seen)
        return table
