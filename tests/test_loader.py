"""Batches: the same whatever the workers, resumable anywhere, shared evenly between processes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fakes import FakeSource, names, random_source
from sats.data.chained import ChainedSource
from sats.data.folder import open_folder
from sats.data.loader import EvaluationBatches, TrainLoader, sensible_workers, to_batch
from sats.data.stream import Joined, Samples
from sats.data.transforms import TestTransform, TrainTransform
from sats.types import MEAN, STD, Batch


def samples(source: FakeSource) -> Samples:
    return Samples(source, np.arange(len(source)), np.arange(256, dtype=np.uint8))


def loader(images: int = 10, batch_size: int = 4) -> TrainLoader:
    source = random_source(3, images)
    return TrainLoader(samples=samples(source), transform=TrainTransform(8), batch_size=batch_size, seed=(7, 1))


def numbered(images: int, batch_size: int) -> TrainLoader:
    """A loader whose labels tell which image they came from."""
    masks = tuple(np.full((8, 8), index, dtype=np.uint8) for index in range(images))
    source = FakeSource(masks, names(images))
    transform = TrainTransform(8, scale=(1.0, 1.0))
    return TrainLoader(samples=samples(source), transform=transform, batch_size=batch_size, seed=(0,))


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in zip(first, second, strict=True)
    )


def ids(batches: list[Batch]) -> list[int]:
    return [int(label) for batch in batches for label in batch.labels[:, 0, 0]]


def test_starting_later_gives_the_rest_of_the_same_batches() -> None:
    whole = list(loader().batches(0, 7))
    for start in (1, 2, 5):
        assert same(list(loader().batches(start, 7)), whole[start:])


def test_labels_looked_up_after_cutting_are_those_looked_up_before(tmp_path: Path) -> None:
    """Ids in the file, the class of each, its channel: as one table on the crop, as three on the whole mask."""
    rng = np.random.default_rng(0)
    for part, suffix, shape in (("images", "jpg", (900, 1200, 3)), ("masks", "png", (900, 1200))):
        folder = tmp_path / part / "train"
        folder.mkdir(parents=True)
        for index in range(3):
            picture = rng.integers(0, 4, shape, dtype=np.uint8)
            Image.fromarray(picture * (60 if suffix == "jpg" else 1)).save(folder / f"{index}.{suffix}")
    (tmp_path / "classes.txt").write_text("sky\nroad\ntree\ncar")
    source = ChainedSource([open_folder(tmp_path, "train", ("car", "road"))])
    table = np.arange(256, dtype=np.uint8)
    table[[1, 2]] = 2, 1
    chosen = Samples(source, np.arange(3), table)
    transform = TrainTransform(64, (0.2, 0.3))
    quick = TrainLoader(samples=chosen, transform=transform, batch_size=3, seed=(0,))
    for position in range(3):
        rng = np.random.default_rng([0, 0, position, 0])
        _, labels = transform(*chosen[position], rng)
        found = next(batch for batch in quick.batches(0, 1)).labels
        assert any(np.array_equal(labels, one.numpy()) for one in found)
        assert set(np.unique(labels)) == {0, 1, 2}
    assert source.image(0, 0.3).size == (600, 450)


def test_normalised_pixels_are_those_of_the_definition() -> None:
    images = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    batch = to_batch(images, torch.zeros(2, 5, 7, dtype=torch.uint8), torch.device("cpu"))
    mean, std = (torch.tensor(colour).view(1, 3, 1, 1) * 255 for colour in (MEAN, STD))
    assert torch.equal(batch.images, (images.permute(0, 3, 1, 2).float() - mean) / std)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores: on purpose
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_matter(workers: int) -> None:
    several = dataclasses.replace(loader(), workers=workers)
    assert same(list(several.batches(0, 5)), list(loader().batches(0, 5)))
    assert same(list(several.one_pass()), list(loader().one_pass()))


def test_each_epoch_draws_every_image_at_most_once_in_an_order_of_its_own() -> None:
    batches = numbered(10, 3)
    assert batches.iterations_per_epoch == 3
    epochs = [ids(list(batches.batches(3 * epoch, 3 * epoch + 3))) for epoch in range(3)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_fewer_images_than_a_batch_are_repeated_with_augmentations_of_their_own() -> None:
    small = numbered(3, 8)
    (batch,) = small.batches(0, 1)
    assert set(Counter(ids([batch])).values()) == {2, 3}
    (varied,) = loader(images=1, batch_size=4).batches(0, 1)
    assert not torch.equal(varied.images[0], varied.images[1])


def test_micro_batches_and_processes_share_the_same_images() -> None:
    whole = numbered(12, 12)
    expected = ids(list(whole.batches(0, 1)))
    parts = dataclasses.replace(whole, accumulation=3)
    assert ids(list(parts.batches(0, 1))) == expected
    shares = [
        list(dataclasses.replace(whole, accumulation=3, process=process, processes=2).batches(0, 1))
        for process in range(2)
    ]
    interleaved = [batch for pair in zip(*shares, strict=True) for batch in pair]
    assert ids(interleaved) == expected
    assert all(len(batch.labels) == 2 for batch in interleaved)


def test_one_pass_reads_every_image_once_over_all_processes() -> None:
    found = []
    for process in range(3):
        share = dataclasses.replace(numbered(10, 6), process=process, processes=3)
        found += ids(list(share.one_pass()))
    assert sorted(found) == list(range(10))


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 3"):
        dataclasses.replace(loader(), accumulation=3)


def test_another_seed_gives_other_batches() -> None:
    other = dataclasses.replace(loader(), seed=(8, 1))
    assert not same(list(other.batches(0, 2)), list(loader().batches(0, 2)))


def test_batches_are_normalised() -> None:
    pixels = torch.randint(0, 256, (2, 4, 5, 3), dtype=torch.uint8)
    batch = to_batch(pixels, torch.zeros(2, 4, 5, dtype=torch.uint8), torch.device("cpu"))
    expected = (pixels.double() / 255 - torch.tensor(MEAN).double()) / torch.tensor(STD).double()
    torch.testing.assert_close(batch.images.double(), expected.permute(0, 3, 1, 2), rtol=1e-5, atol=1e-5)
    assert batch.labels.dtype == torch.int64


def test_evaluation_groups_equal_sizes_and_reads_every_image_once() -> None:
    rng = np.random.default_rng(0)
    sizes = [(8, 6), (6, 8), (8, 6), (5, 5), (8, 6), (6, 8)]
    masks = tuple(rng.integers(0, 3, size).astype(np.uint8) for size in sizes)
    source = FakeSource(masks, names(3))
    batches = list(EvaluationBatches(samples(source), TestTransform(), 2, 0, torch.device("cpu")))
    shapes = sorted(tuple(batch.labels.shape) for batch in batches)
    assert shapes == [(1, 5, 5), (1, 8, 6), (2, 6, 8), (2, 8, 6)]
    total = sum(int(batch.labels.sum()) for batch in batches)
    assert total == sum(int(mask.sum()) for mask in masks)


def test_evaluation_is_shared_by_whole_batches() -> None:
    source = random_source(3, 7)

    def batches(share: slice) -> list[Batch]:
        found = EvaluationBatches(samples(source), TestTransform(), 2, 0, torch.device("cpu"), share)
        return list(found)

    whole = batches(slice(None))
    assert len(whole) == 4
    assert same(batches(slice(0, None, 3)), whole[::3])
    assert same(batches(slice(2, None, 3)), whole[2::3])
    assert batches(slice(5, None, 6)) == []


def test_processes_on_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert [sensible_workers(torch.device("cuda"), processes) for processes in (1, 4, 16)] == [8, 3, 1]
    assert sensible_workers(torch.device("cpu"), 2) == 0


class Broken(FakeSource):
    """A source whose third image cannot be read."""

    def mask(self, index: int) -> NDArray[np.uint8]:
        if index == 2:
            raise ValueError("fake/2 is no image: save it anew.")
        return super().mask(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named_alone(workers: int) -> None:
    source = random_source(3, 5)
    broken = dataclasses.replace(loader(5), samples=samples(Broken(source.masks, source.classes)), workers=workers)
    for batches in (
        broken.one_pass(),
        EvaluationBatches(broken.samples, TestTransform(), 2, workers, torch.device("cpu")),
    ):
        with pytest.raises(ValueError, match=r"^fake/2 is no image: save it anew\.$"):
            list(batches)


def test_crops_for_evaluation_come_from_square_images_too() -> None:
    masks = (np.ones((40, 40), dtype=np.uint8),)
    source = FakeSource(masks, names(1))
    (batch,) = EvaluationBatches(samples(source), TestTransform(crop=40), 1, 0, torch.device("cpu"))
    assert batch.labels.shape == (1, 40, 40)


# --- exemplars --------------------------------------------------------------------------------------------------------


def with_exemplars(images: int, exemplars: int, batch_size: int, accumulation: int = 1) -> TrainLoader:
    """A loader whose labels tell which image they came from; exemplars have the numbers after the others'."""
    masks = tuple(np.full((8, 8), index, dtype=np.uint8) for index in range(images + exemplars))
    everything = samples(FakeSource(masks, names(images + exemplars)))
    parts = [
        dataclasses.replace(everything, indices=part)
        for part in np.split(everything.indices, [images, images + exemplars // 2])
    ]
    return TrainLoader(
        samples=parts[0],
        exemplars=Joined(tuple(parts[1:])),
        transform=TrainTransform(8, scale=(1.0, 1.0)),
        batch_size=batch_size,
        seed=(0, 1),
        accumulation=accumulation,
    )


@settings(max_examples=150)
@given(
    images=st.integers(1, 30),
    exemplars=st.integers(1, 20),
    micro_batch=st.integers(1, 5),
    accumulation=st.integers(1, 3),
    processes=st.integers(1, 3),
    iteration=st.integers(0, 40),
)
def test_half_of_every_batch_are_exemplars_however_it_is_cut(
    images: int, exemplars: int, micro_batch: int, accumulation: int, processes: int, iteration: int
) -> None:
    batch_size = micro_batch * accumulation * processes
    assume(batch_size > 1)
    whole = with_exemplars(images, exemplars, batch_size)
    order = whole.order(iteration // whole.iterations_per_epoch)
    (batch,) = whole.micro_batches(iteration, order)
    assert sum(ticket[1] >= images for ticket in batch) == batch_size // 2
    assert len(set(batch)) == batch_size  # whoever comes again is augmented anew
    shares = [
        dataclasses.replace(whole, accumulation=accumulation, process=process, processes=processes).micro_batches(
            iteration, order
        )
        for process in range(processes)
    ]
    assert [ticket for parts in zip(*shares, strict=True) for part in parts for ticket in part] == batch
    for part in (part for share in shares for part in share):
        assert abs(sum(ticket[1] >= images for ticket in part) - micro_batch * (batch_size // 2) / batch_size) < 1


def test_an_epoch_is_one_pass_over_the_new_images_and_repeats_exemplars_evenly() -> None:
    batches = with_exemplars(images=12, exemplars=5, batch_size=6)
    assert batches.iterations_per_epoch == 4  # not 2
    epochs = [Counter(ids(list(batches.batches(4 * epoch, 4 * epoch + 4)))) for epoch in range(3)]
    for epoch in epochs:
        assert [epoch[image] for image in range(12)] == [1] * 12
        assert sorted(epoch[image] for image in range(12, 17)) == [2, 2, 2, 3, 3]
    assert len({tuple(epoch.items()) for epoch in epochs}) == 3


def test_more_exemplars_than_an_epoch_needs_take_turns() -> None:
    batches = with_exemplars(images=4, exemplars=30, batch_size=4)
    seen = Counter(ids(list(batches.batches(0, 2 * 40))))
    assert all(seen[image] for image in range(34))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_batches_with_exemplars_can_start_anywhere_on_any_number_of_workers() -> None:
    batches = with_exemplars(images=9, exemplars=4, batch_size=6, accumulation=2)
    whole = list(batches.batches(0, 7))
    for start in (1, 3, 6):
        assert same(list(batches.batches(start, 7)), whole[2 * start :])
    assert same(list(dataclasses.replace(batches, workers=2).batches(0, 7)), whole)


def test_one_pass_leaves_exemplars_out() -> None:
    assert sorted(ids(list(with_exemplars(images=7, exemplars=4, batch_size=4).one_pass()))) == list(range(7))


def test_a_batch_of_one_has_no_half() -> None:
    with pytest.raises(ValueError, match="2 or more"):
        with_exemplars(images=4, exemplars=1, batch_size=1)
