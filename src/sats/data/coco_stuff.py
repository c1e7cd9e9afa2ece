"""COCO-Stuff on the 164,000 images of COCO 2017: 80 things and 91 stuff classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats.data.layout import Archive, Layout, first_folder
from sats.data.pairs import Place, pair_up
from sats.types import IGNORE

if TYPE_CHECKING:
    from pathlib import Path

    from sats.data.layout import Found

THINGS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
STUFFS = (
    "banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard", "carpet",
    "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard", "curtain", "desk-stuff",
    "dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood", "flower",
    "fog", "food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill", "house", "leaves",
    "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net", "paper", "pavement",
    "pillow", "plant-other", "plastic", "platform", "playingfield", "railing", "railroad", "river", "road", "rock",
    "roof", "rug", "salad", "sand", "sea", "shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs",
    "stone", "straw", "structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable",
    "wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood", "water-other",
    "waterdrops", "window-blind", "window-other", "wood",
)  # fmt: skip
UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""Ids of COCO's things that no image has: street sign, hat, shoe and others."""
RAW = tuple(index for index in range(182) if index not in UNUSED)


def _find(root: Path, split: str) -> Found:
    year = f"{split}2017"
    images = first_folder(root, (f"images/{year}", year), f"COCO's images of {year}")
    masks = first_folder(root, (f"annotations/{year}", f"stuffthingmaps/{year}"), "COCO-Stuff's masks")
    return pair_up(Place(split, images, masks))


COCO_STUFF = Layout(
    name="coco-stuff",
    title="COCO-Stuff",
    classes=(*THINGS, *STUFFS),
    has_background=False,
    splits={"train": 118_287, "val": 5_000},
    find=_find,
    ids={**{raw: place for place, raw in enumerate(RAW)}, IGNORE: IGNORE},
    tree="""\
DIR/images/train2017/000000000009.jpg         or DIR/train2017/
DIR/annotations/train2017/000000000009.png    or DIR/stuffthingmaps/train2017/: ids 0 to 181, 255 = unlabelled
DIR/images/val2017/..., DIR/annotations/val2017/...""",
    origin="""\
train2017.zip (18 GB), val2017.zip: https://cocodataset.org/ (images from flickr, under its terms)
stuffthingmaps_trainval2017.zip: https://github.com/nightrome/cocostuff (annotations CC BY 4.0)""",
    archives=(
        Archive(name="train2017.zip", into="images"),
        Archive(name="val2017.zip", into="images"),
        Archive(name="stuffthingmaps_trainval2017.zip", into="annotations"),
    ),
)
