"""PASCAL VOC 2012 with SBD's masks: the field's first benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats.data.layout import Archive, Layout, home_of
from sats.data.pairs import Place, pair_up

if TYPE_CHECKING:
    from pathlib import Path

    from sats.data.layout import Found

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
LISTS = ("ImageSets/Segmentation", "ImageSets/SegmentationAug", "splits", "list", ".")
NAMES = {"train": ("train_aug.txt", "trainaug.txt"), "val": ("val.txt",)}
AUGMENTED = "SegmentationClassAug"
"""The masks of SBD and VOC together, as all codes of the field have them."""


def _find(root: Path, split: str) -> Found:
    """Training images are the listed ones, or those with a mask that are not in the list of test images."""
    home = home_of(root, "JPEGImages", ("VOC2012", "VOCdevkit/VOC2012"))
    names = _listed(home, split)
    augmented = home / AUGMENTED
    if split == "train" and not augmented.is_dir():
        raise ValueError(
            f"{augmented} is missing: most of the 10,582 training images of the field have their masks from SBD. Fetch "
            "SegmentationClassAug.zip and unpack it there; `sats data prepare voc` says how."
        )
    if split == "train" and names is None:
        names = {path.stem for path in augmented.glob("*.png")} - (_listed(home, "val") or set())
    if names is None:
        raise ValueError(f"{home / LISTS[0] / 'val.txt'} is missing: it lists the test images.")
    masks = augmented if augmented.is_dir() else home / "SegmentationClass"
    return pair_up(Place(split, home / "JPEGImages", masks), names)


def _listed(home: Path, split: str) -> set[str] | None:
    """The images that a split's list names, by id or by the paths of image and mask; None where there is no list."""
    for folder in LISTS:
        for name in NAMES[split]:
            file = home / folder / name
            if file.is_file():
                lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
                return {words[0].rpartition("/")[2].removesuffix(".jpg") for words in lines}
    return None


VOC = Layout(
    name="voc",
    title="PASCAL VOC 2012",
    classes=("background", *CLASSES),
    has_background=True,
    splits={"train": 10_582, "val": 1_449},
    find=_find,
    tree="""\
DIR/JPEGImages/2007_000032.jpg               or all of it below DIR/VOCdevkit/VOC2012/
DIR/SegmentationClassAug/2007_000032.png     VOC's and SBD's masks: ids 0 to 20, 255 = void
DIR/ImageSets/Segmentation/train_aug.txt     without it: every mask that val.txt does not list
DIR/ImageSets/Segmentation/val.txt""",
    origin="""\
VOCtrainval_11-May-2012.tar (2 GB): http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (images under flickr's terms)
SegmentationClassAug.zip: SBD's masks in VOC's colours, shared by several segmentation codes, DeepLab's among them;
made from SBD, http://home.bharathh.info/pubs/codes/SBD/download.html (research use)""",
    archives=(
        Archive(name="VOCtrainval_11-May-2012.tar", digest="md5:6cd6e144f989b92b3379bac3b3de84fd"),
        Archive(name="SegmentationClassAug.zip", into="VOCdevkit/VOC2012"),
    ),
)
