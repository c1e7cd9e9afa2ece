"""Own data: layout, names, mapping, and one message for each mistake."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from sats.data.folder import open_folder
from sats.types import IGNORE, NOT_LEARNED_YET

if TYPE_CHECKING:
    pass

SHARED = Path(os.environ.get("SATS_SHARED", Path(__file__).parents[2] / "shared")) / "data"
NAMES = ("background", "car", "tree", "sky")
IDS = [[0, 1, 2, 3], [255, 1, 2, 3]]


def save(path: Path, pixels: Any, mode: str = "L", **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).convert(mode).save(path, **options)


def add(root: Path, key: str, ids: Any = IDS) -> None:
    """Add an image and its mask; ``key`` is ``<split>/<name>``."""
    save(root / "images" / f"{key}.jpg", np.full(np.shape(ids), 77), "RGB")
    save(root / "masks" / f"{key}.png", ids)


def name_classes(root: Path, *names: str) -> None:
    (root / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def sound_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound set of two pairs in ``train`` and one in ``val``."""
    monkeypatch.setenv("SATS_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set"
    add(root, "train/a")
    add(root, "train/b", [[0, 0, 0, 2]])
    add(root, "val/c")
    name_classes(root, *NAMES)
    return root


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return sound_set(tmp_path, monkeypatch)


def test_source_of_a_folder(root: Path) -> None:
    source = open_folder(root, "train")
    assert len(source) == 2
    assert source.classes == NAMES
    assert [source.key(index) for index in range(2)] == ["train/a", "train/b"]
    assert [source.size(index) for index in range(2)] == [(2, 4), (1, 4)]
    assert source.image(0).mode == "RGB"
    assert source.image(0).size == (4, 2)
    assert source.mask(0).dtype == np.uint8
    np.testing.assert_array_equal(source.mask(0), IDS)
    np.testing.assert_array_equal(source.presence(), [[True] * 4, [True, False, True, False]])
    assert len(open_folder(root, "val")) == 1


@pytest.mark.parametrize("name", ["background", "Background", "__background__", "_background_", "BG", NOT_LEARNED_YET])
def test_background_is_known_by_its_name(root: Path, name: str) -> None:
    name_classes(root, name, *NAMES[1:])
    assert open_folder(root, "train").classes == (name, *NAMES[1:])


def test_set_without_background_moves_up(root: Path) -> None:
    name_classes(root, "road", *NAMES[1:])
    source = open_folder(root, "train")
    assert source.classes == (NOT_LEARNED_YET, "road", *NAMES[1:])
    np.testing.assert_array_equal(source.mask(0), [[1, 2, 3, 4], [IGNORE, 2, 3, 4]])
    np.testing.assert_array_equal(source.presence()[1], [False, True, False, True, False])


def test_caller_decides_about_the_background(root: Path) -> None:
    assert open_folder(root, "train", has_background="no").classes == (NOT_LEARNED_YET, *NAMES)
    name_classes(root, "road", *NAMES[1:])
    source = open_folder(root, "train", has_background="yes")
    assert source.classes == ("road", *NAMES[1:])
    np.testing.assert_array_equal(source.mask(0), IDS)


@pytest.mark.parametrize("chosen", [("sky", "car"), ("background", "sky", "car"), ("sky", "BG", "car")])
def test_chosen_classes_come_in_their_order(root: Path, chosen: tuple[str, ...]) -> None:
    source = open_folder(root, "train", classes=chosen)
    assert source.classes == ("background", "sky", "car")
    np.testing.assert_array_equal(source.mask(0), [[0, 2, 0, 1], [IGNORE, 2, 0, 1]])
    np.testing.assert_array_equal(source.presence(), [[True, True, True], [True, False, False]])


def test_chosen_classes_without_background(root: Path) -> None:
    name_classes(root, "road", *NAMES[1:])
    source = open_folder(root, "train", classes=("tree", "background", "road"))
    assert source.classes == (NOT_LEARNED_YET, "tree", "road")
    np.testing.assert_array_equal(source.mask(0), [[2, 0, 1, 0], [IGNORE, 0, 1, 0]])


def test_most_classes_that_fit(root: Path) -> None:
    add(root, "train/a", [[0, 253, 254, 255]])
    name_classes(root, "background", *(f"class {number}" for number in range(1, 255)))
    assert open_folder(root, "train").mask(0).tolist() == [[0, 253, 254, IGNORE]]
    name_classes(root, *(f"class {number}" for number in range(255)))
    chosen = open_folder(root, "train", classes=tuple(f"class {number}" for number in range(1, 255)))
    assert chosen.mask(0).tolist() == [[0, 253, 254, IGNORE]]


def test_class_file_may_have_blanks_a_byte_order_mark_and_empty_lines_at_its_end(root: Path) -> None:
    (root / "classes.txt").write_bytes("\ufeff background\r\n car \r\nstraße\r\nsky\r\n\r\n \n".encode())
    assert open_folder(root, "train").classes == ("background", "car", "straße", "sky")


def test_images_are_sorted_by_path_below_their_split(root: Path) -> None:
    for name in ("z", "a-b", "deep/er/x", "B", "ä"):
        add(root, f"train/{name}")
    source = open_folder(root, "train")
    keys = [source.key(index).removeprefix("train/") for index in range(len(source))]
    assert keys == ["B", "a-b", "a", "b", "deep/er/x", "z", "ä"]


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "jpeg", "png", "Png", "webp", "tif", "TIFF"])
def test_image_suffixes(root: Path, suffix: str) -> None:
    save(root / f"images/train/x.{suffix}", np.full((2, 4), 77), "RGB")
    save(root / "masks/train/x.PNG", IDS)
    source = open_folder(root, "train")
    assert source.key(2) == "train/x"
    assert source.image(2).getpixel((3, 1)) == pytest.approx((77, 77, 77), abs=3)


