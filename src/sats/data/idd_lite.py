"""IDD-Lite: driving in India, seven classes, small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats.data.layout import Archive, Layout, home_of
from sats.data.pairs import Place, pair_up

if TYPE_CHECKING:
    from pathlib import Path

    from sats.data.layout import Found

CLASSES = ("drivable", "non-drivable", "living-things", "vehicles", "roadside-objects", "far-objects", "sky")


def _find(root: Path, split: str) -> Found:
    home = home_of(root, "gtFine", ("idd20k_lite",))
    return pair_up(Place(split, home / "leftImg8bit" / split, home / "gtFine" / split, "_image", "_label"))


IDD_LITE = Layout(
    name="idd-lite",
    title="IDD-Lite",
    classes=CLASSES,
    has_background=False,
    splits={"train": 1_403, "val": 204},
    find=_find,
    tree="""\
DIR/leftImg8bit/train/0/024541_image.jpg    or all of it below DIR/idd20k_lite/
DIR/gtFine/train/0/024541_label.png         ids 0 to 6, 255 = not evaluated
DIR/leftImg8bit/val/..., DIR/gtFine/val/...""",
    origin="idd-lite.tar.gz: https://idd.insaan.iiit.ac.in/ (after registration; research use)",
    archives=(Archive(name="idd-lite.tar.gz"),),
)
