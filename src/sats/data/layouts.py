"""Every data set that is known by name, and how one is opened. A new one is a file and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sats.data.ade20k import ADE20K
from sats.data.bdd100k import BDD100K
from sats.data.camvid import CAMVID
from sats.data.ccp import CCP
from sats.data.cityscapes import CITYSCAPES, CITYSCAPES_BY_CITY
from sats.data.coco_stuff import COCO_STUFF
from sats.data.folder import open_folder
from sats.data.idd_lite import IDD_LITE
from sats.data.layout import open_layout
from sats.data.voc import VOC
from sats.errors import unknown

if TYPE_CHECKING:
    from pathlib import Path

    from sats.data.layout import Layout
    from sats.data.pairs import PairsSource
    from sats.types import HasBackground, OnError

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (VOC, ADE20K, CITYSCAPES, CITYSCAPES_BY_CITY, BDD100K, CAMVID, COCO_STUFF, CCP, IDD_LITE)
}
OWN: Final = "folder"
"""The name of everybody's own data."""


def check_name(name: str) -> None:
    """ValueError, with the nearest right name, if there is no data set called ``name``."""
    if name not in (OWN, *LAYOUTS):
        raise ValueError(unknown("data set", name, [OWN, *LAYOUTS]))


def open_data(
    name: str,
    root: Path,
    split: str,
    classes: tuple[str, ...] = (),
    has_background: HasBackground = "auto",
    rebuild_index: bool = False,
    on_error: OnError = "error",
) -> PairsSource:
    """One split of the data set called ``name`` in ``root``; see `open_folder` and `open_layout`.

    What ``has_background`` says counts for everybody's own data alone: of the others it is known.
    """
    check_name(name)
    if name == OWN:
        return open_folder(root, split, classes, has_background, rebuild_index, on_error)
    return open_layout(LAYOUTS[name], root, split, classes, rebuild_index, on_error)