def test_files_of_other_kinds_are_left_alone(root: Path) -> None:
    for name in ("images/train/Thumbs.db", "images/train/._a.jpg", "masks/train/a.json", "images/.DS_Store"):
        (root / name).write_bytes(b"?")
    save(root / "masks/train/a.jpg", IDS)  # a picture of the mask, beside the mask
    save(root / "masks/train/.ipynb_checkpoints/a-checkpoint.png", IDS)
    assert len(open_folder(root, "train")) == 2


def test_links_are_followed(root: Path) -> None:
    (root / "images/more").symlink_to(root / "images/val")
    (root / "masks/more").mkdir()
    (root / "masks/more/c.png").symlink_to(root / "masks/val/c.png")
    source = open_folder(root, "more")
    assert source.key(0) == "more/c"
    np.testing.assert_array_equal(source.mask(0), IDS)


def test_palette_and_one_bit_masks(root: Path) -> None:
    mask = Image.fromarray(np.array(IDS, dtype=np.uint8))
    mask.putpalette([value for color in range(256) for value in (255 - color, 9, color)])
    mask.save(root / "masks/train/a.png")
    save(root / "masks/train/b.png", [[0, 0, 255, 255]], "1")
    source = open_folder(root, "train")
    np.testing.assert_array_equal(source.mask(0), IDS)
    np.testing.assert_array_equal(source.mask(1), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(source.presence(), [[True] * 4, [True, True, False, False]])


def test_image_is_turned_as_its_exif_says(root: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    save(root / "images/train/x.jpg", np.zeros((4, 2)), "RGB", exif=exif)
    save(root / "masks/train/x.png", IDS)
    source = open_folder(root, "train")
    assert source.size(2) == (2, 4)
    assert source.image(2).size == (4, 2)


def test_index_serves_other_classes_and_rebuilds(root: Path, tmp_path: Path) -> None:
    open_folder(root, "train")
    cached = next((tmp_path / "cache").rglob("*.json"))
    written = cached.stat().st_mtime_ns
    os.utime(cached, ns=(1, 1))
    name_classes(root, "road", *NAMES[1:], "more")
    open_folder(root, "train", classes=("sky",))
    assert cached.stat().st_mtime_ns == 1
    open_folder(root, "train", rebuild_index=True)
    assert cached.stat().st_mtime_ns >= written
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 1


def test_source_survives_pickling(root: Path) -> None:
    source = open_folder(root, "train", classes=("sky",))
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 (our own bytes)
    assert copy.classes == source.classes
    assert copy.key(1) == source.key(1)
    assert copy.size(1) == source.size(1)
    np.testing.assert_array_equal(copy.mask(0), source.mask(0))
    np.testing.assert_array_equal(copy.presence(), source.presence())
    assert copy.image(0).tobytes() == source.image(0).tobytes()


@pytest.mark.parametrize(
    ("name", "counts", "num_classes"),
    [
        ("ccp", {"train": 800, "val": 204}, 59),
        ("camvid", {"train": 367, "val": 101, "test": 233}, 12),
        ("idd-lite", {"train": 1403, "val": 204}, 8),
    ],
)
def test_shared_sets(root: Path, name: str, counts: dict[str, int], num_classes: int) -> None:
    del root  # wanted only for its cache folder
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is absent")
    for split, count in counts.items():
        source = open_folder(SHARED / name, split)
        assert len(source) == count
        assert len(source.classes) == num_classes
        assert source.presence().any(axis=1).all()
        assert source.mask(count - 1).shape == source.size(count - 1)
