"""ADE20K of the scene parsing challenge: 150 classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats.data.layout import Archive, Layout, home_of
from sats.data.pairs import Place, pair_up

if TYPE_CHECKING:
    from pathlib import Path

    from sats.data.layout import Found

CLASSES = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet",
    "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water",
    "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk",
    "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box", "column", "signboard",
    "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand", "path",
    "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway", "river", "bridge", "bookcase",
    "blind", "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove", "palm",
    "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus", "towel", "light",
    "truck", "tower", "chandelier", "awning", "streetlight", "booth", "television receiver", "airplane", "dirt track",
    "apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle", "buffet", "poster", "stage", "van",
    "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything", "swimming pool", "stool", "barrel",
    "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball", "food", "step", "tank", "trade name",
    "microwave", "pot", "animal", "bicycle", "lake", "dishwasher", "screen", "blanket", "sculpture", "hood", "sconce",
    "vase", "traffic light", "tray", "ashcan", "fan", "pier", "crt screen", "plate", "monitor", "bulletin board",
    "shower", "radiator", "glass", "clock", "flag",
)  # fmt: skip
FOLDERS = {"train": "training", "val": "validation"}


def _find(root: Path, split: str) -> Found:
    home = home_of(root, "annotations", ("ADEChallengeData2016",))
    folder = FOLDERS[split]
    return pair_up(Place(split, home / "images" / folder, home / "annotations" / folder))


ADE20K = Layout(
    name="ade20k",
    title="ADE20K",
    classes=("other", *CLASSES),
    has_background=True,
    splits={"train": 20_210, "val": 2_000},
    find=_find,
    tree="""\
DIR/images/training/ADE_train_00000001.jpg         or all of it below DIR/ADEChallengeData2016/
DIR/annotations/training/ADE_train_00000001.png    ids 1 to 150; 0 is "other", the background here
DIR/images/validation/..., DIR/annotations/validation/...""",
    origin="""\
ADEChallengeData2016.zip (1 GB): http://sceneparsing.csail.mit.edu/ (annotations BSD-3; images for
research and education)""",
    archives=(Archive(name="ADEChallengeData2016.zip", digest="sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7"),),
)
