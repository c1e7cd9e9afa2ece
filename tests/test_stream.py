"""The class stream: counts of the field's protocols, and what every pixel of a step's labels may be."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fakes import FakeSource, names, random_source, stream_of
from sats.data.arrivals import assign_images
from sats.data.protocol import class_groups, parse_protocol
from sats.data.stream import Stream, channels_by_name, samples_by_name
from sats.types import BACKGROUND, IGNORE, Future, Setting

SETTINGS: tuple[Setting, ...] = ("overlapped", "disjoint", "sequential", "partitioned")


@pytest.fixture(scope="module")
def voc() -> NDArray[np.bool_]:
    """Which of VOC's 20 classes each of the 10,582 training images holds."""
    text = gzip.decompress((Path(__file__).parent / "fixtures" / "voc_train_classes.txt.gz").read_bytes()).decode()
    rows = [[int(word) for word in line.split()[1:]] for line in text.splitlines()]
    presence = np.zeros((len(rows), 21), dtype=bool)
    for row, classes in enumerate(rows):
        presence[row, classes] = True
    return presence


@pytest.mark.parametrize(
    ("protocol", "setting", "counts"),
    [
        ("15-1", "overlapped", [9568, 487, 299, 491, 500, 548]),
        ("15-1", "disjoint", [8437, 378, 299, 420, 500, 548]),
        ("15-5", "overlapped", [9568, 2145]),
        ("19-1", "overlapped", [10410, 548]),
        ("19-1", "disjoint", [10034, 548]),
        ("10-1", "overlapped", [6139, 528, 1177, 444, 482, 3898, 487, 299, 491, 500, 548]),
        ("5-3", "overlapped", [2836, 2331, 1542, 2095, 4484, 1468]),
    ],
)
def test_voc_protocols_have_the_published_counts(
    voc: NDArray[np.bool_], protocol: str, setting: Setting, counts: list[int]
) -> None:
    groups = class_groups(names(20), protocol, (), (), None)
    assert len(voc) == 10_582
    assert [len(images) for images in assign_images(voc, groups, setting)] == counts


def test_sequential_sees_the_images_of_disjoint(voc: NDArray[np.bool_]) -> None:
    groups = class_groups(names(20), "15-1", (), (), None)
    for first, second in zip(
        assign_images(voc, groups, "disjoint"), assign_images(voc, groups, "sequential"), strict=True
    ):
        assert np.array_equal(first, second)


def test_partitioned_gives_every_image_to_one_step_by_seed(voc: NDArray[np.bool_]) -> None:
    groups = class_groups(names(20), "10-1", (), (), None)
    parts = assign_images(voc, groups, "partitioned", seed=1)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(voc)))
    for part, group in zip(parts, groups, strict=True):
        assert voc[part][:, list(group)].any(axis=1).all()
    again = assign_images(voc, groups, "partitioned", seed=1)
    other = assign_images(voc, groups, "partitioned", seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(parts, other, strict=True))


def test_partitioned_draws_uniformly_from_an_images_classes() -> None:
    presence = np.zeros((30_000, 4), dtype=bool)
    presence[:, 1:] = True
    sizes = [len(part) for part in assign_images(presence, [[1], [2], [3]], "partitioned")]
    assert min(sizes) > 9_600  # 10,000 expected each, standard deviation 82


@pytest.mark.parametrize(
    ("protocol", "classes", "sizes"),
    [("15-1", 20, (15, 1, 1, 1, 1, 1)), ("5-3", 20, (5, 3, 3, 3, 3, 3)), ("1-1", 2, (1, 1))],
)
def test_protocols_are_parsed(protocol: str, classes: int, sizes: tuple[int, ...]) -> None:
    assert parse_protocol(protocol, classes) == sizes


@pytest.mark.parametrize("protocol", ["", "15", "15-", "-5", "a-b", "15-0", "0-5", "15-5-1", "15-3", "20-1", "25-5"])
def test_protocols_that_do_not_fit_are_refused_with_a_mend(protocol: str) -> None:
    with pytest.raises(ValueError, match=r"A-B|--stream\.steps"):
        parse_protocol(protocol, 20)


def test_the_refusal_suggests_the_nearest_protocol_that_fits() -> None:
    with pytest.raises(ValueError, match="14-3"):
        parse_protocol("15-3", 20)


def test_steps_by_name_override_the_protocol() -> None:
    groups = class_groups(names(4), "", (("class 3", "class 1"), ("class 4",)), (), None)
    assert groups == ((3, 1), (4,))


def test_an_order_of_classes_is_kept_and_must_be_whole() -> None:
    order = ("class 3", "class 1", "class 2")
    assert class_groups(names(3), "1-2", (), order, None) == ((3,), (1, 2))
    with pytest.raises(ValueError, match="missing: class 2"):
        class_groups(names(3), "1-2", (), order[:2], None)


