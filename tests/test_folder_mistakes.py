"""Everything that can be wrong with a folder of data: one message with file, cause and fix."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from sats.data.folder import open_folder

if TYPE_CHECKING:
    from collections.abc import Callable

from test_folder import add, name_classes, save, sound_set


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return sound_set(tmp_path, monkeypatch)


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
        "can't be read (No such file or directory): fix its permissions or its link, or take it away.",
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
        open_folder(root, "train")
    message = str(caught.value)
    assert text.format(root=root) in message
    assert "\n" not in message
    assert message.endswith(".")


@pytest.mark.parametrize("split", ["", ".", "..", "trian", "train/deep"])
def test_splits_are_folders_of_images(root: Path, split: str) -> None:
    (root / "images/train/deep").mkdir()
    with pytest.raises(ValueError, match=r"use one of those there \(train, val\)"):
        open_folder(root, split)


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
        open_folder(root, "train", classes=chosen)
    assert text in str(caught.value)


def test_all_problems_of_a_look_come_in_one_message(root: Path) -> None:
    for number in range(11):
        add(root, f"train/bad{number:02}", [[9, 9, 77, 0]])
    add(root, "train/odd")
    save(root / "masks/train/odd.png", np.zeros((5, 5)))
    for number in range(13):
        save(root / f"images/train/lonely{number:02}.jpg", [[0]])
    with pytest.raises(ValueError, match="13 problems") as caught:
        open_folder(root, "train")
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{root}, split train, has 13 problems:"
    assert len(lines) == 12
    assert lines[1].startswith("- 13 images without a mask (lonely00, lonely01, ")
    assert "lonely09, ...): " in lines[1]
    assert lines[2].startswith(f"- {root}/masks/train/odd.png has 5 x 5 pixels, ")
    assert lines[3].startswith(f"- {root}/masks/train/bad00.png holds the ids 9, 77, ")
    assert lines[11] == "and 3 more; `sats data check` lists all."


def test_files_changed_after_the_look_are_noticed(root: Path) -> None:
    source = open_folder(root, "train")
    save(root / "masks/train/a.png", [[0, 1, 2, 4]] * 2)
    with pytest.raises(ValueError, match=r"a.png holds the id 4, but .* names only 0 to 3: add the names, or set"):
        source.mask(0)
    save(root / "masks/train/a.png", np.zeros((2, 5)))
    save(root / "images/train/a.jpg", np.zeros((3, 4)), "RGB")
    with pytest.raises(ValueError, match=r"a.png has 5 x 2 pixels, but had 4 x 2 .*start again"):
        source.mask(0)
    with pytest.raises(ValueError, match=r"a.jpg has 4 x 3 pixels, but had 4 x 2 .*start again"):
        source.image(0)
