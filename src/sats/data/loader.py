"""Batches that can be resumed at any iteration, the same whatever the number of workers."""

from __future__ import annotations

import itertools
import os
import signal
import traceback
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sats.data.epochs import new_per_batch, updates_per_epoch
from sats.data.stream import Joined
from sats.data.transforms import FILL
from sats.errors import RunError
from sats.types import BACKGROUND, IGNORE, MEAN, SALIENT, STD, Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from sats.data.stream import Samples
    from sats.data.transforms import TestTransform, TrainTransform

Ticket = tuple[int, int, int]
"""Epoch, position in the sample list (exemplars follow the step's images), and how often it came before in the epoch.
"""


MOST_IN_A_ROW: Final = 10
"""Images that cannot be read, one after another, until it is no longer single images that are broken."""


class Sample(NamedTuple):
    """An image [H, W, 3] and its labels [h, w], both uint8, or a batch of them; what was skipped, a sentence each."""

    image: torch.Tensor
    labels: torch.Tensor
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class _TrainSet(Dataset[Sample | ValueError]):
    """Augmented samples; each draw is seeded by (seed, epoch, sample), so that workers do not matter.

    With ``skips``, the next image that can be read takes the place of one that cannot, with the same draw: the next of
    the first ``new`` samples, the step's own, for one of them, else the next exemplar.
    """

    samples: Joined
    transform: TrainTransform
    seed: Sequence[int]
    new: int
    skips: bool

    def __getitem__(self, ticket: Ticket) -> Sample | ValueError:
        problems: list[str] = []
        for position in self._candidates(ticket[1]):
            try:
                return Sample(*self._cut(ticket, position), tuple(problems))
            except ValueError as error:
                problems.append(str(error))
        return ValueError(problems[0] if len(problems) == 1 else _too_many(problems))

    def _candidates(self, position: int) -> list[int]:
        """The sample at ``position``, and those that may take its place, in order."""
        start, stop = (0, self.new) if position < self.new else (self.new, len(self.samples))
        tries = min(MOST_IN_A_ROW, stop - start) if self.skips else 1
        return [start + (position - start + number) % (stop - start) for number in range(tries)]

    def _cut(self, ticket: Ticket, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The sample at ``position``, cut as the ticket says; ValueError if it cannot be read."""
        rng = np.random.default_rng([*self.seed, *ticket])
        cut = self.transform.draw(self.samples.size(position), rng)
        image, ids, table = self.samples.read(position, cut.scale)
        pixels, labels = self.transform.apply(cut, image, ids, rng, table)
        return torch.from_numpy(pixels), torch.from_numpy(labels)


def _too_many(problems: Sequence[str]) -> str:
    return (
        f"{len(problems)} images in a row cannot be used, which is more than single broken ones. Is the data still "
        f"there? The first: {problems[0]}"
    )


@dataclass(frozen=True)
class _TestSet(Dataset[Sample | ValueError]):
    """Whole samples. With ``skips``, one that cannot be read has no label, so that nothing is measured on it."""

    samples: Samples | Joined
    transform: TestTransform
    skips: bool

    def __getitem__(self, position: int) -> Sample | ValueError:
        try:
            image, mask = self.samples[position]
        except ValueError as error:
            return self._blank(position, error) if self.skips else error
        pixels, labels = self.transform(image, mask)
        return Sample(torch.from_numpy(pixels.copy()), torch.from_numpy(labels.copy()))

    def _blank(self, position: int, error: ValueError) -> Sample:
        height, width, *labels = self.transform.shape(self.samples.size(position))
        image = torch.tensor(FILL, dtype=torch.uint8).expand(height, width, 3)
        return Sample(image, torch.full(labels, IGNORE, dtype=torch.uint8), (str(error),))


@dataclass(frozen=True, kw_only=True)
class TrainLoader:
    """A step's training batches, numbered by iteration through all epochs.

    ``batch_size`` images make one update, in ``accumulation`` micro-batches; with several processes each takes its
    share of every micro-batch. ``seed`` (any number of integers) decides order and augmentation. Fewer images than a
    batch are repeated to fill it; otherwise an epoch's incomplete last batch is dropped.

    With ``exemplars``, they are half of every batch (rounded down), spread evenly over it, and an epoch is one pass
    over ``samples`` in the other halves. Exemplars are drawn anew in each epoch, and repeated where they are too few.

    An image that cannot be read is a ValueError, unless there is ``skipped`` to tell of it: then another takes its
    place, the same one whenever and wherever the batch is made.
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
    skipped: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        if self.batch_size % (self.accumulation * self.processes):
            raise ValueError(
                f"A batch of {self.batch_size} cannot be shared evenly by {self.processes} processes in "
                f"{self.accumulation} micro-batches: choose a multiple of {self.accumulation * self.processes}."
            )
        if self.batch_size < 2 and len(self.exemplars):
            raise ValueError("A batch of 1 image has no half for exemplars: make it 2 or more.")

    @property
    def new_per_batch(self) -> int:
        """The step's own images in one update."""
        return new_per_batch(self.batch_size, len(self.exemplars) > 0)

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
        return updates_per_epoch(len(self.samples), self.batch_size, len(self.exemplars) > 0)

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
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
        tickets = interleaved(new, _draw(epoch, update, order[1], self.batch_size - self.new_per_batch))
        size = self.micro_batch_size
        shares = [tickets[first : first + size] for first in range(0, self.batch_size, size)]
        return shares[self.process :: self.processes]

    def _load(self, tickets: Iterable[list[Ticket]]) -> Iterator[Batch]:
        dataset = _TrainSet(self._samples(), self.transform, self.seed, len(self.samples), self.skipped is not None)
        yield from _load_batches(dataset, tickets, self.workers, self.device, self.skipped)

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

    ``marked`` says that labels may be SALIENT: salient background.
    """
    width = images.shape[2]
    mean, std = ((torch.tensor(colour, device=device) * 255).repeat(width) for colour in (MEAN, STD))
    rows = images.to(device, non_blocking=True).flatten(2).float()  # by whole rows and in place: ten times as fast
    normalised = rows.sub_(mean).div_(std).unflatten(2, (width, 3)).permute(0, 3, 1, 2)
    labels = labels.to(device, non_blocking=True).long()
    salient = labels == SALIENT if marked else None
    if salient is not None:
        labels = labels.masked_fill(salient, BACKGROUND)
    return Batch(normalised, labels, salient)


class EvaluationBatches:
    """Every sample once, images of equal size together so that nothing is padded, at most ``batch_size`` a batch.

    Of several processes each takes its ``share`` of the batches. ``plan`` lists the positions of the samples in each.
    One that cannot be read is a ValueError, unless there is ``skipped`` to tell of it: then it comes without labels.
    """

    def __init__(
        self,
        samples: Samples | Joined,
        transform: TestTransform,
        batch_size: int,
        workers: int,
        device: torch.device,
        share: slice = slice(None),
        skipped: Callable[[str], None] | None = None,
    ) -> None:
        self.plan = _evaluation_plan(samples, transform, batch_size)[share]
        self._dataset = _TestSet(samples, transform, skipped is not None)
        self._workers, self._device, self._skipped = workers, device, skipped

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        return _load_batches(self._dataset, self.plan, self._workers, self._device, self._skipped)


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
    dataset: _TrainSet | _TestSet,
    plan: Iterable[Sequence[object]],
    workers: int,
    device: torch.device,
    skipped: Callable[[str], None] | None,
) -> Iterator[Batch]:
    """The batches that ``plan`` lists, on ``device``; the ValueError of an image that cannot be read, as it is.

    ``skipped`` is told what was skipped for a batch, here, before the batch is given out.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=plan,  # type: ignore[arg-type]  # any iterable will do, as torch documents
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_leave_signals_to_the_run,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # its own, so that the global random state does not move
    )
    loading: Any = iter(loader)
    try:
        for loaded in loading:
            sound = _sound(loaded, skipped)
            yield to_batch(sound.image, sound.labels, device, marked=dataset.samples.is_marked)
    finally:
        if workers:  # torch ends them when nothing refers to them, and an error's traceback may for long
            loading._shutdown_workers()  # noqa: SLF001 (it has no public way)


