"""The forward of an encoder that a step leaves as it is: once for student and teacher, or once for each image."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from sats.data.loader import TrainLoader
    from sats.engine.run import Run
    from sats.methods.context import Context
    from sats.models.segmenter import Segmenter

MIB = 2**20


class FeatureCache:
    """What the frozen encoder of ``network`` makes of images, kept up to ``budget`` MiB of the CPU's memory.

    An image is known by its pixels, so that mirrored ones, exemplars and several processes need no care. Each is
    encoded alone: in the last bit, convolutions and products depend on what shares their batch, and so would a run on
    what it had kept, or lost when it was interrupted.
    """

    def __init__(self, network: Segmenter, budget: int) -> None:
        self._network, self._left = network, budget * MIB
        self._kept: dict[bytes, tuple[Tensor, ...]] = {}

    @property
    def images(self) -> int:
        """How many images are kept."""
        return len(self._kept)

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """As `Segmenter.encode`, of images [B, 3, H, W]."""
        found = [self._encode_one(image[None]) for image in images]
        return tuple(torch.cat(parts).to(images.device, non_blocking=True) for parts in zip(*found, strict=True))

    def _encode_one(self, image: Tensor) -> tuple[Tensor, ...]:
        key = blake2b(image.cpu().numpy().tobytes(), digest_size=16).digest()
        if key in self._kept:
            return self._kept[key]
        found = tuple(part.cpu().clone(memory_format=torch.contiguous_format) for part in self._network.encode(image))
        size = sum(part.nbytes for part in found)
        if size <= self._left:
            self._left -= size
            self._kept[key] = found
        return found


@dataclass(frozen=True)
class FrozenEncoder:
    """The encoder that ``networks`` have in common and that no longer changes; without networks there is none."""

    networks: tuple[Segmenter, ...] = ()
    cache: FeatureCache | None = None

    @contextmanager
    def encoded(self, images: Tensor) -> Iterator[None]:
        """Within this context the networks know what their encoder makes of ``images``, and run the rest alone."""
        if not self.networks:
            yield
            return
        with torch.no_grad():
            read = self._encode(images)
        with ExitStack() as stack:
            for network in self.networks:
                stack.enter_context(network.encoded(read))
            yield

    def _encode(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.networks[0].encode(images) if self.cache is None else self.cache.encode(images)


def frozen_encoder(run: Run, context: Context, loader: TrainLoader) -> FrozenEncoder:
    """Which forward passes of the step can be shared or cached; call it once weights and modes are final.

    Attention can only be tapped while an encoder runs, so nothing is spared where it is.
    """
    student, teacher = context.model, context.teacher
    tapped = teacher is not None and run.method.attention_transfer.taps(student)
    if tapped or not is_frozen(student):
        return FrozenEncoder()
    same = (teacher,) if teacher is not None and same_encoder(student, teacher) else ()
    cache = make_cache(run, student, loader)
    return FrozenEncoder((student, *same), cache) if same or cache is not None else FrozenEncoder()


def make_cache(run: Run, network: Segmenter, loader: TrainLoader) -> FeatureCache | None:
    """A cache for the step, where one is asked for and images come again unchanged."""
    budget = run.config.train.feature_cache
    if budget and not loader.repeats:
        run.log.say(
            "Nothing is kept of what the encoder makes of images, as their crops move: train.feature_cache needs "
            f"images that are {run.config.train.crop} pixels high and wide."
        )
        return None
    return FeatureCache(network, budget) if budget else None


def is_frozen(network: Segmenter) -> bool:
    """Whether the encoder of ``network`` learns nothing, counts nothing and draws nothing."""
    encoder = network.encoder
    learns = any(parameter.requires_grad for parameter in encoder.parameters())
    return not learns and not any(module.training for module in encoder.modules())


def same_encoder(student: Segmenter, teacher: Segmenter) -> bool:
    """Whether two frozen encoders make the same of every image."""
    own, other = student.encoder.state_dict(), teacher.encoder.state_dict()
    return (
        is_frozen(teacher)
        and student.preprocessing == teacher.preprocessing
        and own.keys() == other.keys()
        and all(torch.equal(tensor, other[name]) for name, tensor in own.items())
    )
