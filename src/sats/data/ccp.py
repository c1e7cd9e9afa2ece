"""Clothing Co-Parsing: street fashion, 59 classes."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sats.data.layout import Archive, Layout, home_of
from sats.data.pairs import Place, pair_up
from sats.files import building, saving
from sats.progress import progress_bar

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sats.data.layout import Found

CLASSES = (
    "background", "accessories", "bag", "belt", "blazer", "blouse", "bodysuit", "boots", "bra", "bracelet", "cape",
    "cardigan", "clogs", "coat", "dress", "earrings", "flats", "glasses", "gloves", "hair", "hat", "heels", "hoodie",
    "intimate", "jacket", "jeans", "jumper", "leggings", "loafers", "necklace", "panties", "pants", "pumps", "purse",
    "ring", "romper", "sandals", "scarf", "shirt", "shoes", "shorts", "skin", "skirt", "sneakers", "socks",
    "stockings", "suit", "sunglasses", "sweater", "sweatshirt", "swimwear", "t-shirt", "tie", "tights", "top", "vest",
    "wallet", "watch", "wedges",
)  # fmt: skip


ARCHIVE = "clothing-co-parsing-master"
TESTED = 204
"""Images to test on; there is no official split."""


def _find(root: Path, split: str) -> Found:
    home = home_of(root, "masks", ("ccp",))
    return pair_up(Place(split, home / "images" / split, home / "masks" / split))


def convert(root: Path) -> None:
    """Make ccp/ of the photos and the MATLAB files in what GitHub gives of the data set, all of it or nothing.

    ValueError if it is there already, a file is no annotation, or its photo is missing.
    """
    home = root / ARCHIVE
    made = root / "ccp"
    if made.exists():
        raise ValueError(f"{made} is there already, and nothing is replaced: choose another --out.")
    annotations = sorted((home / "annotations" / "pixel-level").glob("*.mat"))
    if not annotations:
        raise ValueError(f"{home / 'annotations' / 'pixel-level'} holds no .mat files: unpack {ARCHIVE}.zip again.")
    photos = {path: home / "photos" / f"{path.stem}.jpg" for path in annotations}
    for photo in photos.values():
        if not photo.is_file():
            raise ValueError(f"{photo} is missing: unpack {ARCHIVE}.zip again.")
    tested = set(sorted(annotations, key=lambda path: hashlib.sha256(path.stem.encode()).digest())[:TESTED])
    with saving(made), building(made) as beside:
        for path, photo in progress_bar(photos.items(), "converting masks", len(photos)):
            split = "val" if path in tested else "train"
            for part in ("images", "masks"):
                (beside / part / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(_mask(path)).save(beside / "masks" / split / f"{path.stem}.png")
            shutil.copyfile(photo, beside / "images" / split / photo.name)


def _mask(path: Path) -> NDArray[np.uint8]:
    """The class of every pixel, as an annotation has it."""
    from scipy.io import loadmat  # a quarter of a second that no other data set needs
    from scipy.io.matlab import MatReadError

    try:
        found = np.asarray(loadmat(path, variable_names="groundtruth")["groundtruth"])
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError, MatReadError) as error:
        raise ValueError(f"{path} cannot be read as an annotation ({error}): unpack the archive again.") from error
    if found.ndim != 2 or found.dtype != np.uint8 or found.max(initial=0) >= len(CLASSES):
        raise ValueError(f"{path} is not a mask of ids 0 to {len(CLASSES) - 1}: unpack the archive again.")
    return found


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
    origin="""\
clothing-co-parsing-master.zip, as GitHub gives https://github.com/bearpaw/clothing-co-parsing (Apache-2.0); its
pixel-level annotations are MATLAB files, which `sats data prepare` makes masks of""",
    archives=(Archive(name=f"{ARCHIVE}.zip"),),
    finish=convert,
)
