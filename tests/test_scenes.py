from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageColor

from sats.data import painting, scenes
from sats.data.scenes import DIGITS, SPLITS, ScenesSource
from sats.data.scenes_index import kept

SOURCE = ScenesSource(num_images=60)


def fingerprint(source: ScenesSource, index: int) -> str:
    return hashlib.sha256(source.image(index).tobytes() + source.mask(index).tobytes()).hexdigest()


def test_images_and_masks_have_the_promised_form() -> None:
    for side in (32, 64, 100):
        source = ScenesSource(num_images=3, image_size=side)
        image, mask = source.image(2), source.mask(2)
        assert (image.mode, image.size) == ("RGB", (side, side))
        assert (mask.dtype, mask.shape) == (np.dtype(np.uint8), (side, side))
        assert source.size(2) == (side, side)


def test_names() -> None:
    assert SOURCE.classes == ("background", *DIGITS)
    assert len(SOURCE) == 60
    assert SOURCE.key(12) == "scenes/train/000012"
    assert len({SOURCE.key(index) for index in range(60)}) == 60


def test_an_image_follows_from_seed_split_and_index_alone() -> None:
    forth = [fingerprint(SOURCE, index) for index in range(5)]
    longer = ScenesSource(num_images=1000)
    back = [fingerprint(longer, index) for index in reversed(range(5))]
    assert forth == back[::-1]
    others = [ScenesSource(seed=1), *(ScenesSource(split) for split in SPLITS[1:])]
    assert len({*forth, *(fingerprint(other, index) for other in others for index in range(5))}) == 20


def test_a_pickled_source_makes_the_same_images_in_another_process() -> None:
    copy = pickle.loads(pickle.dumps(SOURCE))  # noqa: S301 - our own bytes
    assert fingerprint(copy, 7) == fingerprint(SOURCE, 7)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(fingerprint, (SOURCE, 7)) == fingerprint(SOURCE, 7)


def test_a_scene_is_painted_once_and_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ScenesSource(num_images=2, seed=77)
    before = fingerprint(source, 1)
    monkeypatch.delattr(painting, "paint")  # from here on painting fails
    source.image(1).paste((0, 0, 0), (0, 0, 64, 64))
    source.mask(1)[:] = 255
    assert fingerprint(source, 1) == before
    with pytest.raises(AttributeError):
        source.image(0)


def test_painting_moves_no_digit() -> None:
    before = SOURCE.mask(3)
    SOURCE.image(3)
    np.testing.assert_array_equal(SOURCE.mask(3), before)


def test_a_mask_is_where_the_ink_is() -> None:
    for index in range(20):
        image, mask = np.asarray(SOURCE.image(index), dtype=float), SOURCE.mask(index)
        assert image[mask > 0].mean() > image[mask == 0].mean() + 40


def test_splits_share_no_digit() -> None:
    for number in range(10):
        drawn = [{glyph.tobytes() for glyph in scenes._glyphs(split)[number]} for split in SPLITS]
        assert min(map(len, drawn)) >= 20
        assert len(set.union(*drawn)) == sum(map(len, drawn))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    split=st.sampled_from(SPLITS),
    side=st.integers(32, 80),
    chosen=st.lists(st.sampled_from(DIGITS), min_size=1, unique=True),
)
def test_presence_is_what_the_masks_show(seed: int, split: str, side: int, chosen: list[str]) -> None:
    source = ScenesSource(split, 4, side, seed, tuple(chosen))
    for index, row in enumerate(source.presence()):
        labels, pixels = np.unique(source.mask(index), return_counts=True)
        assert labels.tolist() == np.flatnonzero(row).tolist()
        assert pixels.min() >= scenes._MIN_PIXELS


def test_presence_is_computed_once_and_stays_its_owners() -> None:
    source = ScenesSource(num_images=4)
    source.presence()[:] = False
    assert source.presence().any()


def test_all_classes_occur_and_scenes_hold_one_to_four_digits() -> None:
    presence = SOURCE.presence()
    assert presence.shape == (60, 11)
    assert presence.all(axis=1).sum() == 0
    assert presence.any(axis=0).all()
    assert set(presence[:, 1:].sum(axis=1).tolist()) <= {1, 2, 3, 4}


def test_classes_keep_their_order_and_leave_the_scenes_alone() -> None:
    some = ScenesSource(num_images=20, classes=("background", "seven", "two"))
    assert some.classes == ("background", "seven", "two")
    relabelled = np.zeros(11, dtype=np.uint8)
    relabelled[[8, 3]] = (1, 2)
    for index in range(20):
        np.testing.assert_array_equal(some.mask(index), relabelled[SOURCE.mask(index)])
        assert some.image(index).tobytes() == SOURCE.image(index).tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "training"}, "did you mean 'train'"),
        ({"split": "x"}, "choose from train, val, test"),
        ({"classes": ("one", "Thre")}, "did you mean 'three'"),
        ({"classes": ("one", "one")}, "only once"),
        ({"classes": ("background",)}, "at least one digit"),
        ({"num_images": 0}, "num_images of at least 1"),
        ({"image_size": 16}, "image_size of at least 32"),
        ({"seed": -1}, "seed of at least 0"),
    ],
)
def test_wrong_arguments_name_the_mend(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScenesSource(**arguments)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("index", [-1, 60])
def test_an_index_out_of_range_raises(index: int) -> None:
    with pytest.raises(IndexError, match="of 60"):
        SOURCE.image(index)


def test_every_ink_stands_out_on_every_ground() -> None:
    def luma(colour: str) -> float:
        return float(np.dot(ImageColor.getrgb(colour)[:3], (0.299, 0.587, 0.114)))

    lightest_ground = max(luma(colour) for ground in painting._GROUNDS for colour in ground)
    assert min(luma(ink) for ink in painting._INKS) - lightest_ground > 70


def test_presence_is_kept_from_run_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATS_CACHE", str(tmp_path))
    expected = ScenesSource(num_images=5, seed=3).presence()
    (file,) = (tmp_path / "scenes").iterdir()
    assert len(ScenesSource(num_images=4, seed=3).presence()) == 4
    with monkeypatch.context() as patch:
        patch.setattr(scenes, "_lay_out", None)  # nothing is laid out again
        assert np.array_equal(ScenesSource(num_images=5, seed=3).presence(), expected)
        some = ScenesSource(num_images=5, seed=3, classes=("nine", "two"))
        assert np.array_equal(some.presence()[:, 1:], expected[:, [10, 3]])
    file.write_bytes(file.read_bytes()[:150])
    assert np.array_equal(ScenesSource(num_images=5, seed=3).presence(), expected)
    monkeypatch.setenv("SATS_CACHE", str(file))  # no folder
    assert np.array_equal(ScenesSource(num_images=5, seed=3).presence(), expected)


def test_another_text_of_the_code_makes_the_table_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATS_CACHE", str(tmp_path))
    code, made = tmp_path / "code.py", []

    def make() -> np.ndarray:
        made.append(1)
        return np.ones((2, 10), dtype=np.bool_)

    for text in ("a", "a", "b"):
        code.write_text(text)
        kept("scenes", (2, 10), str(code), make)
    assert len(made) == 2
    kept("scenes", (2, 10), str(tmp_path / "compiled only"), make)
    assert len(made) == 3


def test_presence_of_a_thousand_scenes_is_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATS_CACHE", str(tmp_path))
    source = ScenesSource(num_images=1000)
    started = time.process_time()
    source.presence()
    assert time.process_time() - started < 5  # 0.4 s on one core; the slack is for busy machines