def test_a_shuffled_order_depends_on_its_seed_alone() -> None:
    orders = [class_groups(names(20), "15-5", (), (), seed) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(index for group in orders[2] for index in group) == list(range(1, 21))


def test_unknown_and_repeated_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'class 1'"):
        class_groups(names(3), "", (("class1",),), (), None)
    with pytest.raises(ValueError, match="twice"):
        class_groups(names(3), "", (("class 1",), ("class 1", "class 2")), (), None)


@st.composite
def streams(draw: st.DrawFn) -> tuple[Stream, FakeSource, Setting]:
    num_foreground = draw(st.integers(2, 6))
    source = random_source(num_foreground, images=60, seed=draw(st.integers(0, 10)))
    order = draw(st.permutations(range(1, num_foreground + 1)))
    cuts = sorted({*draw(st.sets(st.integers(1, num_foreground - 1))), num_foreground})
    groups = [order[start:end] for start, end in zip([0, *cuts[:-1]], cuts, strict=True)]
    setting = draw(st.sampled_from(SETTINGS))
    counts = [len(part) for part in assign_images(source.presence(), groups, setting)]
    if not all(counts):  # a class that no image of its own holds: another test's matter
        groups = [[index for group in groups for index in group]]
    return stream_of(source, groups, setting), source, setting


@settings(max_examples=60, deadline=None)
@given(case=streams())
def test_every_training_label_is_what_its_setting_allows(case: tuple[Stream, FakeSource, Setting]) -> None:
    stream, source, setting = case
    channels = {name: index for index, name in enumerate(stream.names(stream.steps[-1]))}
    for step in stream.steps:
        samples = stream.train_samples(step)
        first = 1 if setting == "sequential" else step.first_new
        for position, index in enumerate(samples.indices):
            raw, labels = source.mask(int(index)), samples[position][1]
            for value in np.unique(raw):
                expected = IGNORE if value == IGNORE else BACKGROUND
                channel = channels.get(source.classes[value], BACKGROUND) if value != IGNORE else BACKGROUND
                if first <= channel < step.num_seen:
                    expected = channel
                assert (labels[raw == value] == expected).all()


@settings(max_examples=40, deadline=None)
@given(case=streams(), future=st.sampled_from(["background", "ignore"]))
def test_test_labels_hold_all_classes_seen_and_hide_the_future(
    case: tuple[Stream, FakeSource, Setting], future: str
) -> None:
    stream, source, _ = case
    last = {name: index for index, name in enumerate(stream.names(stream.steps[-1]))}
    for step in stream.steps:
        samples = stream.test_samples(step, future)
        assert len(samples) == len(source)
        for position in range(len(samples)):
            raw, labels = source.mask(position), samples[position][1]
            for value in np.unique(raw[raw != IGNORE]):
                channel = last[source.classes[value]]
                hidden = IGNORE if future == "ignore" else BACKGROUND
                assert (labels[raw == value] == (channel if channel < step.num_seen else hidden)).all()


def test_names_follow_the_channels() -> None:
    source = random_source(4, 50)
    stream = stream_of(source, [[2, 4], [1], [3]])
    assert stream.names(stream.steps[0]) == ("background", "class 2", "class 4")
    assert stream.names(stream.steps[2]) == ("background", "class 2", "class 4", "class 1", "class 3")
    assert stream.new_names(stream.steps[1]) == ("class 1",)
    assert stream.num_first == 3


def test_all_at_once_is_one_step_with_every_label() -> None:
    source = random_source(4, 50)
    stream = stream_of(source, [[2, 4], [1], [3]], all_at_once=True)
    assert [step.num_seen for step in stream.steps] == [5]
    assert stream.num_first == 3  # old and new still by the protocol
    labels = stream.train_samples(stream.steps[0])
    assert {int(value) for position in range(len(labels)) for value in np.unique(labels[position][1])} == {
        0,
        1,
        2,
        3,
        4,
        IGNORE,
    }


def test_a_step_without_images_is_refused_by_name() -> None:
    mask = np.zeros((4, 4), dtype=np.uint8)
    mask[0, 0] = 1
    source = FakeSource((mask,), names(2))
    with pytest.raises(ValueError, match="class 2"):
        stream_of(source, [[1], [2]])


def test_classes_outside_the_stream_are_background() -> None:
    mask = np.array([[0, 1, 2, 3, IGNORE]], dtype=np.uint8)
    source = FakeSource((mask, mask), names(3))
    stream = stream_of(source, [[1], [3]])
    assert stream.train_samples(stream.steps[1])[0][1].tolist() == [[0, 0, 0, 2, IGNORE]]
    assert stream.test_samples(stream.steps[1], "ignore")[0][1].tolist() == [[0, 1, 0, 2, IGNORE]]


def test_void_is_background_in_training_where_asked_and_never_in_tests() -> None:
    source = random_source(6, 40)
    groups = class_groups(source.classes, "3-3", (), (), None)
    plain, asked = stream_of(source, groups), stream_of(source, groups, void="background")
    for step in plain.steps:
        assert plain.own_labels(step)[IGNORE] == plain.seen_labels(step)[IGNORE] == IGNORE
        assert asked.own_labels(step)[IGNORE] == asked.seen_labels(step)[IGNORE] == BACKGROUND
        assert asked.test_samples(step, "background").parts[0].table[IGNORE] == IGNORE


@pytest.mark.parametrize("future", ["background", "ignore"])
def test_an_ignored_background_leaves_the_other_classes_alone(future: Future) -> None:
    source = random_source(6, 40)
    stream = stream_of(source, class_groups(source.classes, "3-3", (), (), None))
    counted = stream.test_samples(stream.steps[0], future).parts[0].table
    ignored = stream.test_samples(stream.steps[0], future, "ignore").parts[0].table
    assert (counted[BACKGROUND], ignored[BACKGROUND]) == (BACKGROUND, IGNORE)
    assert np.array_equal(counted[1:], ignored[1:])
    by_name = samples_by_name(source, source.classes[:4], future, "ignore").table
    assert np.array_equal(by_name[:7], ignored[:7])


def test_classes_are_matched_by_name_and_by_case_only_where_that_tells_them_apart() -> None:
    source = FakeSource((), ("background", "Car", "cow", "Cow"))
    table = channels_by_name(source, ("background", "car", "Cow", "cow"), IGNORE)
    assert table[:4].tolist() == [BACKGROUND, 1, 3, 2]
    assert channels_by_name(source, ("background", "car"), IGNORE, background=IGNORE)[:4].tolist() == [
        IGNORE,
        1,
        *[IGNORE] * 2,
    ]
