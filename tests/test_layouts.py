"""Every data set of the field, in a miniature of the layout that people have: read, counted, and broken."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sats.cli import main
from sats.data.arrivals import assign_images
from sats.data.layout import Layout, open_layout
from sats.data.layouts import LAYOUTS
from sats.data.pairs import PairsSource
from sats.data.protocol import class_groups
from sats.engine.run_folder import RunFolder
from sats.types import IGNORE, NOT_LEARNED_YET

pytestmark = pytest.mark.filterwarnings("ignore:.* images in its split")  # a miniature has few
SIZE = (32, 40)
NAMES = ("a/000001", "b/000002", "b/000003")
"""Of the images of each split; without their folder where a data set has none."""


def write(root: Path, image: str, mask: str, ids: tuple[int, ...], names: tuple[str, ...] = NAMES) -> None:
    """An image and a mask for each of ``names``; ids change from column to column, one block each."""
    blocks = np.repeat(np.array(ids, dtype=np.uint8), -(-SIZE[1] // len(ids)))[: SIZE[1]]
    for name in names:
        for path, picture in (
            (root / image.format(name), np.full((*SIZE, 3), 90, dtype=np.uint8)),
            (root / mask.format(name), np.tile(blocks, (SIZE[0], 1))),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)


FLAT = tuple(name.rpartition("/")[2] for name in NAMES)


def voc(root: Path) -> None:
    home = root / "VOCdevkit" / "VOC2012"
    for split, listed in (("train_aug", FLAT[:2]), ("val", FLAT[2:])):
        write(home, "JPEGImages/{}.jpg", "SegmentationClassAug/{}.png", (0, 1, 20, IGNORE), listed)
        (home / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (home / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(listed) + "\n")


def ade20k(root: Path) -> None:
    for split in ("training", "validation"):
        folder = f"ADEChallengeData2016/{{}}/{split}/{{}}"
        write(root, folder.format("images", "{}.jpg"), folder.format("annotations", "{}.png"), (0, 1, 150), FLAT)


def cityscapes(root: Path) -> None:
    for split in ("train", "val"):
        write(
            root,
            f"leftImg8bit/{split}/{{}}_leftImg8bit.png",
            f"gtFine/{split}/{{}}_gtFine_labelIds.png",
            (7, 33, 0, 29),
        )
        write(root, f"more/{split}/{{}}.png", f"gtFine/{split}/{{}}_gtFine_color.png", (1,))


def bdd100k(root: Path) -> None:
    for split in ("train", "val"):
        write(
            root,
            f"images/10k/{split}/{{}}.jpg",
            f"labels/sem_seg/masks/{split}/{{}}.png",
            (0, 18, IGNORE, IGNORE),
            FLAT,
        )


def camvid(root: Path) -> None:
    for split in ("train", "val", "test"):
        write(root, f"CamVid/{split}/{{}}.png", f"CamVid/{split}annot/{{}}.png", (0, 10, 11, 11), FLAT)


def coco_stuff(root: Path) -> None:
    for split in ("train2017", "val2017"):
        write(root, f"images/{split}/{{}}.jpg", f"annotations/{split}/{{}}.png", (0, 181, IGNORE, IGNORE), FLAT)


def ccp(root: Path) -> None:
    for split in ("train", "val"):
        write(root, f"images/{split}/{{}}.jpg", f"masks/{split}/{{}}.png", (0, 1, 58), FLAT)


def idd_lite(root: Path) -> None:
    for split in ("train", "val"):
        folder = f"idd20k_lite/{{}}/{split}/{{}}"
        write(
            root, folder.format("leftImg8bit", "{}_image.jpg"), folder.format("gtFine", "{}_label.png"), (0, 6, IGNORE)
        )


Miniature = tuple[Callable[[Path], None], str, str]
MINIATURES: dict[str, Miniature] = {  # how it is written; its first class and its last
    "voc": (voc, "aeroplane", "tvmonitor"),
    "ade20k": (ade20k, "wall", "flag"),
    "cityscapes": (cityscapes, "road", "bicycle"),
    "bdd100k": (bdd100k, "road", "bicycle"),
    "camvid": (camvid, "sky", "bicyclist"),
    "coco-stuff": (coco_stuff, "person", "wood"),
    "ccp": (ccp, "accessories", "wedges"),
    "idd-lite": (idd_lite, "drivable", "sky"),
}


@pytest.fixture(params=MINIATURES)  # Cityscapes by city: tests/test_domains.py
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    """A data set, whose miniature is in ``tmp_path``."""
    MINIATURES[request.param][0](tmp_path)
    return LAYOUTS[request.param]


def opened(layout: Layout, root: Path, split: str = "train", classes: tuple[str, ...] = ()) -> PairsSource:
    return open_layout(layout, root, split, classes)


def test_a_miniature_is_read(layout: Layout, tmp_path: Path) -> None:
    first, last = MINIATURES[layout.name][1:]
    for split in layout.splits:
        source = opened(layout, tmp_path, split)
        listed = {"train": 2, "val": 1}[split] if layout.name == "voc" else 3
        assert len(source) == listed
        assert source.key(0).startswith(f"{split}/")
        assert source.classes[0] == (layout.classes[0] if layout.has_background else NOT_LEARNED_YET)
        assert (source.classes[1], source.classes[-1]) == (first, last)
        mask = source.mask(0)
        expected = {1, len(source.classes) - 1}
        rest = {0} if layout.has_background else set()
        assert set(np.unique(mask)) - {IGNORE} == expected | rest
        if layout.name not in ("ade20k", "ccp"):
            assert IGNORE in mask
        assert source.presence()[:, [1, -1]].all()
        assert source.image(0).size == (SIZE[1], SIZE[0])


def test_another_number_of_images_is_warned_of(layout: Layout, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=rf"has {layout.splits['val']} images in its split val; .* has [13]\."):
        open_layout(layout, tmp_path, "val")


def test_classes_can_be_chosen(layout: Layout, tmp_path: Path) -> None:
    first, last = MINIATURES[layout.name][1:]
    source = opened(layout, tmp_path, classes=(last,))
    assert source.classes[1:] == (last,)
    assert set(np.unique(source.mask(0))) - {IGNORE} == {0, 1}
    with pytest.raises(ValueError, match=f"did you mean '{first}'"):
        opened(layout, tmp_path, classes=(first + "x",))


def test_a_missing_mask_and_a_strange_id_are_named(layout: Layout, tmp_path: Path) -> None:
    source = opened(layout, tmp_path)
    masks = [Path(path) for path in source._masks]
    Image.fromarray(np.full(SIZE, 200, dtype=np.uint8)).save(masks[0])
    with pytest.raises(ValueError, match=rf"{masks[0].name} holds the id 200, which {layout.title[:5]}"):
        open_layout(layout, tmp_path, "train")
    masks[0].unlink()
    with pytest.raises(ValueError, match="1 image without a mask"):
        open_layout(layout, tmp_path, "train")


def test_another_folder_and_another_split_are_refused(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"(is not a folder|no such folder)"):
        open_layout(layout, tmp_path / "empty", "train")
    with pytest.raises(ValueError, match=r"name the one that holds .*\n.*DIR/"):
        open_layout(layout, tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="has no split 'trian': use one of train, val"):
        open_layout(layout, tmp_path, "trian")


@pytest.mark.parametrize("lines", ["{}\n", "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png\n"])
@pytest.mark.parametrize("folder", ["ImageSets/Segmentation", "splits", "."])
def test_vocs_lists_of_any_kind(folder: str, lines: str, tmp_path: Path) -> None:
    write(tmp_path, "JPEGImages/{}.jpg", "SegmentationClassAug/{}.png", (0, 1), FLAT)
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / "val.txt").write_text(lines.format(FLAT[2]))
    assert [source.key(0) for source in (opened(LAYOUTS["voc"], tmp_path, "val"),)] == [f"val/{FLAT[2]}"]
    assert len(opened(LAYOUTS["voc"], tmp_path)) == 2  # every mask that is not in val.txt
    (tmp_path / folder / "train_aug.txt").write_text(lines.format(FLAT[0]))
    assert opened(LAYOUTS["voc"], tmp_path).key(0) == f"train/{FLAT[0]}"
    (tmp_path / folder / "train_aug.txt").write_text(lines.format(FLAT[0]) + lines.format("2007_999999"))
    with pytest.raises(ValueError, match=r"1 listed image is missing \(2007_999999\)"):
        open_layout(LAYOUTS["voc"], tmp_path, "train")


def test_voc_without_sbds_masks_says_what_to_fetch(tmp_path: Path) -> None:
    write(tmp_path, "JPEGImages/{}.jpg", "SegmentationClass/{}.png", (0, 1), FLAT)
    (tmp_path / "val.txt").write_text(FLAT[0])
    assert len(opened(LAYOUTS["voc"], tmp_path, "val")) == 1
    with pytest.raises(ValueError, match=r"SegmentationClassAug is missing.*SegmentationClassAug.zip"):
        open_layout(LAYOUTS["voc"], tmp_path, "train")


def test_a_preset_trains_on_the_archives_as_they_are(tmp_path: Path) -> None:
    voc(tmp_path)
    words = (
        f"train voc-15-5 --method finetune --data {tmp_path} --model.name segformer-tiny --model.weights= --epochs 1"
    )
    small = "--crop 32 --batch-size 2 --train.precision no --evaluation.mode full --classes"
    names = "aeroplane,tvmonitor"
    steps = ["--stream.steps", "aeroplane", "tvmonitor"]
    assert main([*words.split(), *small.split(), names, *steps, "--out", str(tmp_path / "run")]) == 0
    assert RunFolder(tmp_path / "run").scores()[1].classes == ("background", "aeroplane", "tvmonitor")


# --- counts -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ade() -> NDArray[np.bool_]:
    """Which of ADE20K's 150 classes each of the 20,210 training images holds."""
    text = gzip.decompress((Path(__file__).parent / "fixtures" / "ade_train_classes.txt.gz").read_bytes()).decode()
    rows = [[int(word) for word in line.split()[1:]] for line in text.splitlines()]
    presence = np.zeros((len(rows), 151), dtype=bool)
    for row, classes in enumerate(rows):
        presence[row, classes] = True
    return presence


