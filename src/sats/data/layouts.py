"""Every data set of the field that is known by name. A new one is a file and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats.data.ade20k import ADE20K
from sats.data.camvid import CAMVID
from sats.data.ccp import CCP
from sats.data.cityscapes import BDD100K, CITYSCAPES
from sats.data.coco_stuff import COCO_STUFF
from sats.data.idd_lite import IDD_LITE
from sats.data.voc import VOC

if TYPE_CHECKING:
    from sats.data.layout import Layout

LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (VOC, ADE20K, CITYSCAPES, BDD100K, CAMVID, COCO_STUFF, CCP, IDD_LITE)
}
