"""The class stream: what arrives, step by step, as training and test samples in a model's channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sats.data.arrivals import at_once
from sats.data.source import UNCHANGED
from sats.types import BACKGROUND, IGNORE, SALIENT, steps_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from sats.data.arrivals import Arrival
    from sats.data.saliency import Saliency
    from sats.data.source import Source
    from sats.types import Background, Future, Step, Void


Stored: TypeAlias = "tuple[Image.Image, NDArray[np.uint8], NDArray[np.uint8]]"
"""An image, the ids of its mask [H, W], and the label of each id [256]."""


@dataclass(frozen=True)
class Samples:
    """Some images of a source, with masks in a step's channels; ``table`` [256] maps the source's ids.

    With ``saliency``, background that it calls salient is SALIENT.
    """

    source: Source
    indices: NDArray[np.int64]
    table: NDArray[np.uint8]
    saliency: Saliency | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Image.Image, NDArray[np.uint8]]:
        """An RGB image and its labels [H, W]."""
        image, ids, table = self.read(position)
        return image, table.take(ids)

    def read(self, position: int, scale: float = 1.0) -> Stored:
        """The same, as it is stored: ids [H, W], and the label of each id [256], which is cheaper to look up later.

        The image may be reduced to no less than ``scale`` times its size; the ids are not.
        """
        index = int(self.indices[position])
        ids, meanings = self.source.stored_mask(index)
        table = self.table.take(meanings)
        if self.saliency is None:
            return self.source.image(index, scale), ids, table
        image, labels = self.source.image(index), table.take(ids)
        salient = self.saliency.salient(self.source.key(index), image)
        labels[salient & (labels == BACKGROUND)] = SALIENT
        return image, labels, UNCHANGED

    def size(self, position: int) -> tuple[int, int]:
        """Height and width of an image, without decoding it."""
        return self.source.size(int(self.indices[position]))

    def key(self, position: int) -> str:
        """What the source calls an image."""
        return self.source.key(int(self.indices[position]))

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was left out of the source because it cannot be used, a sentence each."""
        return self.source.skipped

    @property
    def is_marked(self) -> bool:
        """Whether labels may be SALIENT."""
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
    def skipped(self) -> tuple[str, ...]:
        """What was left out of the parts' sources because it cannot be used, a sentence each."""
        return tuple(problem for part in self.parts for problem in part.skipped)

    @property
    def is_marked(self) -> bool:
        """Whether labels may be SALIENT, in some part."""
        return any(part.is_marked for part in self.parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, position: int) -> tuple[Image.Image, NDArray[np.uint8]]:
        """An RGB image and its labels [H, W]."""
        part, within = self._find(position)
        return part[within]

    def read(self, position: int, scale: float = 1.0) -> Stored:
        """The same, as it is stored; see `Samples.read`."""
        part, within = self._find(position)
        return part.read(within, scale)

    def size(self, position: int) -> tuple[int, int]:
        """Height and width of an image, without decoding it."""
        part, within = self._find(position)
        return part.size(within)

    def key(self, position: int) -> str:
        """What its source calls an image."""
        part, within = self._find(position)
        return part.key(within)

    def presence(self, num_channels: int) -> NDArray[np.bool_]:
        """Which of the first channels each image's labels hold; see `Samples.presence`."""
        return np.concatenate([part.presence(num_channels) for part in self.parts])

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
    never: Collection[str] = (),
) -> Samples:
    """Every image of ``source``, labelled with the channels of ``classes`` (background first) by their names.

    Other classes are background, as those of ``never`` are in any case, or ignored; the images' own background is
    measured or ignored; all of these are ignored for a model that has no background. ValueError if no foreground class
    is in both.
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
    table = channels_by_name(source, classes, unknown, own)
    if has_background:
        table[[index for index, name in enumerate(source.classes) if name in never]] = BACKGROUND
    return Samples(source, np.arange(len(source)), table)


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


@dataclass(frozen=True)
class Test:
    """Images to measure on, from the step ``since`` on. The names of their classes say which channel each label is."""

    __test__ = False  # it is no test of pytest's

    source: Source
    since: int = 0

    def samples(self, channels: Mapping[str, int], unseen: Sequence[str], future: int, background: int) -> Samples:
        """Every image, labelled with the ``channels`` of the classes seen so far, and ``future`` where ``unseen``.

        Other classes are background. Background becomes ``background``, but where some class seen so far is none that
        these images label, nobody knows what it is: there it is ignored.
        """
        known = self.source.classes[BACKGROUND + 1 :]
        table = np.full(256, BACKGROUND, dtype=np.uint8)
        table[[BACKGROUND, IGNORE]] = background if channels.keys() <= set(known) else IGNORE, IGNORE
        for index, name in enumerate(known, BACKGROUND + 1):
            table[index] = channels.get(name, future if name in unseen else BACKGROUND)
        return Samples(self.source, np.arange(len(self.source)), table)


class Stream:
    """The steps in which the ``arrivals`` bring classes, or domains, of the source ``train``.

    Channels of the model follow the order of the arrivals' classes, after the background. ``all_at_once`` makes one
    step of them, with every label: joint training. The images of the first ``learned`` steps may be gone. ``void`` says
    what pixels of IGNORE are in training.
    """

    def __init__(
        self,
        train: Source,
        tests: Sequence[Test],
        arrivals: Sequence[Arrival],
        learned: int = 0,
        *,
        all_at_once: bool = False,
        void: Void = "ignore",
    ) -> None:
        self.train_source, self.tests = train, tuple(tests)
        self.num_first = BACKGROUND + 1 + len(arrivals[0].classes)
        self._arrivals = (at_once(arrivals),) if all_at_once else tuple(arrivals)
        self._void = BACKGROUND if void == "background" else IGNORE
        self.steps = steps_of([len(arrival.classes) for arrival in self._arrivals])
        for step in self.steps[learned:]:
            if not len(self._arrivals[step.index].images):
                raise ValueError(
                    f"No training image for the step that brings {', '.join(self.brings(step))}: leave these out, or "
                    "add images that hold them. (The setting, and what is labelled, decide which images a step sees; "
                    "255 in a mask is no class.)"
                )

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was left out of the images because it cannot be used, a sentence each."""
        sources = (self.train_source, *(test.source for test in self.tests))
        return tuple(problem for source in sources for problem in source.skipped)

    def domains(self, step: Step) -> tuple[str, ...]:
        """The names of the domains that ``step`` brings; none where classes arrive."""
        return self._arrivals[step.index].domains

    def brings(self, step: Step) -> tuple[str, ...]:
        """The names of what ``step`` brings: domains, or classes without the background; in words if it is neither."""
        return self.domains(step) or self._foreground(step) or ("no new class",)

    def _foreground(self, step: Step) -> tuple[str, ...]:
        return tuple(self.train_source.classes[index] for index in self._arrivals[step.index].classes)

    def new_names(self, step: Step) -> tuple[str, ...]:
        """The names of the channels that ``step`` adds; at step 0 the background's is the first."""
        names = self._foreground(step)
        return names if step.index else (self.train_source.classes[BACKGROUND], *names)

    def names(self, step: Step) -> tuple[str, ...]:
        """The names of every channel known in ``step``, old ones first."""
        return tuple(name for earlier in self.steps[: step.index + 1] for name in self.new_names(earlier))

    def train_samples(self, step: Step) -> Samples:
        """The step's training images; old classes are background in their labels, unless what arrives keeps them."""
        return Samples(self.train_source, self._arrivals[step.index].images, self.own_labels(step))

    def own_labels(self, step: Step) -> NDArray[np.uint8]:
        """The channel of each source id [256] in ``step``'s own training labels."""
        first = 0 if self._arrivals[step.index].keeps_old else step.index
        return self._labels(first, step.index)

    def seen_labels(self, step: Step) -> NDArray[np.uint8]:
        """The channel of each source id [256] where every class seen up to ``step`` is labelled."""
        return self._labels(0, step.index)

    def _labels(self, first: int, last: int) -> NDArray[np.uint8]:
        """The channel of each source id: classes of steps ``first`` to ``last`` keep theirs, others are background."""
        table = np.full(256, BACKGROUND, dtype=np.uint8)
        table[IGNORE] = self._void
        for step in self.steps[first : last + 1]:
            table[list(self._arrivals[step.index].classes)] = range(step.first_new, step.num_seen)
        return table

    def test_samples(self, step: Step, future: Future, background: Background = "count") -> Joined:
        """Every test image that there is in ``step``, labelled with all classes seen so far.

        Classes that come later are background or ignored; the images' own background is measured, or ignored as well.
        """
        channels = {name: channel for channel, name in enumerate(self.names(step)) if channel != BACKGROUND}
        unseen = [name for later in self.steps[step.index + 1 :] for name in self.new_names(later)]
        labels = {"background": BACKGROUND, "count": BACKGROUND, "ignore": IGNORE}
        return Joined(
            tuple(
                test.samples(channels, unseen, labels[future], labels[background])
                for test in self.tests
                if test.since <= step.index
            )
        )
