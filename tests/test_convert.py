"""`sats data convert`: label maps survive every format, and whatever is wrong is one message and leaves nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ExifTags, Image

from labelled import (
    CLASSES,
    FORMATS,
    binary,
    coco_polygons,
    coco_runs,
    colours,
    few_bits,
    parquet,
    png,
    save,
    write_images,
    yolo,
)
from sats.cli import main
from sats.data import convert as converting
from sats.data.folder import open_folder
from sats.data.formats.regions import in_runs, outlined, paint, points_of
from sats.data.recognise import recognise
from sats.types import IGNORE

IDS = np.array([[0, 1, 1, 2, 3, 3], [0, 1, 1, 2, 3, 0], [0, 0, 0, 2, 2, 0]], dtype=np.uint8)
MAPS = {"a": IDS, "deep/b": IDS[:, :4] // 2}


def convert(words: list[str], out: Path, *more: str) -> int:
    return main(["data", "convert", *words, "--out", str(out), *more])


def masks_of(out: Path, split: str = "train") -> list[np.ndarray]:
    source = open_folder(out, split)
    return [source.mask(index) for index in range(len(source))]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# --- what is right ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=8, deadline=None)
@given(first=arrays(np.uint8, (5, 7), elements=st.integers(0, 3)), size=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_label_maps_survive_every_format(name: str, first: np.ndarray, size: tuple[int, int]) -> None:
    write, package = FORMATS[name]
    if package:
        pytest.importorskip(package)
    maps = {"a": first, "deep/b": np.resize(first[::-1], size)}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        assert convert(write(Path(folder, "in"), maps), out) == 0
        assert open_folder(out, "train").classes == CLASSES
        for found, expected in zip(masks_of(out), maps.values(), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_images_are_copied_byte_for_byte_below_their_folders(tmp_path: Path) -> None:
    assert convert(colours(tmp_path / "in", MAPS), tmp_path / "out") == 0
    names = {"images/train/a.jpg", "images/train/deep/b.jpg", "masks/train/a.png", "masks/train/deep/b.png"}
    assert files_below(tmp_path / "out") == {*names, "classes.txt"}
    for name in ("a.jpg", "deep/b.jpg"):
        copied = (tmp_path / "out" / "images" / "train" / name).read_bytes()
        assert copied == (tmp_path / "in" / "images" / name).read_bytes()


def test_splits_are_added_and_nothing_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, out = colours(tmp_path / "in", MAPS), tmp_path / "out"
    assert convert(words, out) == 0
    assert "out, split train: 2 images; 3 classes (car, traffic light and tree) and background." in (
        capsys.readouterr().out
    )
    assert convert(words, out, "--split", "val") == 0
    before = files_below(out)
    assert convert(words, out, "--split", "val") == 2
    assert f"{out}/images/val is there already, and nothing is replaced" in capsys.readouterr().err
    shutil.copytree(out, tmp_path / "photos")
    shutil.rmtree(tmp_path / "photos" / "masks" / "val")
    assert convert(words, tmp_path / "photos", "--split", "val") == 2
    assert "remove" not in capsys.readouterr().err  # somebody's photographs
    shutil.rmtree(out / "images" / "val")
    assert convert(words, out, "--split", "val") == 2
    told = capsys.readouterr().err
    assert f"{out}/masks/val is there already" in told
    assert "Masks alone are what a conversion leaves that was killed" in told
    (tmp_path / "in" / "labelmap.txt").write_text("bg 0 0 0\nbus #00008e\ncar 250,170,30\ntree,107,142,35\n")
    assert convert(words, out, "--split", "test") == 2
    assert "classes.txt names other classes than what is to be converted (differing in " in capsys.readouterr().err
    assert files_below(out) == {name for name in before if "images/val" not in name}
    assert {path.name for path in out.iterdir()} == {"images", "masks", "classes.txt"}


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert convert(colours(tmp_path / "in", MAPS), tmp_path / "out") == 0
    assert len(masks_of(tmp_path / "out")) == 2


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_conversion_leaves_nothing(
    made: bool,
    error: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, out = colours(tmp_path / "in", MAPS), tmp_path / "out"
    if made:
        assert convert(words, out, "--split", "val") == 0
    before = files_below(tmp_path)

    def fail(_: np.ndarray, path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(converting, "_save", fail)
    assert convert(words, out) == (130 if error is KeyboardInterrupt else 1)
    told = capsys.readouterr().err
    assert "Interrupted" in told or f"{out} cannot be written" in told
    assert files_below(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"][: 1 + made]


def test_a_split_that_cannot_be_moved_in_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, out = colours(tmp_path / "in", MAPS), tmp_path / "out"
    assert convert(words, out, "--split", "val") == 0
    before = files_below(out)
    move = converting.into_place

    def once(beside: Path, final: Path) -> None:
        if final.parent.name == "images":  # the second
            raise KeyboardInterrupt
        move(beside, final)

    monkeypatch.setattr(converting, "into_place", once)
    assert convert(words, out) == 130
    assert files_below(out) == before
    assert not (out / "images" / "train").exists()


def test_images_that_are_turned_have_masks_of_their_upright_size(tmp_path: Path) -> None:
    words = coco_polygons(tmp_path / "in", {"a": IDS})
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", IDS.shape).save(tmp_path / "in" / "images" / "a.jpg", exif=exif)
    assert convert(words, tmp_path / "out") == 0
    np.testing.assert_array_equal(masks_of(tmp_path / "out")[0], IDS)


@pytest.mark.parametrize("kind", ["binary", "coco", "yolo"])
def test_pixels_without_a_label_can_be_ignored(kind: str, tmp_path: Path) -> None:
    write = {"binary": binary, "coco": coco_runs, "yolo": yolo}[kind]
    assert convert(write(tmp_path / "in", MAPS), tmp_path / "out", "--unlabelled", "ignore") == 0
    for found, ids in zip(masks_of(tmp_path / "out"), MAPS.values(), strict=True):
        np.testing.assert_array_equal(found, np.where(ids == 0, IGNORE, ids))


@pytest.mark.parametrize(("unknown", "value"), [("ignore", IGNORE), ("background", 0)])
def test_colours_without_a_name_can_be_something_else(unknown: str, value: int, tmp_path: Path) -> None:
    words = colours(tmp_path / "in", MAPS)
    (tmp_path / "in" / "labelmap.txt").write_text("name,r,g,b\ntree,0,0,142\nbackground,0,0,0\ntree,250,170,30\n")
    assert convert(words, tmp_path / "out", "--unknown", unknown) == 0
    assert (tmp_path / "out" / "classes.txt").read_text() == "background\ntree\n"
    np.testing.assert_array_equal(masks_of(tmp_path / "out")[0], np.array([0, 1, 1, value])[IDS])


def test_a_class_zero_is_added_where_there_is_no_background(tmp_path: Path) -> None:
    words = colours(tmp_path / "in", {"a": IDS})
    (tmp_path / "in" / "labelmap.txt").write_text("road 0 0 0\ncar 0 0 142\nlight #FAAA1E\ntree: 107,142,35\n")
    assert convert(words, tmp_path / "out") == 0
    assert (tmp_path / "out" / "classes.txt").read_text().split("\n") == [
        "background",
        "road",
        "car",
        "light",
        "tree",
        "",
    ]
    np.testing.assert_array_equal(masks_of(tmp_path / "out")[0], IDS + 1)


def test_masks_may_have_an_ending(tmp_path: Path) -> None:
    words = colours(tmp_path / "in", {"a": IDS})
    (tmp_path / "in" / "masks" / "a.png").rename(tmp_path / "in" / "masks" / "a_L.png")
    assert convert(words, tmp_path / "out", "--mask-ending", "_L") == 0
    np.testing.assert_array_equal(masks_of(tmp_path / "out")[0], IDS)


def test_later_binary_masks_lie_on_top_and_classes_can_be_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "in", {"a": IDS, "b": IDS})
    save(tmp_path / "in" / "masks" / "cat" / "a.png", np.full((3, 6), 1))
    save(tmp_path / "in" / "masks" / "dog" / "a.png", np.dstack([IDS * 0, IDS == 2, IDS * 0, IDS * 0]))  # RGBA
    save(tmp_path / "in" / "masks" / "eel" / "a.png", IDS)
    words = ["binary", "--images", f"{tmp_path}/in/images", "--masks", f"{tmp_path}/in/masks"]
    assert convert(words, tmp_path / "out", "--classes", "cat,dog") == 0
    assert "Images without a mask of any class: 1 of 2." in capsys.readouterr().out
    np.testing.assert_array_equal(masks_of(tmp_path / "out")[0], np.where(IDS == 2, 2, 1))
    assert convert(words, tmp_path / "other", "--classes", "dog,cat") == 0
    assert "No image holds dog." in capsys.readouterr().out
    assert not masks_of(tmp_path / "other")[1].any()


@pytest.mark.parametrize("white", [0, 1])
def test_a_mask_in_black_and_white_shows_what_is_white_wherever_its_palette_has_that(
    white: int, tmp_path: Path
) -> None:
    write_images(tmp_path / "in", {"a": IDS})
    file = tmp_path / "in" / "masks" / "cat" / "a.png"
    file.parent.mkdir(parents=True)
    drawn = Image.fromarray(np.where(IDS == 2, white, 1 - white).astype(np.uint8), mode="P")
    drawn.putpalette([255, 255, 255, 0, 0, 0] if white == 0 else [0, 0, 0, 255, 255, 255])
    drawn.save(file)
    assert (
        convert(["binary", "--images", f"{tmp_path}/in/images", "--masks", f"{tmp_path}/in/masks"], tmp_path / "o") == 0
    )
    np.testing.assert_array_equal(masks_of(tmp_path / "o")[0], IDS == 2)


def test_splits_that_two_conversions_make_at_the_same_time_are_both_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, out = colours(tmp_path / "in", MAPS), tmp_path / "out"
    assert convert(words, tmp_path / "other", "--split", "val") == 0
    save_mask = converting._save

    def meanwhile(labels: np.ndarray, path: Path) -> None:
        if not out.exists():  # what another process makes
            shutil.copytree(tmp_path / "other", out)
        save_mask(labels, path)

    monkeypatch.setattr(converting, "_save", meanwhile)
    assert convert(words, out) == 0
    assert len(masks_of(out, "train")) == len(masks_of(out, "val")) == 2
    assert {path.name for path in out.iterdir()} == {"images", "masks", "classes.txt"}
    shutil.rmtree(out)
    (tmp_path / "other" / "classes.txt").write_text("background\nbus\n")
    before = files_below(tmp_path / "other")
    assert convert(words, out) == 2  # of other classes
    assert files_below(out) == before


def change(words: list[str], act: Callable[[dict[str, Any]], object]) -> None:
    """Let ``act`` change the JSON file of a `coco` command."""
    file = Path(words[-1])
    document = json.loads(file.read_text())
    act(document)
    file.write_text(json.dumps(document))


SQUARE = [0, 0, 4, 0, 4, 3, 0, 3]


@pytest.mark.parametrize(
    ("more", "crowd", "flags", "expected"),
    [
        ({"segmentation": [SQUARE]}, 0, (), [1, 1, 2, 1, 0, 0]),  # smaller ones on top, whatever comes first
        ({"segmentation": [SQUARE]}, 1, (), [1, 1, 2, 1, 0, 0]),
        ({"segmentation": [SQUARE]}, 1, ("--crowd", "ignore"), [255, 255, 2, 255, 0, 0]),
        ({"segmentation": {"size": [3, 6], "counts": [0, 12, 6]}}, 1, (), [1, 1, 2, 1, 0, 0]),
        ({"segmentation": [], "bbox": [0, 0, 4, 3]}, 1, (), [255, 255, 2, 255, 0, 0]),
    ],
)
def test_objects_and_crowds_of_coco(
    more: dict[str, Any], crowd: int, flags: tuple[str, ...], expected: list[int], tmp_path: Path
) -> None:
    words = coco_polygons(tmp_path / "in", {"a": IDS})
    small = {"image_id": 0, "category_id": 20, "segmentation": [[2, 0, 3, 0, 3, 3, 2, 3]]}
    large = {"image_id": 0, "category_id": 10, "iscrowd": crowd, **more}
    change(words, lambda document: document.update(annotations=[small, large]))
    assert convert(words, tmp_path / "out", *flags) == 0
    assert masks_of(tmp_path / "out")[0].tolist() == [expected] * 3


def test_names_of_any_kind_are_one_line_and_no_path(tmp_path: Path) -> None:
    words = coco_polygons(tmp_path / "in", MAPS)
    names = ["../../etc/passwd", "two\nlines\ud800", "  bg "]
    categories = [{"id": 10 * index, "name": name} for index, name in enumerate(names, start=1)]
    change(words, lambda document: document.update(categories=categories))
    assert convert(words, tmp_path / "out") == 0
    assert (tmp_path / "out" / "classes.txt").read_text("utf-8") == "bg\n../../etc/passwd\ntwo lines?\n"
    np.testing.assert_array_equal(masks_of(tmp_path / "out")[0], np.array([0, 1, 2, 0])[IDS])


def test_images_without_objects_are_background(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = yolo(tmp_path / "in", MAPS)
    (tmp_path / "in" / "labels" / "a.txt").unlink()
    (tmp_path / "in" / "labels" / "classes.txt").write_text("car\n")
    assert convert(words, tmp_path / "out") == 0
    assert "Images without a label file, so without an object: 1 of 2." in capsys.readouterr().out
    assert not masks_of(tmp_path / "out")[0].any()


@pytest.mark.parametrize("content", ["car\ntraffic light\ntree\n", '["car", "traffic light", "tree"]'])
def test_names_may_be_in_a_text_file_or_json(content: str, tmp_path: Path) -> None:
    words = yolo(tmp_path / "in", MAPS)
    file = tmp_path / ("names.json" if content[0] == "[" else "classes.txt")
    file.write_text(content)
    assert convert([*words[:-1], str(file)], tmp_path / "out") == 0
    assert open_folder(tmp_path / "out", "train").classes == CLASSES


# --- what is wrong ----------------------------------------------------------------------------------------------------


def write(name: str, content: str) -> Callable[[Path], None]:
    return lambda root: Path(root / name).write_text(content)


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def paint_over(name: str, pixels: Any) -> Callable[[Path], None]:
    return lambda root: save(root / name, pixels)


def coco(part: str, index: int, **values: Any) -> Callable[[Path], None]:
    """Change an entry of the JSON file."""
    return lambda root: change([str(root / "coco.json")], lambda document: document[part][index].update(values))


Mistake = tuple[Callable[[Path, Any], list[str]], Callable[[Path], object], str]
MISTAKES: dict[str, Mistake] = {
    "no images": (colours, lambda root: shutil.rmtree(root / "images"), "images is not a folder: fix --images."),
    "no masks": (colours, lambda root: shutil.rmtree(root / "masks"), "masks is not a folder: fix --masks."),
    "no table": (
        colours,
        remove("labelmap.txt"),
        "labelmap.txt can't be read (No such file or directory): fix --table",
    ),
    "an empty table": (colours, write("labelmap.txt", "# nothing\n"), "labelmap.txt names no colours: it should have"),
    "no colour": (
        colours,
        write("labelmap.txt", "car 1 2\n"),
        "labelmap.txt, line 1: expected a name and a colour, got 'car 1 2'",
    ),
    "a bright colour": (
        colours,
        write("labelmap.txt", "a 0 0 0\nb 1 2 256"),
        "line 2: 'b 1 2 256' has a number above 255",
    ),
    "one colour twice": (
        colours,
        write("labelmap.txt", "a 0 0 1\nb #000001"),
        "line 2: 'b' has the colour of 'a'; give it its own.",
    ),
    "background alone": (colours, write("labelmap.txt", "bg 0 0 0"), "names no class beside the background: name one."),
    "too many colours": (
        colours,
        write("labelmap.txt", "\n".join(f"c{i} 0 0 {i}" for i in range(255))),
        "names 256 classes with the background: a mask holds 255 at most.",
    ),
    "an unknown colour": (
        colours,
        paint_over("masks/a.png", np.full((3, 6, 3), (9, 8, 7))),
        "masks/a.png has colours that {root}/labelmap.txt does not name (9 8 7 in 18 pixels): name them there, or say",
    ),
    "another size": (
        colours,
        paint_over("masks/a.png", np.zeros((3, 5, 3))),
        "masks/a.png has 5 x 3 pixels, its image {root}/images/a.jpg 6 x 3: give both the same size",
    ),
    "an image without a mask": (colours, remove("masks/a.png"), "1 image without a mask (a): put each mask at"),
    "a mask without an image": (colours, remove("images/a.jpg"), "1 mask without an image (a): put each image"),
    "a broken image": (colours, write("images/a.jpg", "<html>"), "images/a.jpg is not an image of a known format"),
    "images of one name": (
        colours,
        paint_over("images/a.png", np.zeros((3, 6))),
        "have the same name but for the suffix: rename or remove one.",
    ),
    "no folders of classes": (
        lambda root, maps: [*binary(root, maps)[:-1], str(root / "images" / "deep")],
        lambda _: None,
        "images/deep holds no folders: put the masks of each class into a folder that is called like it.",
    ),
    "a class without a folder": (
        lambda root, maps: [*binary(root, maps), "--classes", "tre"],
        lambda _: None,
        "There is no folder of a class 'tre' in {root}/masks; did you mean 'tree'?",
    ),
    "a binary mask of another size": (
        binary,
        paint_over("masks/tree/a.png", np.zeros((2, 2))),
        "masks/tree/a.png has 2 x 2 pixels, its image {root}/images/a.jpg 6 x 3",
    ),
    "a binary mask without an image": (
        binary,
        paint_over("masks/tree/c.png", np.zeros((2, 2))),
        "1 mask of 'tree' without an image (c): put their images below {root}/images",
    ),
    "broken JSON": (coco_runs, write("coco.json", '{"images": ['), "coco.json is not JSON (Expecting value"),
    "deep JSON": (coco_runs, write("coco.json", "[" * 99999), "coco.json is not JSON ("),
    "other JSON": (coco_runs, write("coco.json", '{"images": []}'), "should have a list `categories` of objects."),
    "no images listed": (
        coco_runs,
        lambda root: change([str(root / "coco.json")], lambda document: document.update(images=[])),
        "coco.json lists no images: fix --annotations.",
    ),
    "a path that escapes": (
        coco_runs,
        coco("images", 0, file_name="../a.jpg"),
        "lists image '../a.jpg', which is not a path below --images",
    ),
    "an absolute path": (coco_runs, coco("images", 0, file_name="/etc/a.jpg"), "which is not a path below --images"),
    "a Windows path that escapes": (coco_runs, coco("images", 0, file_name="..\\a.jpg"), "not a path below --images"),
    "a hidden image": (
        lambda root, _: coco_runs(root, {".hidden/a": IDS}),
        lambda _: None,
        "would not be found as .hidden/a.jpg: take leading dots out of its name.",
    ),
    "an image listed twice": (coco_runs, coco("images", 1, id=0), "image 'deep/b.jpg' without an `id` of its own"),
    "a file listed twice": (coco_runs, coco("images", 1, file_name="a.jpg", width=6), "has the name of another image"),
    "a missing image": (coco_runs, remove("images/a.jpg"), "1 image is missing (a.jpg): {root}/coco.json lists them"),
    "another kind of image": (
        coco_runs,
        lambda root: (
            (root / "images/a.jpg").rename(root / "images/a.gif") and coco("images", 0, file_name="a.gif")(root)
        ),
        "images/a.gif is not an image of a known kind (.bmp, ",
    ),
    "another size in the JSON": (
        coco_runs,
        coco("images", 0, width=3),
        "coco.json says that image 'a.jpg' has 3 x 3 pixels, but it has 6 x 3 (after its EXIF rotation)",
    ),
    "an unknown category": (coco_runs, coco("annotations", 0, category_id=7), "annotation 0 has the category 7, which"),
    "a category without a number": (
        coco_runs,
        coco("categories", 0, id="x"),
        "whose `id` is missing, repeated or not a number",
    ),
    "a category without a name": (
        coco_runs,
        coco("categories", 0, name=" "),
        "has a class without a name: give it one",
    ),
    "a category that is not text": (
        coco_runs,
        coco("categories", 0, name=3),
        'has the class name 3, which is a number: write it in quotes, as "3".',
    ),
    "an annotation of no image": (coco_runs, coco("annotations", 0, image_id=7), "1 annotation is of no image (0): "),
    "an odd polygon": (
        coco_polygons,
        coco("annotations", 0, segmentation=[[0, 0, 1, 0, 1, 1, 0]]),
        "annotation 0 has an outline of 7 numbers: it takes three points or more, each an x and a y.",
    ),
    "a line": (coco_polygons, coco("annotations", 0, segmentation=[[0, 0, 1, 0]]), "has an outline of 4 numbers"),
    "an endless polygon": (
        coco_polygons,
        coco("annotations", 0, segmentation=[[0, 0, 1e300, 0, 1, float("nan")]]),
        "has an outline that is not a list of numbers below 10000000",
    ),
    "a box": (coco_polygons, coco("annotations", 0, segmentation=[]), "annotation 0 has no outline (`segmentation`)"),
    "a crowd without anything": (
        coco_polygons,
        coco("annotations", 0, segmentation=[], iscrowd=1),
        "annotation 0 has neither an outline (`segmentation`) nor a box (`bbox`)",
    ),
    "runs of another size": (
        coco_runs,
        coco("annotations", 0, segmentation={"size": [6, 3], "counts": [18]}),
        "annotation 0 has runs for the size [6, 3], its image [3, 6].",
    ),
    "runs that are too long": (
        coco_runs,
        coco("annotations", 0, segmentation={"size": [3, 6], "counts": [10**30]}),
        "its image has 6 x 3.",
    ),
    "negative runs": (
        coco_runs,
        coco("annotations", 0, segmentation={"size": [3, 6], "counts": [-1, 19]}),
        "neither numbers nor COCO",
    ),
    **{
        f"broken runs {text!r}": (
            coco_runs,
            coco("annotations", 0, segmentation={"size": [3, 6], "counts": text}),
            "annotation 0 has run lengths",
        )
        for text in ("", "o", "ooooooooooooo0", "9", "ä", "\ud800", "0\x00")
    },
    "no labels": (yolo, lambda root: shutil.rmtree(root / "labels"), "labels is not a folder: fix --labels."),
    "no label files": (
        lambda root, maps: [*yolo(root, maps)[:4], f"{root}/images", "--names", f"{root}/data.yaml"],
        lambda _: None,
        "images holds no label files (.txt): fix --labels.",
    ),
    "a class out of range": (
        yolo,
        write("labels/a.txt", "0 0 0 1 0 1 1\n3 0 0 1 0 1 1\n"),
        "labels/a.txt, line 2, is of class 3, but {root}/data.yaml names only 0 to 2: add its name.",
    ),
    "a box of YOLO": (yolo, write("labels/a.txt", "0 .5 .5 1 1"), "line 1, is a box, not an outline"),
    "an odd outline": (yolo, write("labels/a.txt", "0 0 0 1 0 1 1 0"), "line 1, has an outline of 7 numbers"),
    "no number": (yolo, write("labels/a.txt", "car 0 0 1 0 1 1"), "is not a class's number and coordinates"),
    "pixels as coordinates": (yolo, write("labels/a.txt", "0 0 0 6 0 6 3"), "has coordinates beyond 0 to 1"),
    "not a number": (yolo, write("labels/a.txt", "0 0 0 nan 0 1 1"), "has an outline that is not a list of numbers"),
    "labels without an image": (yolo, write("labels/c.txt", ""), "1 label file without an image (c): "),
    "no YAML": (yolo, write("data.yaml", "names: [a, b"), "data.yaml is not YAML ("),
    "unsafe YAML": (yolo, write("data.yaml", "names: !!python/object/apply:os.getcwd []"), "data.yaml is not YAML ("),
    "YAML without names": (yolo, write("data.yaml", "nc: 3"), "data.yaml has no `names`"),
    "names that are none": (yolo, write("data.yaml", "names: 3"), "data.yaml names no classes"),
    "names by no number": (yolo, write("data.yaml", "names: {a: b}"), "data.yaml gives a class the number 'a'"),
    "yes and no": (
        yolo,
        write("data.yaml", "names: [yes, no, maybe]"),
        "has the class name True, which is not text: write it",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_one_message_and_leaves_nothing(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, act, told = MISTAKES[mistake]
    root = tmp_path / "in"
    words = make(root, MAPS)
    act(root)
    assert convert(words, tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert told.format(root=root) in message if "{root}" in told else told in message
    assert message.count("\n") == 1 or " problems:" in message
    assert "fault of sats" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--split", ".."], "A split is a folder, called something like train or val, not '..': fix --split."),
        (["--split", "a/b"], "not 'a/b': fix --split."),
        (["--out", "{root}/in"], "must not contain one another: choose another --out."),
        (["--out", "{root}/in/images/new"], "must not contain one another: choose another --out."),
        (["--out", "{root}/other"], "other holds something else (no classes.txt): name a new folder with --out."),
        (["--out", "{root}/in/labelmap.txt"], "labelmap.txt holds something else (no classes.txt)"),
    ],
)
def test_wrong_places(flags: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = colours(tmp_path / "in", MAPS)
    save(tmp_path / "other" / "a.png", IDS)
    before = files_below(tmp_path)
    assert convert(words, tmp_path / "out", *(flag.format(root=tmp_path) for flag in flags)) == 2
    assert told in capsys.readouterr().err
    assert files_below(tmp_path) == before


def test_all_problems_come_in_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = yolo(tmp_path / "in", {f"{number:02}": IDS for number in range(9)})
    for number in range(8):
        (tmp_path / "in" / "labels" / f"{number:02}.txt").write_text("9 0 0 1 0 1 1\n0 0 0 1\n")
    assert convert(words, tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "sats: What is to be converted has 16 problems:"
    assert lines[2].startswith(f"- {tmp_path}/in/labels/00.txt, line 2, has an outline of 3 numbers")
    assert len(lines) == 12
    assert lines[-1] == "and 6 more."


def test_help_and_unknown_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "convert", "--help"]) == 0
    told = capsys.readouterr().out
    for kind in ("colours", "binary", "coco", "yolo", "dataset"):
        assert f"\n  {kind} " in told
    assert max(map(len, told.splitlines())) <= 80
    assert main(["data", "convert", "cocoa", "--out", "x"]) == 2
    assert "There is no kind of labels 'cocoa'; did you mean 'coco'?" in capsys.readouterr().err


# --- regions ----------------------------------------------------------------------------------------------------------


def test_an_outline_holds_the_pixels_whose_centres_are_within() -> None:
    triangle = outlined(7, (points_of([0, 0, 4, 0, 0, 4], "it"),))
    assert paint([triangle], 4, 4, "background").tolist() == [[7, 7, 7, 0], [7, 7, 0, 0], [7, 0, 0, 0], [0, 0, 0, 0]]
    beyond = outlined(7, (points_of([-9, 1, 99, 1, 99, 2, -9, 2], "it"),))
    assert paint([beyond], 3, 2, "ignore").tolist() == [[255, 255], [7, 7], [255, 255]]
    outside = outlined(7, (points_of([-9, -9, -2, -9, -2, -2], "it"),))
    assert not paint([outside], 3, 2, "background").any()


def test_compressed_runs_as_coco_writes_them() -> None:
    region = in_runs(1, "01e5_1gJ000j1", (60, 7), "it")  # by pycocotools
    assert region.runs is not None
    assert region.runs.tolist() == [0, 1, 181, 48, 12, 48, 12, 48, 70]


@settings(max_examples=50, deadline=None)
@given(ids=arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_compressed_runs_are_what_pycocotools_writes(ids: np.ndarray) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    counts = mask.encode(np.asfortranarray(ids, dtype=np.uint8))["counts"].decode()
    height, width = ids.shape
    np.testing.assert_array_equal(paint([in_runs(1, counts, ids.shape, "it")], height, width, "background"), ids)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pycocotools with this numpy
@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 25), min_size=6, max_size=16).filter(lambda values: len(values) % 2 == 0))
def test_outlines_are_nearly_pycocotools_own(values: list[float]) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    theirs = mask.decode(mask.merge(mask.frPyObjects([values], 20, 20))).astype(bool)
    ours = paint([outlined(1, (points_of(values, "it"),))], 20, 20, "background").astype(bool)
    length = np.abs(np.diff(np.array([*values, *values[:2]]).reshape(-1, 2), axis=0)).sum()
    assert (theirs != ours).sum() <= 2 * length + 4  # pixels that the outline goes through


# --- Hugging Face datasets --------------------------------------------------------------------------------------------


def test_without_the_package_one_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sats.data.formats.dataset.find_spec", lambda _: None)
    assert convert(["dataset", "--data", "owner/data"], tmp_path / "out") == 2
    assert capsys.readouterr().err == "sats: Hugging Face datasets need one more package: pip install datasets\n"


def test_columns_of_class_labels_name_their_classes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    label = datasets.List(datasets.List(datasets.ClassLabel(names=list(CLASSES))))
    columns = {"photo": [{"bytes": png(np.zeros((3, 6))), "path": None}], "classes": [IDS.tolist()]}
    features = datasets.Features(photo=datasets.Image(), classes=label)
    (tmp_path / "in").mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "in" / "test.parquet")
    words = ["dataset", "--data", f"{tmp_path}/in", "--image-column", "photo", "--mask-column", "classes"]
    assert convert(words, tmp_path / "out", "--split", "val", "--from-split", "test") == 0
    np.testing.assert_array_equal(masks_of(tmp_path / "out", "val")[0], IDS)
    assert open_folder(tmp_path / "out", "val").classes == CLASSES


def test_a_data_set_of_coloured_masks(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "table.txt").write_text("bg 0 0 0\nx 1 1 1\ny 2 2 2\nz 3 3 3\n")
    words = parquet(tmp_path / "in", {"a": np.stack([IDS] * 3, axis=2)})[:-2]
    assert convert([*words, "--table", f"{tmp_path}/table.txt"], tmp_path / "out") == 0
    np.testing.assert_array_equal(masks_of(tmp_path / "out")[0], IDS)


def test_a_folder_of_images_with_metadata(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "in" / "train"
    save(folder / "photos" / "a.jpg", np.zeros((3, 6, 3)))
    save(folder / "masks" / "a.png", IDS)
    (folder / "metadata.jsonl").write_text('{"file_name": "photos/a.jpg", "label_file_name": "masks/a.png"}\n')
    words = ["dataset", "--data", f"{tmp_path}/in", "--classes", ",".join(CLASSES)]
    assert convert(words, tmp_path / "out") == 0
    np.testing.assert_array_equal(masks_of(tmp_path / "out")[0], IDS)
    assert (tmp_path / "out/images/train/000000.jpg").read_bytes() == (folder / "photos" / "a.jpg").read_bytes()


@pytest.mark.parametrize("flags", [[], ["--stream"]])
def test_a_data_set_on_the_hub(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    words = parquet(tmp_path / "in", MAPS)
    real = datasets.load_dataset_builder
    asked = []

    def fetch(name: str) -> Any:
        asked.append(name)
        return real(f"{tmp_path}/in/data", cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset_builder", fetch)
    assert convert(["dataset", "--data", "owner/data", *words[3:]], tmp_path / "out", *flags) == 0
    assert asked == ["owner/data"]
    for found, ids in zip(masks_of(tmp_path / "out"), MAPS.values(), strict=True):
        np.testing.assert_array_equal(found, ids)


def test_a_data_set_that_the_hub_does_not_give_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("datasets")
    assert convert(["dataset", "--data", "owner/data"], tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert told.startswith("sats: owner/data can't be read as a data set (")
    assert told.count("\n") == 1


def table(root: Path, **columns: list[Any]) -> None:
    """A Parquet file without a word on what its columns are."""
    from pyarrow import Table
    from pyarrow.parquet import write_table

    write_table(Table.from_pydict(columns), root / "data" / "train-00000-of-00001.parquet")


def cell(path: str) -> dict[str, Any]:
    return {"bytes": None, "path": path}


WRONG_DATA: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "no folder": (lambda root: shutil.rmtree(root / "data"), [], "a name on the hub looks like owner/data"),
    "no names": (lambda _: None, ["--names", "."], "the column 'label' of {root}/data does not name its classes"),
    "two kinds of names": (
        lambda _: None,
        ["--classes", "a,b"],
        "Only one of --table, --names and --classes can say",
    ),
    "an id without a name": (
        lambda root: (root / "id2label.json").write_text('{"0": "bg", "1": "car", "2": "x"}'),
        [],
        "{root}/data, train, row 0, mask holds ids that {root}/id2label.json does not name (3): name them, or say",
    ),
    "no such column": (
        lambda _: None,
        ["--mask-column", "x"],
        "it has no column 'x': name one of image, label with",
    ),
    "no such split": (
        lambda _: None,
        ["--split", "val"],
        "it has no split 'val': name one of train with --from-spl",
    ),
    "a broken file": (
        lambda root: (root / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1"),
        [],
        "data can't be read as a data set (",
    ),
    "another kind of file": (
        lambda root: (root / "data" / "train-00000-of-00001.parquet").rename(root / "data" / "train.csv"),
        [],
        "its files are neither Parquet nor Arrow nor a folder of images, which is all that is read",
    ),
    "a path out of the data": (
        lambda root: table(root, image=[cell(str(root / "secret.png"))], label=[cell(str(root / "secret.png"))]),
        [],
        "row 0, image is a path out of the data ({root}/secret.png): it was not followed.",
    ),
    "a path on the web": (
        lambda root: table(root, image=[cell("https://x.org/a.png")], label=[cell("https://x.org/a.png")]),
        [],
        "row 0, image is a path out of the data (https://x.org/a.png): it was not followed.",
    ),
    "a missing image": (
        lambda root: table(root, image=[3], label=[[[1]]]),
        [],
        "row 0, image is missing: fix --image-column or --mask-column.",
    ),
    "no ids": (
        lambda root: table(root, image=[png(IDS)], label=[[1, 2]]),
        [],
        "row 0, mask has no class ids: fix --mask-column, or say what its colours are with --table.",
    ),
    "a mask of two bits": (
        lambda root: table(root, image=[png(IDS)], label=[few_bits(IDS)]),
        [],
        "row 0, mask can't be read (it is greyscale of 2 bits, which readers scale: save 8)",
    ),
    "a mask of another size": (
        lambda root: table(root, image=[png(IDS)], label=[png(IDS[:2])]),
        [],
        "row 0, mask has 6 x 2 pixels, its image {root}/data, train, row 0, image 6 x 3: give both the same size",
    ),
}


@pytest.mark.parametrize("mistake", WRONG_DATA)
def test_wrong_data_sets(mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("datasets")
    act, flags, told = WRONG_DATA[mistake]
    root = tmp_path / "in"
    words = parquet(root, MAPS)
    save(root / "secret.png", IDS)
    act(root)
    assert convert(words, tmp_path / "out", *flags) == 2
    message = capsys.readouterr().err
    assert told.format(root=root) in message
    assert "fault of sats" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# --- `sats data check` recognises them --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["colours", "binary", "coco, runs", "yolo", "dataset, parquet", "dataset, saved"])
def test_check_says_what_a_folder_seems_to_be_and_the_command_works(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, package = FORMATS[name]
    if package:
        pytest.importorskip(package)
    words = write(tmp_path / "in", MAPS)
    root = Path(words[words.index("--data") + 1]) if "--data" in words else tmp_path / "in"
    capsys.readouterr()
    assert main(["data", "check", str(root)]) == 2
    told = capsys.readouterr().err
    command = told.partition(": sats data convert ")[2].removesuffix(" --out NEW\n").split()
    assert command[0] == words[0]
    assert convert(command + (words[3:] if package else []), tmp_path / "out") == 0
    assert len(masks_of(tmp_path / "out")) == 2


TREES = {
    "CVAT's masks": (
        ["JPEGImages/a.jpg", "SegmentationClass/a.png", "labelmap.txt"],
        "colours --images {root}/JPEGImages --masks {root}/SegmentationClass --table {root}/labelmap.txt",
    ),
    "CVAT's COCO": (
        ["images/a.jpg", "annotations/instances_default.json"],
        "coco --images {root}/images --annotations {root}/annotations/instances_default.json",
    ),
    "Label Studio's COCO": (
        ["images/a.jpg", "result.json"],
        "coco --images {root} --annotations {root}/result.json",
    ),
    "Roboflow's COCO": (
        ["train/a.jpg", "train/_annotations.coco.json", "valid/b.jpg"],
        "coco --images {root}/train --annotations {root}/train/_annotations.coco.json",
    ),
    "COCO itself": (
        ["train2017/a.jpg", "annotations/captions_train2017.json", "annotations/instances_train2017.json"],
        "coco --images {root}/train2017 --annotations {root}/annotations/instances_train2017.json",
    ),
    "Ultralytics' YOLO": (
        ["images/train/a.jpg", "labels/train/a.txt", "data.yaml"],
        "yolo --images {root}/images/train --labels {root}/labels/train --names {root}/data.yaml",
    ),
    "Roboflow's YOLO": (
        ["train/images/a.jpg", "train/labels/a.txt", "data.yaml", "README.txt"],
        "yolo --images {root}/train/images --labels {root}/train/labels --names {root}/data.yaml",
    ),
    "Label Studio's YOLO": (
        ["images/a.jpg", "labels/a.txt", "classes.txt", "notes.json"],
        "yolo --images {root}/images --labels {root}/labels --names {root}/classes.txt",
    ),
    "a clone of the hub": (["README.md", "data/train-00000-of-00001.parquet"], "dataset --data {root}"),
}


@pytest.mark.parametrize("tree", TREES)
def test_trees_that_tools_write_are_recognised(tree: str, tmp_path: Path) -> None:
    names, command = TREES[tree]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert recognise(tmp_path).endswith(f": sats data convert {command.format(root=tmp_path)} --out NEW")


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["images/train/a.jpg", "masks/trian/a.png", "classes.txt"],
        ["images/a.jpg", "masks/a.png", "classes.txt"],
        ["package.json", "labels.txt", "docs/a.txt"],
    ],
)
def test_other_trees_are_not(names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert not recognise(tmp_path)
    assert not recognise(tmp_path / "nothing")


def test_check_says_what_it_said_where_nothing_is_recognised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"sats: {tmp_path}/images is not a folder: {tmp_path} should hold images/<split>/")
    assert "convert" not in told


def test_coloured_masks_in_the_right_place_are_told_how_to_become_ids(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "images" / "train" / "a.jpg", np.zeros((3, 6, 3)))
    save(tmp_path / "masks" / "train" / "a.png", np.zeros((3, 6, 3)))
    (tmp_path / "classes.txt").write_text("bg\ncar\n")
    assert main(["data", "check", str(tmp_path)]) == 2
    assert "`sats data convert colours` makes such masks." in capsys.readouterr().out
