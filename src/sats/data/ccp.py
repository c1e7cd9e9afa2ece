"""Clothing Co-Parsing: street fashion, 59 classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats.data.layout import Layout, home_of
from sats.data.pairs import Place, pair_up

if TYPE_CHECKING:
    from pathlib import Path

    from sats.data.layout import Found

CLASSES = (
    "background", "accessories", "bag", "belt", "blazer", "blouse", "bodysuit", "boots", "bra", "bracelet", "cape",
    "cardigan", "clogs", "coat", "dress", "earrings", "flats", "glasses", "gloves", "hair", "hat", "heels", "hoodie",
    "intimate", "jacket", "jeans", "jumper", "leggings", "loafers", "necklace", "panties", "pants", "pumps", "purse",
    "ring", "romper", "sandals", "scarf", "shirt", "shoes", "shorts", "skin", "skirt", "sneakers", "socks",
    "stockings", "suit", "sunglasses", "sweater", "sweatshirt", "swimwear", "t-shirt", "tie", "tights", "top", "vest",
    "wallet", "watch", "wedges",
)  # fmt: skip


def _find(root: Path, split: str) -> Found:
    home = home_of(root, "masks", ("ccp",))
    return pair_up(Place(split, home / "images" / split, home / "masks" / split))


CCP = Layout(
    name="ccp",
    title="Clothing Co-Parsing",
    classes=CLASSES,
    has_background=True,
    splits={"train": 800, "val": 204},
    find=_find,
    tree="""\
DIR/images/train/0001.jpg    or all of it below DIR/ccp/
DIR/masks/train/0001.png     ids 0 to 58
DIR/images/val/..., DIR/masks/val/...    the 1,004 images with labelled pixels; no split of them is official""",
    origin="https://github.com/bearpaw/clothing-co-parsing (Apache-2.0); its pixel-level annotations are MATLAB files",
)
