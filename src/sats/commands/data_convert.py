"""``sats data convert``: the formats that people have, made into a folder of images, masks and class names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from sats.config import Names
from sats.errors import unknown
from sats.files import at_home
from sats.types import Crowd, Unknown, Void
from sats.words import count, names, shown, verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.data.formats.labelled import Labelled

NOT_SAID = Path()
"""Stands for a file that was not named."""
OtherFile = Annotated[Path, tyro.conf.arg(help_behavior_hint="(default: none)")]
"""A file that need not be named."""


@dataclass(frozen=True, kw_only=True)
class ConvertArguments(ABC):
    """What every kind is asked."""

    out: Path
    """The folder to make, or to add a split to."""
    split: str = "train"
    """The split that the images become."""

    @abstractmethod
    def inputs(self) -> tuple[Path, ...]:
        """The folders that are read, which --out must lie apart from."""

    @abstractmethod
    def read(self) -> Labelled:
        """The images and labels that are asked for."""


@dataclass(frozen=True, kw_only=True)
class Colours(ConvertArguments):
    """Convert masks whose colours stand for classes, such as CVAT's "Segmentation mask"."""

    images: Path
    """The folder of images."""
    masks: Path
    """The folder of masks: PNGs of the images' names and sizes."""
    table: Path
    """The colours: lines `name r g b`, `name,r,g,b`, `name #rrggbb`, or CVAT's labelmap.txt."""
    mask_ending: str = ""
    """What follows the image's name in that of its mask, as in 0001_L.png."""
    unknown: Unknown = "refuse"
    """What becomes of colours that the table does not have."""

    def inputs(self) -> tuple[Path, ...]:
        """Images and masks."""
        return self.images, self.masks

    def read(self) -> Labelled:
        """Read them."""
        from sats.data.formats.colours import read

        return read(self.images, self.masks, self.mask_ending, self.table, self.unknown)


@dataclass(frozen=True, kw_only=True)
class Binary(ConvertArguments):
    """Convert binary masks in a folder for each class: what is not zero is the class."""

    images: Path
    """The folder of images."""
    masks: Path
    """The folder that holds a folder of PNGs for each class."""
    classes: Names = ()
    """Only these, later ones on top of earlier ones. Default: all, in the order of the alphabet."""
    mask_ending: str = ""
    """What follows the image's name in those of its masks, as in 0001_mask.png."""
    unlabelled: Void = "background"
    """What pixels are that no mask shows."""

    def inputs(self) -> tuple[Path, ...]:
        """Images and masks."""
        return self.images, self.masks

    def read(self) -> Labelled:
        """Read them."""
        from sats.data.formats.binary import read

        return read(self.images, self.masks, self.mask_ending, self.classes, self.unlabelled)


@dataclass(frozen=True, kw_only=True)
class Coco(ConvertArguments):
    """Convert COCO's JSON, which CVAT, Label Studio and Roboflow export, too: smaller objects on top of larger ones."""

    images: Path
    """The folder that the file names in the JSON start from."""
    annotations: Path
    """The JSON file."""
    crowd: Crowd = "class"
    """What crowd regions (iscrowd) are; CVAT marks all brushed masks so. One that is only a box is ignored anyway."""
    unlabelled: Void = "background"
    """What pixels are that no object covers."""

    def inputs(self) -> tuple[Path, ...]:
        """Images."""
        return (self.images,)

    def read(self) -> Labelled:
        """Read them."""
        from sats.data.formats.coco import read

        return read(self.images, self.annotations, self.crowd, self.unlabelled)


@dataclass(frozen=True, kw_only=True)
class Yolo(ConvertArguments):
    """Convert YOLO's outlines, a text file for each image: smaller objects on top of larger ones."""

    images: Path
    """The folder of images."""
    labels: Path
    """The folder of text files, of the images' names."""
    names: Path
    """The classes: data.yaml, or a text file with a name a line."""
    unlabelled: Void = "background"
    """What pixels are that no object covers."""

    def inputs(self) -> tuple[Path, ...]:
        """Images and labels."""
        return self.images, self.labels

    def read(self) -> Labelled:
        """Read them."""
        from sats.data.formats.yolo import read

        return read(self.images, self.labels, self.names, self.unlabelled)