ADE_COUNTS = {  # overlapped, computed once from the class lists and frozen
    "100-50": [20192, 9390],
    "100-10": [20192, 1710, 2294, 2747, 4279, 2844],
    "100-5": [20192, 1142, 600, 1234, 1204, 1151, 1874, 1807, 2943, 1238, 1898],
    "50-50": [20177, 13186, 9390],
    "50-10": [20177, 3853, 4522, 2335, 6481, 3299, 1710, 2294, 2747, 4279, 2844],
    "25-25": [20147, 13187, 8261, 9043, 4443, 7027],
    "10-10": [19932, 16237, 10554, 7698, 7212, 3853, 4522, 2335, 6481, 3299, 1710, 2294, 2747, 4279, 2844],
}


@pytest.mark.parametrize("protocol", ADE_COUNTS)
def test_ade20ks_protocols_have_the_counts_of_its_class_lists(ade: NDArray[np.bool_], protocol: str) -> None:
    groups = class_groups(LAYOUTS["ade20k"].classes, protocol, (), (), None)
    assert len(ade) == 20_210
    assert [len(images) for images in assign_images(ade, groups, "overlapped")] == ADE_COUNTS[protocol]


def test_the_data_page_has_every_layout() -> None:
    page = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    for layout in LAYOUTS.values():
        assert f"| `{layout.name}` |" in page
        for count in layout.splits.values():
            assert f"{count:,}" in page
        assert "\n".join(f"    {line}" for line in layout.tree.splitlines()) in page
