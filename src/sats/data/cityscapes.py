"""Cityscapes: German streets, fine annotations of 19 classes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sats.data.layout import Archive, Layout, home_of, train_ids
from sats.data.pairs import Place, pair_up

if TYPE_CHECKING:
    from pathlib import Path

    from sats.data.index import Pair
    from sats.data.layout import Found

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
RAW = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids of CLASSES in files called labelIds; the others, up to 33, are not evaluated."""
LABELS = "_gtFine_labelIds"


HELD_OUT = 5
"""Where cities arrive, one of so many images of each is for testing."""


def _find(root: Path, split: str) -> Found:
    home = home_of(root, "gtFine", ("cityscapes",))
    masks = home / "gtFine" / split
    if not any(masks.glob(f"*/*{LABELS}.png")):
        raise ValueError(f"{masks} holds no masks called CITY/*{LABELS}.png: unpack gtFine_trainvaltest.zip there.")
    return pair_up(Place(split, home / "leftImg8bit" / split, masks, "_leftImg8bit", LABELS))


def _find_by_city(root: Path, split: str) -> Found:
    """The images of all cities, those of the official train and val, each city's parted anew; all their problems."""
    found = [_find(root, official) for official in ("train", "val")]
    by_city: dict[str, list[Pair]] = {}
    for pair in (pair for pairs, _ in found for pair in pairs):
        by_city.setdefault(pair.key.split("/")[1], []).append(pair)
    wanted = [
        pair
        for pairs in by_city.values()
        for place, pair in enumerate(pairs)
        if (place % HELD_OUT == HELD_OUT - 1) == (split == "val")
    ]
    return wanted, [problem for _, problems in found for problem in problems]


CITYSCAPES = Layout(
    name="cityscapes",
    title="Cityscapes",
    classes=CLASSES,
    has_background=False,
    splits={"train": 2_975, "val": 500},
    find=_find,
    ids=train_ids(RAW, range(34)),
    tree="""\
DIR/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png      or all of it below DIR/cityscapes/
DIR/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png       ids 0 to 33, of which 19 are classes
DIR/leftImg8bit/val/..., DIR/gtFine/val/...""",
    origin="""\
leftImg8bit_trainvaltest.zip (11 GB) and gtFine_trainvaltest.zip: https://www.cityscapes-dataset.com/ (after
registration; non-commercial use)""",
    archives=(Archive(name="leftImg8bit_trainvaltest.zip"), Archive(name="gtFine_trainvaltest.zip")),
)

CITYSCAPES_BY_CITY = dataclasses.replace(
    CITYSCAPES,
    name="cityscapes-cities",
    title="Cityscapes by city",
    splits={"train": 2_790, "val": 685},
    find=_find_by_city,
)
"""For streams of cities: all 21 have images to learn from and to test on, unlike in the official splits."""