@dataclass(frozen=True, kw_only=True)
class Dataset(ConvertArguments):
    """Convert a Hugging Face data set of Parquet or Arrow files, or a folder of images with metadata."""

    data: str
    """A folder here, or a name on the hub (owner/data)."""
    from_split: str = ""
    """The split to read. Default: as --split."""
    image_column: str = "image"
    """The column of images."""
    mask_column: str = "label"
    """The column of masks."""
    names: OtherFile = NOT_SAID
    """The classes of the masks' ids: id2label.json, or a text file with a name a line."""
    classes: Names = ()
    """The classes of the masks' ids, from 0, instead."""
    table: OtherFile = NOT_SAID
    """For masks in colours: the table, as of `sats data convert colours`."""
    unknown: Unknown = "refuse"
    """What becomes of ids, or colours, without a name. The id 255 is always ignored."""
    stream: bool = False
    """From the hub: fetch row by row, keep no copy in the cache."""

    def inputs(self) -> tuple[Path, ...]:
        """The folder, if it is one."""
        folder = at_home(self.data)
        return (folder,) if folder.is_dir() else ()

    def read(self) -> Labelled:
        """Read them."""
        from sats.data.formats.dataset import Rows, read

        source = Rows(
            data=self.data,
            split=self.from_split or self.split,
            image_column=self.image_column,
            mask_column=self.mask_column,
            stream=self.stream,
        )
        return read(source, _said(self.table), _said(self.names), self.classes, self.unknown)


KINDS: dict[str, type[ConvertArguments]] = {
    "colours": Colours,
    "binary": Binary,
    "coco": Coco,
    "yolo": Yolo,
    "dataset": Dataset,
}
USAGE = """\
sats data convert KIND ... --out DIR [--split train]: make a data folder of

  colours --images DIR --masks DIR --table FILE   masks in colours (CVAT)
  binary  --images DIR --masks DIR                DIR/<class>/NAME.png
  coco    --images DIR --annotations FILE         JSON (CVAT, Label Studio)
  yolo    --images DIR --labels DIR --names FILE  outlines in text files
  dataset --data DIR|owner/data                   Hugging Face datasets

DIR gets images/<split>, masks/<split> and classes.txt; another run adds another
split. Masks of class indices (grey or palette PNGs) need no conversion.
`sats data convert KIND --help` lists the flags of one."""


def main(words: Sequence[str]) -> None:
    """Run ``sats data convert``."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return
    kind = words[0]
    if kind not in KINDS:
        raise ValueError(f"{unknown('kind of labels', kind, KINDS)} `sats data convert --help` explains them.")
    arguments = tyro.cli(
        KINDS[kind], args=words[1:], prog=f"sats data convert {kind}", config=(tyro.conf.FlagCreatePairsOff,)
    )
    run(_at_home(arguments))


def run(arguments: ConvertArguments) -> None:
    """Convert what was asked for, and say what came of it."""
    from sats.data.convert import check_place, convert

    out = arguments.out
    check_place(out, arguments.split, arguments.inputs())
    labelled = arguments.read()
    written = convert(labelled, out, arguments.split)
    for note in labelled.notes:
        print(verbatim(note))
    if written.absent:
        print(f"No image holds {names(written.absent)}.")
    print(f"{out}, split {arguments.split}: {count(written.images, 'image')}; {_classes(labelled)}.")
    print(f"Look at it: sats data show {out} --split {arguments.split}")


def _at_home(arguments: ConvertArguments) -> ConvertArguments:
    """The arguments with `~` as the home folder in every path."""
    values = {field.name: getattr(arguments, field.name) for field in fields(arguments)}
    paths: dict[str, Any] = {name: at_home(value) for name, value in values.items() if isinstance(value, Path)}
    return replace(arguments, **paths)


def _classes(labelled: Labelled) -> str:
    first, *others = labelled.classes
    return f"{count(len(others), 'class', 'classes')} ({names(others)}) and {shown(first)}"


def _said(file: Path) -> Path | None:
    return None if file == NOT_SAID else file
