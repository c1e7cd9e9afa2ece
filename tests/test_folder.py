"""Own data: layout, names, mapping, and one message for each mistake."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from sats.data.folder import FolderSource
from sats.data.source import NOT_LEARNED_YET
from sats.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable

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


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound set of two pairs in ``train`` and one in ``val``."""
    monkeypatch.setenv("SATS_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set"
    add(root, "train/a")
    add(root, "train/b", [[0, 0, 0, 2]])
    add(root, "val/c")
    name_classes(root, *NAMES)
    return root


def test_source_of_a_folder(root: Path) -> None:
    source = FolderSource(root, "train")
    assert len(source) == 2
    assert source.classes == NAMES
    assert [source.key(index) for index in range(2)] == ["train/a", "train/b"]
    assert [source.size(index) for index in range(2)] == [(2, 4), (1, 4)]
    assert source.image(0).mode == "RGB"
    assert source.image(0).size == (4, 2)
    assert source.mask(0).dtype == np.uint8
    np.testing.assert_array_equal(source.mask(0), IDS)
    np.testing.assert_array_equal(source.presence(), [[True] * 4, [True, False, True, False]])
    assert len(FolderSource(root, "val")) == 1


@pytest.mark.parametrize("name", ["background", "Background", "__background__", "_background_", "BG", NOT_LEARNED_YET])
def test_background_is_known_by_its_name(root: Path, name: str) -> None:
    name_classes(root, name, *NAMES[1:])
    assert FolderSource(root, "train").classes == (name, *NAMES[1:])


def test_set_without_background_moves_up(root: Path) -> None:
    name_classes(root, "road", *NAMES[1:])
    source = FolderSource(root, "train")
    assert source.classes == (NOT_LEARNED_YET, "road", *NAMES[1:])
    np.testing.assert_array_equal(source.mask(0), [[1, 2, 3, 4], [IGNORE, 2, 3, 4]])
    np.testing.assert_array_equal(source.presence()[1], [False, True, False, True, False])


def test_caller_decides_about_the_background(root: Path) -> None:
    assert FolderSource(root, "train", has_background="no").classes == (NOT_LEARNED_YET, *NAMES)
    name_classes(root, "road", *NAMES[1:])
    source = FolderSource(root, "train", has_background="yes")
    assert source.classes == ("road", *NAMES[1:])
    np.testing.assert_array_equal(source.mask(0), IDS)


@pytest.mark.parametrize("chosen", [("sky", "car"), ("background", "sky", "car"), ("sky", "BG", "car")])
def test_chosen_classes_come_in_their_order(root: Path, chosen: tuple[str, ...]) -> None:
    source = FolderSource(root, "train", classes=chosen)
    assert source.classes == ("background", "sky", "car")
    np.testing.assert_array_equal(source.mask(0), [[0, 2, 0, 1], [IGNORE, 2, 0, 1]])
    np.testing.assert_array_equal(source.presence(), [[True, True, True], [True, False, False]])


def test_chosen_classes_without_background(root: Path) -> None:
    name_classes(root, "road", *NAMES[1:])
    source = FolderSource(root, "train", classes=("tree", "background", "road"))
    assert source.classes == (NOT_LEARNED_YET, "tree", "road")
    np.testing.assert_array_equal(source.mask(0), [[2, 0, 1, 0], [IGNORE, 0, 1, 0]])


def test_most_classes_that_fit(root: Path) -> None:
    add(root, "train/a", [[0, 253, 254, 255]])
    name_classes(root, "background", *(f"class {number}" for number in range(1, 255)))
    assert FolderSource(root, "train").mask(0).tolist() == [[0, 253, 254, IGNORE]]
    name_classes(root, *(f"class {number}" for number in range(255)))
    chosen = FolderSource(root, "train", classes=tuple(f"class {number}" for number in range(1, 255)))
    assert chosen.mask(0).tolist() == [[0, 253, 254, IGNORE]]


def test_class_file_may_have_blanks_a_byte_order_mark_and_empty_lines_at_its_end(root: Path) -> None:
    (root / "classes.txt").write_bytes("\ufeff background\r\n car \r\nstraße\r\nsky\r\n\r\n \n".encode())
    assert FolderSource(root, "train").classes == ("background", "car", "straße", "sky")


def test_images_are_sorted_by_path_below_their_split(root: Path) -> None:
    for name in ("z", "a-b", "deep/er/x", "B", "ä"):
        add(root, f"train/{name}")
    source = FolderSource(root, "train")
    keys = [source.key(index).removeprefix("train/") for index in range(len(source))]
    assert keys == ["B", "a-b", "a", "b", "deep/er/x", "z", "ä"]


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "jpeg", "png", "Png", "webp", "tif", "TIFF"])
def test_image_suffixes(root: Path, suffix: str) -> None:
    save(root / f"images/train/x.{suffix}", np.full((2, 4), 77), "RGB")
    save(root / "masks/train/x.PNG", IDS)
    source = FolderSource(root, "train")
    assert source.key(2) == "train/x"
    assert source.image(2).getpixel((3, 1)) == pytest.approx((77, 77, 77), abs=3)


