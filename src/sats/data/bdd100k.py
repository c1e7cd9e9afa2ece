"""BDD100K's semantic segmentation: streets of the USA, with Cityscapes' classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats.data.cityscapes import CLASSES
from sats.data.layout import Archive, Layout, home_of
from sats.data.pairs import Place, pair_up
from sats.types import IGNORE

if TYPE_CHECKING:
    from pathlib import Path

    from sats.data.layout import Found


def _find(root: Path, split: str) -> Found:
    home = home_of(root, "labels/sem_seg/masks", ("bdd100k",))
    return pair_up(Place(split, home / "images" / "10k" / split, home / "labels" / "sem_seg" / "masks" / split))


BDD100K = Layout(
    name="bdd100k",
    title="BDD100K (semantic segmentation)",
    classes=CLASSES,
    has_background=False,
    splits={"train": 7_000, "val": 1_000},
    find=_find,
    ids={**{index: index for index in range(len(CLASSES))}, IGNORE: IGNORE},
    tree="""\
DIR/images/10k/train/0004a4c0-d4dff0ad.jpg               or all of it below DIR/bdd100k/
DIR/labels/sem_seg/masks/train/0004a4c0-d4dff0ad.png     ids 0 to 18, 255 = not evaluated
DIR/images/10k/val/..., DIR/labels/sem_seg/masks/val/...""",
    origin="""\
bdd100k_images_10k.zip and bdd100k_sem_seg_labels_trainval.zip: https://bdd-data.berkeley.edu/ (after registration;
research and non-commercial use)""",
    archives=(Archive(name="bdd100k_images_10k.zip"), Archive(name="bdd100k_sem_seg_labels_trainval.zip")),
)
