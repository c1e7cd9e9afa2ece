"""The choice of exemplars and what they are learned as, without training."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fakes import FakeSource, names, random_source, stream_of
from sats.config import MemoryConfig
from sats.data.arrivals import assign_images
from sats.data.copies import CopySource, copy_exemplar, discard_others
from sats.data.memory import Exemplar, balanced, reservoir, select
from sats.data.stream import Joined, Samples, Stream
from sats.engine import memory
from sats.engine.log import Log
from sats.engine.run import Run
from sats.engine.run_folder import RunFolder
from sats.types import BACKGROUND, IGNORE, Selection, Setting
from test_engine import small

SETTINGS: tuple[Setting, ...] = ("overlapped", "disjoint", "sequential", "partitioned")
SELECTIONS: tuple[Selection, ...] = ("balanced", "random", "ssul")


# --- selection --------------------------------------------------------------------------------------------------------


@st.composite
def candidates(draw: st.DrawFn, repeats: bool = True) -> tuple[list[Exemplar], NDArray[np.bool_]]:
    """Images of two steps, some in both where ``repeats``, and the classes that they hold."""
    steps = st.integers(0, 1) if repeats else st.just(0)
    places = draw(st.lists(st.tuples(st.integers(0, 15), steps), unique=True, min_size=1, max_size=30))
    num_classes = draw(st.integers(1, 5))
    rows = st.lists(st.booleans(), min_size=num_classes + 1, max_size=num_classes + 1)
    held = draw(st.lists(rows, min_size=len(places), max_size=len(places)))
    return [Exemplar(f"image {number}", step) for number, step in places], np.array(held)


@settings(max_examples=200)
@given(case=candidates(), size=st.integers(1, 20), seed=st.integers(0, 2**40), selection=st.sampled_from(SELECTIONS))
def test_a_memory_is_a_set_of_candidates_of_at_most_its_size(
    case: tuple[list[Exemplar], NDArray[np.bool_]], size: int, seed: int, selection: Selection
) -> None:
    given_candidates, held = case
    chosen = select(selection, given_candidates, held, size, seed, 1)
    assert set(chosen) <= set(given_candidates)
    assert len({exemplar.key for exemplar in chosen}) == len(chosen) <= size
    assert chosen == select(selection, given_candidates, held, size, seed, 1)
    assert chosen == sorted(chosen, key=lambda exemplar: (exemplar.step, exemplar.key))
    if len(chosen) < size:  # then there is nobody left to take
        useful = held[:, 1:].any(axis=1) | (selection == "random")
        taken = {exemplar.key for exemplar in chosen}
        assert all(one.key in taken for one, fits in zip(given_candidates, useful, strict=True) if fits)


@settings(max_examples=100)
@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=6), size=st.integers(1, 40), seed=st.integers(0, 99))
def test_balanced_gives_every_class_as_many_as_it_has_or_as_the_others(counts: list[int], size: int, seed: int) -> None:
    owners = np.repeat(np.arange(1, len(counts) + 1), counts)
    assume(len(owners))
    held = owners[:, None] == np.arange(len(counts) + 1)
    images = [Exemplar(str(number), 0) for number in range(len(owners))]
    chosen = balanced(images, held, size, np.random.default_rng(seed))
    assert len(chosen) == min(size, len(owners))
    found = Counter(int(owners[int(exemplar.key)]) for exemplar in chosen)
    most = max(found.values())
    for channel, there in enumerate(counts, start=1):
        assert most - 1 <= found[channel] or found[channel] == there


@settings(max_examples=100)
@given(case=candidates(repeats=False), seed=st.integers(0, 99))
def test_balanced_leaves_no_class_out_that_somebody_holds(
    case: tuple[list[Exemplar], NDArray[np.bool_]], seed: int
) -> None:
    images, held = case
    size = held.shape[1] - 1
    chosen = balanced(images, held, size, np.random.default_rng(seed))
    rows = held[[images.index(exemplar) for exemplar in chosen]]
    assert (rows[:, 1:].any(axis=0) == held[:, 1:].any(axis=0)).all()


def test_balanced_follows_a_round_by_hand() -> None:
    """Two images hold both classes, one holds one: whatever the order, the three are all there is to take."""
    images = [Exemplar(name, 0) for name in "abcd"]
    held = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 0]], dtype=bool)
    for seed in range(20):
        chosen = [exemplar.key for exemplar in balanced(images, held, 9, np.random.default_rng(seed))]
        assert sorted(chosen) == ["a", "b", "c"]  # "d" holds nothing but background


def test_balanced_is_blind_to_the_order_of_equals() -> None:
    images = [Exemplar(str(number), 0) for number in range(10)]
    held = np.ones((10, 2), dtype=bool)
    drawn = Counter(
        exemplar.key for seed in range(1000) for exemplar in balanced(images, held, 3, np.random.default_rng(seed))
    )
    assert all(abs(drawn[str(number)] - 300) < 75 for number in range(10))  # five standard deviations


def test_an_image_of_both_steps_is_kept_once_for_the_class_whose_turn_it_is() -> None:
    twice = [Exemplar("both", 0), Exemplar("both", 1), Exemplar("old", 0)]
    held = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0]], dtype=bool)
    steps = set()
    for seed in range(20):
        chosen = select("balanced", twice, held, 2, seed, 1)
        kept = {exemplar.key: exemplar.step for exemplar in chosen}
        assert kept in ({"both": 1, "old": 0}, {"both": 0, "old": 0}, {"both": 0})
        steps.add(kept["both"])
    assert steps == {0, 1}


@settings(max_examples=60)
@given(
    steps=st.lists(st.sets(st.integers(0, 30), min_size=1), min_size=1, max_size=5),
    size=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_the_reservoir_step_by_step_is_that_of_all_images_seen(steps: list[set[int]], size: int, seed: int) -> None:
    kept: list[Exemplar] = []
    everything: list[Exemplar] = []
    for step, images in enumerate(steps):
        new = [Exemplar(str(image), step) for image in sorted(images)]
        kept = reservoir([*kept, *new], size, seed)
        everything += new
    assert kept == reservoir(everything, size, seed)
    assert len(kept) == min(size, len(set.union(*steps)))


def test_the_reservoir_keeps_each_image_equally_often() -> None:
    """Ten images of step 0, five of them again in step 1 beside five new ones, four kept of the fifteen."""
    drawn: Counter[str] = Counter()
    steps: Counter[int] = Counter()
    for seed in range(1500):
        first = reservoir([Exemplar(str(number), 0) for number in range(10)], 4, seed)
        second = reservoir([*first, *(Exemplar(str(number), 1) for number in range(5, 15))], 4, seed)
        drawn.update(exemplar.key for exemplar in second)
        steps.update(exemplar.step for exemplar in second if exemplar.key in "56789")
    assert all(abs(drawn[str(number)] - 400) < 86 for number in range(15))  # five standard deviations
    assert 0.45 < steps[0] / steps.total() < 0.55  # either step's labels, for an image of both


def test_keys_need_not_be_unicode() -> None:
    odd = Exemplar("train/\udcff\udce4", 0)
    assert reservoir([odd], 3, 0) == [odd]


# --- exemplars as samples ---------------------------------------------------------------------------------------------


def run_with(stream: Stream, folder: Path, **settings_of_memory: object) -> Run:
    config = small(memory=MemoryConfig(size=100, **settings_of_memory))
    return Run(config, RunFolder(folder), stream, Accelerator(cpu=True), Log(folder / "metrics.jsonl", quiet=True))


def three_steps(setting: Setting) -> Stream:
    source = random_source(6, images=80, seed=3)
    return stream_of(source, [[2, 5], [1, 3], [4]], setting)


def keep_everything(run: Run) -> None:
    """Write down that every image of each step is kept."""
    folder, source = run.folder, run.stream.train_source
    kept: list[list[Exemplar]] = []
    for step in run.stream.steps:
        new = [Exemplar(source.key(int(index)), step.index) for index in run.stream.train_samples(step).indices]
        kept.append([*(kept[-1] if kept else []), *new])
    memory._write(folder, kept)


@pytest.mark.parametrize("labels", ["own", "seen"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_exemplars_carry_the_labels_that_they_may(setting: Setting, labels: str, tmp_path: Path) -> None:
    stream = three_steps(setting)
    run = run_with(stream, tmp_path, labels=labels)
    keep_everything(run)
    channels = {2: 1, 5: 2, 1: 3, 3: 4, 4: 5}  # class 6 is in no step
    step_of = {2: 0, 5: 0, 1: 1, 3: 1, 4: 2}
    assert len(memory.exemplars(run, stream.steps[0])) == 0
    for now in stream.steps[1:]:
        found = memory.exemplars(run, now)
        kept = memory.read(run.folder)[now.index - 1]
        assert len(found) == len(kept) == sum(len(stream.train_samples(step)) for step in stream.steps[: now.index])
        for position, exemplar in enumerate(kept):
            raw = stream.train_source.mask(int(exemplar.key.removeprefix("fake/")))
            learned = found[position][1]
            for value in np.unique(raw):
                last = now.index if labels == "seen" else exemplar.step
                first = 0 if labels == "seen" or setting == "sequential" else exemplar.step
                known = value in channels and first <= step_of[value] <= last
                expected = channels[value] if known else IGNORE if value == IGNORE else BACKGROUND
                assert (learned[raw == value] == expected).all()


@pytest.mark.parametrize("selection", ["balanced", "random"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_each_memory_is_chosen_from_the_last_one_and_the_steps_images(
    setting: Setting, selection: Selection, tmp_path: Path
) -> None:
    stream = three_steps(setting)
    run = run_with(stream, tmp_path, selection=selection)
    run = dataclasses.replace(run, config=small(memory=MemoryConfig(size=9, selection=selection)))
    kept: list[Exemplar] = []
    for step in stream.steps:
        images = [stream.train_source.key(int(index)) for index in stream.train_samples(step).indices]
        before, kept = kept, memory._choose(run, step, kept)
        assert len(kept) == 9
        assert all(exemplar in before or exemplar.key in images for exemplar in kept)
        assert all(exemplar.step == step.index for exemplar in kept if exemplar not in before)
    if selection == "balanced":  # nine places for five classes: nobody is left out
        held = [
            stream.own_labels(stream.steps[exemplar.step])[stream.train_source.mask(int(exemplar.key[5:]))]
            for exemplar in kept
        ]
        assert {int(channel) for labels in held for channel in np.unique(labels)} >= set(range(1, 6))


def test_the_step_says_how_many_it_has_of_which(tmp_path: Path) -> None:
    run = run_with(three_steps("overlapped"), tmp_path)
    keep_everything(run)
    sizes = [len(run.stream.train_samples(step)) for step in run.stream.steps]
    texts = [memory.described(run, step) for step in run.stream.steps]
    assert texts[:2] == ["", f" and {sizes[0]} exemplars ({sizes[0]} of step 0)"]
    assert texts[2] == f" and {sizes[0] + sizes[1]} exemplars ({sizes[0]} of step 0, {sizes[1]} of step 1)"


def test_presence_is_what_the_labels_hold() -> None:
    stream = three_steps("overlapped")
    for step in stream.steps:
        samples = stream.train_samples(step)
        found = samples.presence(step.num_seen)
        for position in range(len(samples)):
            held = set(np.unique(samples[position][1])) - {BACKGROUND, IGNORE}
            assert held == set(np.flatnonzero(found[position, 1:]) + 1)


def test_joined_samples_are_their_parts() -> None:
    source = random_source(3, 6, size=(4, 5))
    table = np.arange(256, dtype=np.uint8)
    parts = (Samples(source, np.array([4, 1]), table), Samples(source, np.array([0]), table[::-1].copy()))
    joined = Joined(parts)
    assert len(joined) == 3
    assert np.array_equal(joined[0][1], source.mask(4))
    assert np.array_equal(joined[2][1], 255 - source.mask(0))
    assert joined.size(2) == (4, 5)
    with pytest.raises(IndexError):
        joined[3]
    assert len(Joined()) == 0


def test_a_key_that_is_gone_is_named(tmp_path: Path) -> None:
    run = run_with(three_steps("overlapped"), tmp_path)
    memory._write(run.folder, [[Exemplar("fake/79", 0), Exemplar("fake/80", 0)]])
    with pytest.raises(ValueError, match=r"fake/80.*--memory\.copy"):
        memory.exemplars(run, run.stream.steps[1])


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": 99, "steps": []}',
        '{"version": 1, "steps": [[{"key": "a"}]]}',
        '{"version": 1, "steps": [[{"key": "a", "step": 0, "size": 3}]]}',
        '{"version": 1, "steps": [[{"key": "a", "step": 0, "image": "../../photo.png", "mask": "b.png"}]]}',
    ],
)
def test_a_broken_memory_is_refused_with_the_mend(text: str, tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text(text)
    with pytest.raises(ValueError, match=r"memory\.json cannot be read .* remove it"):
        memory.read(RunFolder(tmp_path))


# --- copies -----------------------------------------------------------------------------------------------------------


def test_copies_are_the_source_again(tmp_path: Path) -> None:
    source = random_source(3, 5, size=(7, 9))
    folder = tmp_path / "copies"
    kept = tuple(copy_exemplar(Exemplar(source.key(index), 0), source, index, folder) for index in (3, 1))
    copies = CopySource(folder, kept, source.classes)
    assert len(copies) == 2
    for place, index in enumerate((3, 1)):
        assert copies.key(place) == source.key(index)
        assert copies.size(place) == source.size(index)
        assert np.array_equal(np.asarray(copies.image(place)), np.asarray(source.image(index)))
        assert np.array_equal(copies.mask(place), source.mask(index))
        assert np.array_equal(copies.presence()[place], source.presence()[index])
    discard_others(kept[1:], folder)
    assert {path.name for path in folder.iterdir()} == {kept[1].image, kept[1].mask}


def test_a_copys_name_says_nothing_of_its_key(tmp_path: Path) -> None:
    mask = np.zeros((4, 4), dtype=np.uint8)
    source = FakeSource((mask,), names(1))
    keys = ["../../outside", "/etc/passwd", "a" * 500, "train/\udcff", "con"]
    kept = [copy_exemplar(Exemplar(key, 0), source, 0, tmp_path / "copies") for key in keys]
    assert len({exemplar.image for exemplar in kept}) == len(keys)
    assert len(list((tmp_path / "copies").iterdir())) == 2 * len(keys)
    assert list(tmp_path.iterdir()) == [tmp_path / "copies"]


# --- what the model sees ----------------------------------------------------------------------------------------------


def test_a_class_is_seen_where_background_is_surely_it() -> None:
    probabilities = torch.tensor(
        [
            [[0.2, 0.8, 0.1], [0.1, 0.1, 0.2], [0.7, 0.1, 0.7]],  # pixels: surely class 2; background; labelled
            [[0.31, 0.6, 0.4], [0.69, 0.3, 0.3], [0.0, 0.1, 0.3]],  # never sure
        ]
    ).view(2, 3, 1, 3)
    labels = torch.tensor([[[0, 0, 1]], [[0, 0, 0]]])
    assert memory.sure_classes(probabilities, labels)[:, 1:].tolist() == [[0, 1], [0, 0]]
    labels[0, 0, 0] = IGNORE
    assert memory.sure_classes(probabilities, labels)[:, 1:].tolist() == [[0, 0], [0, 0]]


def test_steps_that_are_learned_may_have_lost_their_images() -> None:
    source = random_source(3, 40)
    groups = [[1], [2, 3]]
    second = assign_images(source.presence(), groups, "disjoint")[1]
    left = FakeSource(tuple(np.where(source.mask(int(i)) == 1, 0, source.mask(int(i))) for i in second), names(3))
    with pytest.raises(ValueError, match="class 1"):
        stream_of(left, groups)
    stream = stream_of(left, groups, learned=1)
    assert len(stream.train_samples(stream.steps[1])) == len(second)


def test_settings_of_a_memory_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match=r"memory\.size must be at least 0"):
        small(memory=MemoryConfig(size=-1))
    with pytest.raises(ValueError, match=r"leave out memory\.size"):
        small("joint", memory=MemoryConfig(size=5))
    one = dataclasses.replace(small().train, batch_size=1)
    with pytest.raises(ValueError, match=r"half of each batch.*train\.batch_size 2"):
        small(train=one, memory=MemoryConfig(size=5))
    small(train=one)
