"""Batches that can be resumed at any iteration, the same whatever the number of workers."""

from __future__ import annotations

import itertools
import os
import signal
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sats.data.stream import Joined
from sats.types import BACKGROUND, MEAN, STD, UNKNOWN, Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from sats.data.stream import Samples
    from sats.data.transforms import TestTransform, TrainTransform

Ticket = tuple[int, int, int]
"""Epoch, position in the sample list (exemplars follow the step's images), and how often it came before in the epoch.
"""


Sample = tuple[torch.Tensor, torch.Tensor]
"""An image [H, W, 3] and its labels [h, w], both uint8."""


@dataclass(frozen=True)
class _TrainSet(Dataset[Sample | ValueError]):
    """Augmented samples; each draw is seeded by (seed, epoch, sample), so that workers do not matter."""

    samples: Joined
    transform: TrainTransform
    seed: Sequence[int]

    def __getitem__(self, ticket: Ticket) -> Sample | ValueError:
        rng = np.random.default_rng([*self.seed, *ticket])
        size = self.samples.size(ticket[1])
        cut = self.transform.draw(size, rng)
        try:
            image, ids, table = self.samples.read(ticket[1], cut.scale)
        except ValueError as error:
            return error
        pixels, labels = self.transform.apply(cut, image, ids, rng, table)
        return torch.from_numpy(pixels), torch.from_numpy(labels)


@dataclass(frozen=True)
class _TestSet(Dataset[Sample | ValueError]):
    samples: Samples | Joined
    transform: TestTransform

    def __getitem__(self, position: int) -> Sample | ValueError:
        try:
            image, mask = self.samples[position]
        except ValueError as error:
            return error
        pixels, labels = self.transform(image, mask)
        return torch.from_numpy(pixels.copy()), torch.from_numpy(labels.copy())


