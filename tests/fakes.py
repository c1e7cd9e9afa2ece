"""A source in memory, for tests of what stands on sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sats.data.arrivals import by_class
from sats.data.loader import TrainLoader
from sats.data.source import Source
from sats.data.stream import Joined, Samples, Stream, Test
from sats.data.transforms import TrainTransform
from sats.types import IGNORE, Setting, Void


@dataclass(frozen=True)
class FakeSource(Source):
    """Masks given as arrays; images are grey with the class index as brightness."""

    masks: tuple[NDArray[np.uint8], ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.masks)

    def key(self, index: int) -> str:
        return f"fake/{index}"

    def image(self, index: int, scale: float = 1.0) -> Image.Image:  # noqa: ARG002 (never reduced)
        return Image.fromarray(self.masks[index]).convert("RGB")

    def mask(self, index: int) -> NDArray[np.uint8]:
        return self.masks[index]

    def size(self, index: int) -> tuple[int, int]:
        height, width = self.masks[index].shape
        return height, width

    def presence(self) -> NDArray[np.bool_]:
        found = np.zeros((len(self), len(self.classes)), dtype=bool)
        for index, mask in enumerate(self.masks):
            found[index, np.unique(mask[mask != IGNORE])] = True
        return found


def names(num_foreground: int) -> tuple[str, ...]:
    """background, class 1, class 2, ..."""
    return ("background", *(f"class {index}" for index in range(1, num_foreground + 1)))


def random_source(num_foreground: int, images: int, seed: int = 0, size: tuple[int, int] = (12, 10)) -> FakeSource:
    """Masks with a few random classes each, and some ignored pixels."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(images):
        some = rng.choice(num_foreground + 1, size=rng.integers(1, 4), replace=False)
        mask = rng.choice([*some, IGNORE], size=size).astype(np.uint8)
        masks.append(mask)
    return FakeSource(tuple(masks), names(num_foreground))


def stream_of(
    source: Source,
    groups: Sequence[Sequence[int]],
    setting: Setting = "overlapped",
    learned: int = 0,
    all_at_once: bool = False,
    void: Void = "ignore",
) -> Stream:
    """The source's classes in groups; it is measured on as well."""
    arrivals = by_class(source, groups, setting)
    return Stream(source, [Test(source)], arrivals, learned, all_at_once=all_at_once, void=void)


def fake_loader(images: int, batch_size: int, exemplars: int = 0) -> TrainLoader:
    """The loader of a step with so many images, and exemplars; what they show is background."""
    source = FakeSource((np.zeros((4, 4), dtype=np.uint8),) * max(images, exemplars), ("background",))
    samples = Samples(source, np.arange(images), np.arange(256, dtype=np.uint8))
    kept = Joined((Samples(source, np.arange(exemplars), samples.table),) if exemplars else ())
    return TrainLoader(samples=samples, transform=TrainTransform(4), batch_size=batch_size, seed=(0, 1), exemplars=kept)
