"""The class stream: a protocol, a setting and a class order turn a source into steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sats.errors import unknown
from sats.types import BACKGROUND, IGNORE, UNKNOWN, steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from sats.data.saliency import Saliency
    from sats.data.source import Source
    from sats.types import Background, Future, Setting, Step, Void


def parse_protocol(protocol: str, num_foreground: int) -> tuple[int, ...]:
    """How many classes each step of an "A-B" protocol adds: step 0 learns A, each later one B.

    ValueError where it is no protocol, or its steps don't come out even on ``num_foreground`` classes.
    """
    if not protocol:
        raise ValueError(
            f"Which of the {num_foreground} classes arrive when? Give --protocol A-B (A classes, then B a step), "
            "or list the steps with --stream.steps."
        )
    first, dash, later = protocol.partition("-")
    if not (dash and first.isdecimal() and later.isdecimal() and int(first) and int(later)):
        raise ValueError(f"{protocol!r} is no protocol: write A-B, for example 15-1 (15 classes, then 1 a step).")
    start, size = int(first), int(later)
    steps, rest = divmod(num_foreground - start, size)
    if steps < 1 or rest:
        raise ValueError(
            f"Protocol {protocol} does not come out even on {num_foreground} classes (background aside): "
            f"A + k B must be {num_foreground}. {_nearest_protocols(start, size, num_foreground)}"
            "or list the steps yourself with --stream.steps."
        )
    return (start, *[size] * steps)


def _nearest_protocols(start: int, size: int, num_foreground: int) -> str:
    """A suggestion with the nearest A that fits B, where there is one."""
    fitting = range(num_foreground % size or size, num_foreground, size)
    if not fitting:
        return "Choose a smaller B, "
    return f"Take for example {min(fitting, key=lambda other: abs(other - start))}-{size}, "


def class_groups(
    names: Sequence[str],
    protocol: str,
    steps: Sequence[Sequence[str]],
    order: Sequence[str],
    order_seed: int | None,
) -> tuple[tuple[int, ...], ...]:
    """The source's class indices that each step learns, without the background.

    ``names`` are the source's classes, background first. ``steps`` lists classes by name and overrides the rest;
    otherwise ``protocol`` cuts the classes in their own order, in ``order`` (every class once), or shuffled
    by ``order_seed``.
    """
    if steps:
        return tuple(tuple(_indices(group, names)) for group in _without_repeats(steps))
    foreground = _ordered(names, order, order_seed)
    ends = np.cumsum(parse_protocol(protocol, len(foreground)))
    return tuple(tuple(foreground[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True))


def _ordered(names: Sequence[str], order: Sequence[str], order_seed: int | None) -> list[int]:
    """The indices of every class but the background, in the order in which they are learned."""
    foreground = list(range(BACKGROUND + 1, len(names)))
    if order:
        if repeated := _repeated(order):
            raise ValueError(f"The class order must name every class once; named again: {repeated}.")
        if missing := sorted(set(names[BACKGROUND + 1 :]) - set(order)):
            raise ValueError(f"The class order must name every class once; missing: {', '.join(missing)}.")
        return _indices(order, names)
    if order_seed is not None:
        return [int(index) for index in np.random.default_rng(order_seed).permutation(foreground)]
    return foreground


def _without_repeats(steps: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    if repeated := _repeated([name for group in steps for name in group]):
        raise ValueError(f"A class can be learned once only; listed twice in the steps: {repeated}.")
    return steps


def _repeated(names: Sequence[str]) -> str:
    return ", ".join(sorted({name for name in names if names.count(name) > 1}))


def _indices(wanted: Sequence[str], names: Sequence[str]) -> list[int]:
    indices = []
    for name in wanted:
        if name not in names[BACKGROUND + 1 :]:
            raise ValueError(unknown("class", name, names[BACKGROUND + 1 :], "the data"))
        indices.append(names.index(name))
    return indices


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
    the first ``learned`` steps may be gone. ``void`` says what pixels of IGNORE are in training.
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
    ) -> None:
        self.train_source, self.test_source, self.setting = train, test, setting
        self._void = BACKGROUND if void == "background" else IGNORE
        self.num_first = BACKGROUND + 1 + len(groups[0])
        if all_at_once:
            groups = [[index for group in groups for index in group]]
        self.groups = [list(group) for group in groups]
        self.steps = steps_of([len(group) for group in self.groups])
        self._images = assign_images(train.presence(), self.groups, setting, seed)
        for group, images in zip(self.groups[learned:], self._images[learned:], strict=True):
            if not len(images):
                raise ValueError(
                    f"No training image for the step that learns {', '.join(self._name(index) for index in group)} "
                    f"(setting {setting}): leave these classes out, or add images that hold them."
                )

    def _name(self, index: int) -> str:
        return self.train_source.classes[index]

    def new_names(self, step: Step) -> tuple[str, ...]:
        """The names of the channels that ``step`` adds; at step 0 the background's is the first."""
        names = tuple(self._name(index) for index in self.groups[step.index])
        return names if step.index else (self._name(BACKGROUND), *names)

    def names(self, step: Step) -> tuple[str, ...]:
        """The names of every channel known in ``step``, old ones first."""
        return tuple(name for earlier in self.steps[: step.index + 1] for name in self.new_names(earlier))

    def train_samples(self, step: Step) -> Samples:
        """The step's training images; old classes are background in their labels (but not in "sequential")."""
        return Samples(self.train_source, self._images[step.index], self.own_labels(step))

    def own_labels(self, step: Step) -> NDArray[np.uint8]:
        """The channel of each source id [256] in ``step``'s own training labels."""
        first = 0 if self.setting == "sequential" else step.index
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