@dataclass(frozen=True, kw_only=True)
class TrainLoader:
    """A step's training batches, numbered by iteration through all epochs.

    ``batch_size`` images make one update, in ``accumulation`` micro-batches; with several processes each takes its
    share of every micro-batch. ``seed`` (any number of integers) decides order and augmentation. Fewer images than a
    batch are repeated to fill it; otherwise an epoch's incomplete last batch is dropped.

    With ``exemplars``, they are half of every batch (rounded down), spread evenly over it, and an epoch is one pass
    over ``samples`` in the other halves. Exemplars are drawn anew in each epoch, and repeated where they are too few.
    """

    samples: Samples
    transform: TrainTransform
    batch_size: int
    seed: Sequence[int]
    exemplars: Joined = field(default_factory=Joined)
    accumulation: int = 1
    workers: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % (self.accumulation * self.processes):
            raise ValueError(
                f"A batch of {self.batch_size} cannot be shared evenly by {self.processes} processes in "
                f"{self.accumulation} micro-batches: choose a multiple of {self.accumulation * self.processes}."
            )
        if self.batch_size < 2 and len(self.exemplars):
            raise ValueError("A batch of 1 image has no half for exemplars: make it 2 or more.")

    @property
    def exemplars_per_batch(self) -> int:
        """Exemplars in one update."""
        return self.batch_size // 2 if len(self.exemplars) else 0

    @property
    def new_per_batch(self) -> int:
        """The step's own images in one update."""
        return self.batch_size - self.exemplars_per_batch

    @property
    def micro_batch_size(self) -> int:
        """Images that one process sees at a time."""
        return self.batch_size // (self.accumulation * self.processes)

    @property
    def repeats(self) -> bool:
        """Whether every image, exemplars included, comes again unchanged in later epochs, or mirrored."""
        samples = self._samples()
        return all(self.transform.repeats(samples.size(position)) for position in range(len(samples)))

    @property
    def iterations_per_epoch(self) -> int:
        """Updates in one pass over the data, at least 1."""
        return max(1, len(self.samples) // self.new_per_batch)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The micro-batches of iterations ``start`` to ``stop``, in order, ``accumulation`` for each."""
        yield from self._load(_Schedule(self, range(start, stop)))

    def one_pass(self) -> Iterator[Batch]:
        """This process's share of the step's own images once, augmented, for statistics; exemplars are left out.

        Processes take turns at whole batches, so that each is the same, and computed alike, however many share them.
        The last one may be smaller.
        """
        size = self.micro_batch_size
        epoch = 2**31  # draws of its own, shared with no training epoch
        tickets = [(epoch, position, 0) for position in range(len(self.samples))]
        batches = [tickets[first : first + size] for first in range(0, len(tickets), size)]
        yield from self._load(batches[self.process :: self.processes])

    def order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The positions of the step's images, and of the exemplars, in the order in which ``epoch`` draws them."""
        count = len(self.samples)
        new = np.random.default_rng([*self.seed, epoch]).permutation(count)
        exemplars = np.random.default_rng([*self.seed, epoch, 1]).permutation(len(self.exemplars))
        return new, count + exemplars

    def micro_batches(self, iteration: int, order: tuple[NDArray[np.int64], NDArray[np.int64]]) -> list[list[Ticket]]:
        """This process's micro-batches of an iteration, whose epoch draws in ``order``."""
        epoch, update = divmod(iteration, self.iterations_per_epoch)
        new = _draw(epoch, update, order[0], self.new_per_batch)
        tickets = interleaved(new, _draw(epoch, update, order[1], self.exemplars_per_batch))
        size = self.micro_batch_size
        shares = [tickets[first : first + size] for first in range(0, self.batch_size, size)]
        return shares[self.process :: self.processes]

    def _load(self, tickets: Iterable[list[Ticket]]) -> Iterator[Batch]:
        dataset = _TrainSet(self._samples(), self.transform, self.seed)
        yield from _load_batches(dataset, tickets, self.workers, self.device)

    def _samples(self) -> Joined:
        """The step's images, and the exemplars after them."""
        return Joined((self.samples, *self.exemplars.parts))


def _draw(epoch: int, update: int, order: NDArray[np.int64], count: int) -> list[Ticket]:
    """The tickets of the ``count`` samples that an update of ``epoch`` takes, one after another, of ``order``."""
    slots = range(update * count, (update + 1) * count)
    return [(epoch, int(order[slot % len(order)]), slot // len(order)) for slot in slots]


def interleaved(first: Sequence[Ticket], second: Sequence[Ticket]) -> list[Ticket]:
    """Both sequences in their order, mixed so evenly that any stretch has its share of each, to less than one."""
    total = len(first) + len(second)
    ends = [place * len(second) // total for place in range(total + 1)]
    return [
        second[now] if after > now else first[place - now]
        for place, (now, after) in enumerate(itertools.pairwise(ends))
    ]


@dataclass(frozen=True)
class _Schedule:
    """The tickets of ``iterations``, made as they are needed."""

    loader: TrainLoader
    iterations: range

    def __iter__(self) -> Iterator[list[Ticket]]:
        epoch, order = 0, self.loader.order(0)
        for iteration in self.iterations:
            if iteration // self.loader.iterations_per_epoch != epoch:
                epoch = iteration // self.loader.iterations_per_epoch
                order = self.loader.order(epoch)
            yield from self.loader.micro_batches(iteration, order)


def to_batch(images: torch.Tensor, labels: torch.Tensor, device: torch.device, marked: bool = False) -> Batch:
    """A batch on ``device``, normalised there; ``images`` [B, H, W, 3] and ``labels`` [B, h, w], both uint8.

    ``marked`` says that labels may be UNKNOWN: salient background.
    """
    width = images.shape[2]
    mean, std = ((torch.tensor(colour, device=device) * 255).repeat(width) for colour in (MEAN, STD))
    rows = images.to(device, non_blocking=True).flatten(2).float()  # by whole rows and in place: ten times as fast
    normalised = rows.sub_(mean).div_(std).unflatten(2, (width, 3)).permute(0, 3, 1, 2)
    labels = labels.to(device, non_blocking=True).long()
    salient = labels == UNKNOWN if marked else None
    if salient is not None:
        labels = labels.masked_fill(salient, BACKGROUND)
    return Batch(normalised, labels, salient)


class EvaluationBatches:
    """Every sample once, images of equal size together so that nothing is padded, at most ``batch_size`` a batch.

    Of several processes each takes its ``share`` of the batches. ``plan`` lists the positions of the samples in each.
    """

    def __init__(
        self,
        samples: Samples | Joined,
        transform: TestTransform,
        batch_size: int,
        workers: int,
        device: torch.device,
        share: slice = slice(None),
    ) -> None:
        self.plan = _evaluation_plan(samples, transform, batch_size)[share]
        self._dataset = _TestSet(samples, transform)
        self._workers, self._device = workers, device

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        return _load_batches(self._dataset, self.plan, self._workers, self._device)


def _evaluation_plan(samples: Samples | Joined, transform: TestTransform, batch_size: int) -> list[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position in range(len(samples)):
        groups[transform.shape(samples.size(position))].append(position)
    return [
        members[first : first + batch_size]
        for members in groups.values()
        for first in range(0, len(members), batch_size)
    ]


def _load_batches(
    dataset: _TrainSet | _TestSet, plan: Iterable[Sequence[object]], workers: int, device: torch.device
) -> Iterator[Batch]:
    """The batches that ``plan`` lists, on ``device``; the ValueError of an image that cannot be read, as it is."""
    loader = DataLoader(
        dataset,
        batch_sampler=plan,  # type: ignore[arg-type]  # any iterable will do, as torch documents
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_leave_signals_to_the_run,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # its own, so that the global random state does not move
    )
    for loaded in loader:
        if isinstance(loaded, ValueError):
            raise loaded
        images, labels = loaded
        yield to_batch(images, labels, device, marked=dataset.samples.is_marked)


def _leave_signals_to_the_run(worker: int) -> None:  # noqa: ARG001 (torch hands it over)
    """Let Ctrl-C and SIGTERM, which reach a whole group of processes, pass: the run ends its workers when it stops."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _collate(samples: Sequence[Sample | ValueError]) -> Sample | ValueError:
    """A batch, or the first error among its samples: raised in a worker it would come wrapped in a traceback."""
    images, labels = [], []
    for sample in samples:
        if isinstance(sample, ValueError):
            return sample
        images.append(sample[0])
        labels.append(sample[1])
    return torch.stack(images), torch.stack(labels)


def sensible_workers(device: torch.device, processes: int = 1) -> int:
    """Loader processes when the user names no number: none on a CPU that trains, up to 8 beside each GPU.

    ``processes`` of the run share this machine's cores.
    """
    return 0 if device.type == "cpu" else min(8, max(1, (os.cpu_count() or 1) // processes - 1))