def _sound(loaded: Sample | ValueError, skipped: Callable[[str], None] | None) -> Sample:
    """What a loader's process sent, once ``skipped`` was told what it left out; raised, if it is an error."""
    if isinstance(loaded, ValueError):
        raise loaded
    if skipped is not None:
        for problem in loaded.skipped:
            skipped(problem)
    return loaded


@contextmanager
def watched_workers(fix: str) -> Iterator[None]:
    """Turn what torch raises where a loader's process is killed, wherever this one is then, into a RunError.

    ``fix`` says what to do about it.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if not _is_of_a_worker(error):
            raise
        cause = "A process that loads images was killed. Perhaps the machine has too little memory"
        raise RunError(f"{cause}: {fix}.") from error


def _is_of_a_worker(error: BaseException | None) -> bool:
    """Whether ``error``, or one in whose handling it was raised, is torch's of a loader's process.

    One that is killed while it hands a batch over breaks off a connection.
    """
    if error is None:
        return False
    is_broken_off = isinstance(error, ConnectionError | EOFError) and _passed_through(error, "multiprocessing")
    return is_broken_off or str(error).startswith("DataLoader worker") or _is_of_a_worker(error.__context__)


def _passed_through(error: BaseException, package: str) -> bool:
    """Whether ``error`` came up through a file of a folder called ``package``."""
    return any(package in Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__))


def _leave_signals_to_the_run(worker: int) -> None:  # noqa: ARG001 (torch hands it over)
    """Let Ctrl-C and SIGTERM, which reach a whole group of processes, pass: the run ends its workers when it stops."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _collate(samples: Sequence[Sample | ValueError]) -> Sample | ValueError:
    """A batch, or the first error among its samples: raised in a worker it would come wrapped in a traceback."""
    sound: list[Sample] = []
    for sample in samples:
        if isinstance(sample, ValueError):
            return sample
        sound.append(sample)
    skipped = tuple(problem for sample in sound for problem in sample.skipped)
    images, labels = (torch.stack(parts) for parts in list(zip(*sound, strict=True))[:2])
    return Sample(images, labels, skipped)


def sensible_workers(device: torch.device, processes: int = 1) -> int:
    """Loader processes when the user names no number: none on a CPU that trains, up to 8 beside each GPU.

    ``processes`` of the run share this machine's cores.
    """
    return 0 if device.type == "cpu" else min(8, max(1, (os.cpu_count() or 1) // processes - 1))