def test_files_of_other_kinds_are_left_alone(root: Path) -> None:
    for name in ("images/train/Thumbs.db", "images/train/._a.jpg", "masks/train/a.json", "images/.DS_Store"):
        (root / name).write_bytes(b"?")
    save(root / "masks/train/a.jpg", IDS)  # a picture of the mask, beside the mask
    save(root / "masks/train/.ipynb_checkpoints/a-checkpoint.png", IDS)
    assert len(FolderSource(root, "train")) == 2


def test_links_are_followed(root: Path) -> None:
    (root / "images/more").symlink_to(root / "images/val")
    (root / "masks/more").mkdir()
    (root / "masks/more/c.png").symlink_to(root / "masks/val/c.png")
    source = FolderSource(root, "more")
    assert source.key(0) == "more/c"
    np.testing.assert_array_equal(source.mask(0), IDS)


def test_palette_and_one_bit_masks(root: Path) -> None:
    mask = Image.fromarray(np.array(IDS, dtype=np.uint8))
    mask.putpalette([value for color in range(256) for value in (255 - color, 9, color)])
    mask.save(root / "masks/train/a.png")
    save(root / "masks/train/b.png", [[0, 0, 255, 255]], "1")
    source = FolderSource(root, "train")
    np.testing.assert_array_equal(source.mask(0), IDS)
    np.testing.assert_array_equal(source.mask(1), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(source.presence(), [[True] * 4, [True, True, False, False]])


def test_image_is_turned_as_its_exif_says(root: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    save(root / "images/train/x.jpg", np.zeros((4, 2)), "RGB", exif=exif)
    save(root / "masks/train/x.png", IDS)
    source = FolderSource(root, "train")
    assert source.size(2) == (2, 4)
    assert source.image(2).size == (4, 2)


def test_index_serves_other_classes_and_rebuilds(root: Path, tmp_path: Path) -> None:
    FolderSource(root, "train")
    cached = next((tmp_path / "cache").rglob("*.json"))
    written = cached.stat().st_mtime_ns
    os.utime(cached, ns=(1, 1))
    name_classes(root, "road", *NAMES[1:], "more")
    FolderSource(root, "train", classes=("sky",))
    assert cached.stat().st_mtime_ns == 1
    FolderSource(root, "train", rebuild_index=True)
    assert cached.stat().st_mtime_ns >= written
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 1


def test_source_survives_pickling(root: Path) -> None:
    source = FolderSource(root, "train", classes=("sky",))
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert copy.classes == source.classes
    assert copy.key(1) == source.key(1)
    assert copy.size(1) == source.size(1)
    np.testing.assert_array_equal(copy.mask(0), source.mask(0))
    np.testing.assert_array_equal(copy.presence(), source.presence())
    assert copy.image(0).tobytes() == source.image(0).tobytes()


def remove(name: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return act


def paint(name: str, shape: tuple[int, int], mode: str = "L", **options: Any) -> Callable[[Path], None]:
    noise = np.random.default_rng(0).integers(0, 4, shape)
    return lambda root: save(root / name, noise, mode, **options)


def cut(name: str) -> Callable[[Path], None]:
    return lambda root: write(name, (root / name).read_bytes()[:-24])(root)


def in_turn(*acts: Callable[[Path], None]) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        for one in acts:
            one(root)

    return act


MISTAKES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no root": (remove(""), "", "is not a folder: name the one that holds images/<split>/<name>.jpg, masks/"),
    "no images": (remove("images"), "images", "is not a folder: {root} should hold images/<split>/<name>.jpg"),
    "no masks": (remove("masks"), "masks", "is not a folder: {root} should hold images/<split>/<name>.jpg"),
    "no split": (remove("images/train"), "images", "has no split 'train': use one of those there (val)."),
    "no split of masks": (remove("masks/train"), "masks", "has no split 'train': use one of those there (val)."),
    "no splits": (
        in_turn(remove("images"), write("images/a.jpg", b"")),
        "images",
        "has no split 'train': {root} should hold images/<split>/<name>.jpg",
    ),
    "no class file": (remove("classes.txt"), "classes.txt", "can't be read: write one, where line i names class i"),
    "empty class file": (write("classes.txt", b" \n\n"), "classes.txt", "is empty: line i should name class i"),
    "empty line": (write("classes.txt", b"bg\n\ncar"), "classes.txt", "has an empty line 2: give class 1 a name."),
    "empty first line": (write("classes.txt", b"\ncar"), "classes.txt", "has an empty line 1: give class 0 a name."),
    "not UTF-8": (write("classes.txt", b"bg\nstra\xdfe"), "classes.txt", "is not in UTF-8"),
    "names repeated": (
        write("classes.txt", b"bg\ncar\ntree\ncar\nbg"),
        "classes.txt",
        "repeats 'bg', 'car': give each class a name of its own.",
    ),
    "background alone": (write("classes.txt", b"bg"), "classes.txt", "nothing but background: name a class."),
    "too many classes": (
        lambda root: name_classes(root, *(f"c{i}" for i in range(256))),
        "classes.txt",
        "names 256 classes: an 8-bit mask holds 255 at most; drop some.",
    ),
    "too many with background": (
        lambda root: name_classes(root, *(f"c{i}" for i in range(255))),
        "classes.txt",
        "names 255 classes, and with a background they are 256: a mask holds 255 at most; choose fewer.",
    ),
    "no images in the split": (
        in_turn(remove("images/train/a.jpg"), remove("images/train/b.jpg"), write("images/train/a.gif", b"")),
        "images/train",
        "holds no images: put some there (.bmp, .jpeg, .jpg, .png, .tif, .tiff, .webp).",
    ),
    "image without mask": (
        remove("masks/train/a.png"),
        "masks/train",
        "1 image without a mask (a): put each mask at {root}/masks/train/<same name>.png, or take the image away.",
    ),
    "masks without image": (
        in_turn(paint("masks/train/y.png", (2, 4)), paint("masks/train/deep/x.png", (2, 4))),
        "images/train",
        "2 masks without an image (deep/x, y): put each image below {root}/images/train (.bmp, .jpeg, .jpg, ",
    ),
    "images of one name": (
        paint("images/train/a.png", (2, 4)),
        "images/train/a.jpg",
        "a.jpg and {root}/images/train/a.png have the same name but for the suffix: rename or remove one.",
    ),
    "masks of one name": (
        paint("masks/train/a.PNG", (2, 4)),
        "masks/train/a.PNG",
        "a.PNG and {root}/masks/train/a.png have the same name but for the suffix: rename or remove one.",
    ),
    "other size": (
        paint("images/train/a.jpg", (3, 5)),
        "masks/train/a.png",
        "has 4 x 2 pixels, its image {root}/images/train/a.jpg 5 x 3: give both the same size",
    ),
    "RGB mask": (
        paint("masks/train/a.png", (2, 4), "RGB"),
        "masks/train/a.png",
        "has pixels of mode RGB, not class indices: save the mask as a PNG with one 8-bit class index a pixel",
    ),
    "16-bit mask": (
        lambda root: Image.fromarray(np.zeros((2, 4), np.uint16)).save(root / "masks/train/a.png"),
        "masks/train/a.png",
        "has pixels of mode I;16, not class indices: save the mask as a PNG with one 8-bit class index a pixel",
    ),
    "mask not a PNG": (
        paint("masks/train/a.png", (2, 4), format="TIFF"),
        "masks/train/a.png",
        "is a TIFF file, not a PNG: save the mask as a PNG with one 8-bit class index a pixel",
    ),
    "mask named otherwise": (
        in_turn(remove("masks/train/a.png"), paint("masks/train/a.jpg", (2, 4))),
        "masks/train/a.jpg",
        "is not a PNG: save the mask as a.png, from where it was made.",
    ),
    "mask cut short": (cut("masks/train/a.png"), "masks/train/a.png", "save or fetch it anew."),
    "image cut short": (
        in_turn(paint("images/train/a.png", (2, 4)), remove("images/train/a.jpg"), cut("images/train/a.png")),
        "images/train/a.png",
        "save or fetch it anew.",
    ),
    "image not an image": (write("images/train/a.jpg", b"<html>"), "images/train/a.jpg", "is not an image of a known"),
    "id without a name": (
        paint("masks/train/a.png", (2, 4)),  # with ids up to 3
        "masks/train/a.png",
        "holds the ids 2, 3, but {root}/classes.txt names only 0 to 1: add the names, or set those pixels to 255",
    ),
    "link to nowhere": (
        lambda root: (root / "images/train/x.jpg").symlink_to("gone.jpg"),
        "images/train/x.jpg",
        "can't be read (No such file or directory): mend its permissions or its link, or take it away.",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_has_one_message_with_file_cause_and_mend(root: Path, mistake: str) -> None:
    act, file, text = MISTAKES[mistake]
    if mistake == "id without a name":
        name_classes(root, "bg", "car")
        save(root / "masks/train/b.png", [[0, 0, 1, 1]])
    act(root)
    with pytest.raises(ValueError, match=re.escape(str(root / file))) as caught:
        FolderSource(root, "train")
    message = str(caught.value)
    assert text.format(root=root) in message
    assert "\n" not in message
    assert message.endswith(".")


@pytest.mark.parametrize("split", ["", ".", "..", "trian", "train/deep"])
def test_splits_are_folders_of_images(root: Path, split: str) -> None:
    (root / "images/train/deep").mkdir()
    with pytest.raises(ValueError, match=r"use one of those there \(train, val\)"):
        FolderSource(root, split)


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        (("sky", "tre"), "classes.txt; did you mean 'tree'?"),
        (("TREES",), "classes.txt; did you mean 'tree'?"),
        (("sky", "horse"), "classes.txt; choose from car, tree, sky."),
        (("sky", "car", "sky"), "classes.txt repeat 'sky': name each once."),
        (("background",), "name nothing but background: name a class."),
    ],
)
def test_wrong_choice_of_classes(root: Path, chosen: tuple[str, ...], text: str) -> None:
    with pytest.raises(ValueError, match=r"classes\.txt") as caught:
        FolderSource(root, "train", classes=chosen)
    assert text in str(caught.value)


def test_all_problems_of_a_look_come_in_one_message(root: Path) -> None:
    for number in range(11):
        add(root, f"train/bad{number:02}", [[9, 9, 77, 0]])
    add(root, "train/odd")
    save(root / "masks/train/odd.png", np.zeros((5, 5)))
    for number in range(13):
        save(root / f"images/train/lonely{number:02}.jpg", [[0]])
    with pytest.raises(ValueError, match="13 problems") as caught:
        FolderSource(root, "train")
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{root}, split train, has 13 problems:"
    assert len(lines) == 12
    assert lines[1].startswith("- 13 images without a mask (lonely00, lonely01, ")
    assert "lonely09, ...): " in lines[1]
    assert lines[2].startswith(f"- {root}/masks/train/odd.png has 5 x 5 pixels, ")
    assert lines[3].startswith(f"- {root}/masks/train/bad00.png holds the ids 9, 77, ")
    assert lines[11] == "and 3 more; `sats data check` lists all."


def test_files_changed_after_the_look_are_noticed(root: Path) -> None:
    source = FolderSource(root, "train")
    save(root / "masks/train/a.png", [[0, 1, 2, 4]] * 2)
    with pytest.raises(ValueError, match=r"a.png holds the id 4, but .* names only 0 to 3: add the names, or set"):
        source.mask(0)
    save(root / "masks/train/a.png", np.zeros((2, 5)))
    save(root / "images/train/a.jpg", np.zeros((3, 4)), "RGB")
    with pytest.raises(ValueError, match=r"a.png has 5 x 2 pixels, but had 4 x 2 .*start again"):
        source.mask(0)
    with pytest.raises(ValueError, match=r"a.jpg has 4 x 3 pixels, but had 4 x 2 .*start again"):
        source.image(0)


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
        source = FolderSource(SHARED / name, split)
        assert len(source) == count
        assert len(source.classes) == num_classes
        assert source.presence().any(axis=1).all()
        assert source.mask(count - 1).shape == source.size(count - 1)
