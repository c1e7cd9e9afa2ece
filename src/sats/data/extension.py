"""The class stream of an extension: step 0 is a model that somebody trained, step 1 learns new classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sats.data.stream import Samples, channels_by_name
from sats.types import BACKGROUND, IGNORE, NOT_LEARNED_YET, steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sats.data.source import Source
    from sats.types import Step

HELD_OUT = 5
"""Where the data has no test split, one image in HELD_OUT is kept from training, to be measured on."""


@dataclass(frozen=True)
class Extension:
    """The two steps of an extension, for the engine what `Stream` is.

    ``old`` and ``new`` name the classes without the background, ``background`` that of the old model; empty: it has
    none, and channel 0 is virtual. In the labels of ``train_source`` and ``test_source`` class 0 means that nobody
    looked: it may be any old class. ``tests`` None: some of the training images are held out. ``old_source``, if
    any, holds images on which the old classes are labelled.
    """

    train_source: Source
    tests: Source | None
    old: tuple[str, ...]
    new: tuple[str, ...]
    background: str = ""
    old_source: Source | None = None

    def __post_init__(self) -> None:
        known = {name.casefold() for name in self.old}
        if self.old_source and not known & {name.casefold() for name in self.old_source.classes[BACKGROUND + 1 :]}:
            raise ValueError(
                f"The old data has none of the old classes, {', '.join(self.old)}; it knows "
                f"{', '.join(self.old_source.classes[BACKGROUND + 1 :])}."
            )
        if not len(self._test_indices()):
            raise ValueError(
                f"There are {len(self.train_source)} images and no test split: bring at least {HELD_OUT}, of which one "
                "is kept to measure on, or a split to measure on."
            )
        present = self.train_source.presence()[self._train_indices()]
        for name in self.new:
            if not present[:, self.train_source.classes.index(name)].any():
                raise ValueError(
                    f"No training image holds {name!r}: leave it out with --classes, or label some "
                    "(255 in a mask is no class: it leaves the pixel out)."
                )

    @property
    def steps(self) -> tuple[Step, ...]:
        """The old model, and what it learns."""
        return steps_of([len(self.old), len(self.new)])

    @property
    def num_first(self) -> int:
        """How many channels the old model has, a virtual background among them."""
        return BACKGROUND + 1 + len(self.old)

    @property
    def test_source(self) -> Source:
        """What new classes are measured on."""
        return self.train_source if self.tests is None else self.tests

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was left out of the images because it cannot be used, a sentence each."""
        sources = filter(None, (self.train_source, self.tests, self.old_source))
        return tuple(problem for source in sources for problem in source.skipped)

    def new_names(self, step: Step) -> tuple[str, ...]:
        """The names of the channels that ``step`` adds; at step 0 the background's is the first."""
        return self.new if step.index else (self.background or NOT_LEARNED_YET, *self.old)

    def domains(self, step: Step) -> tuple[str, ...]:  # noqa: ARG002 (as streams have it)
        """None: classes arrive."""
        return ()

    def brings(self, step: Step) -> tuple[str, ...]:
        """The names of the classes that ``step`` brings, without the background."""
        return self.new if step.index else self.old

    def names(self, step: Step) -> tuple[str, ...]:
        """The names of every channel known in ``step``, old ones first."""
        return tuple(name for earlier in self.steps[: step.index + 1] for name in self.new_names(earlier))

    def train_samples(self, step: Step) -> Samples:
        """The images to learn from, all of them; the old model has learned, and from none."""
        indices = self._train_indices() if step.index else np.arange(0)
        return Samples(self.train_source, indices, self.own_labels(step))

    def test_samples(self, step: Step) -> Samples:
        """The images to measure on; what ``step`` does not know yet is ignored, what nobody labelled is background."""
        return self.named_samples(self.names(step))

    def named_samples(self, names: Sequence[str]) -> Samples:
        """The same images, labelled with the channels of ``names``, background first."""
        return Samples(self.test_source, self._test_indices(), channels_by_name(self.test_source, names, IGNORE))

    def old_samples(self, step: Step) -> Samples:
        """The images on which old classes are measured; without a background, other pixels are ignored."""
        assert self.old_source is not None  # noqa: S101 (ours: asked for only where there is one)
        unknown = BACKGROUND if self.background else IGNORE
        table = channels_by_name(self.old_source, self.names(step), unknown, background=unknown)
        return Samples(self.old_source, np.arange(len(self.old_source)), table)

    def own_labels(self, step: Step) -> NDArray[np.uint8]:
        """The channel of each source id [256] in ``step``'s own training labels."""
        return channels_by_name(self.train_source, self.names(step), BACKGROUND)

    def seen_labels(self, step: Step) -> NDArray[np.uint8]:
        """The same: nobody knows more."""
        return self.own_labels(step)

    def _train_indices(self) -> NDArray[np.int64]:
        every = np.arange(len(self.train_source))
        return every if self.tests is not None else every[every % HELD_OUT != HELD_OUT - 1]

    def _test_indices(self) -> NDArray[np.int64]:
        every = np.arange(len(self.test_source))
        return every if self.tests is not None else every[every % HELD_OUT == HELD_OUT - 1]
