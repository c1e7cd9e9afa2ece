"""``sats data show``: a data set before anybody trains on it, in pictures and in figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from sats.commands.data_check import step_table
from sats.config import Names, StreamConfig
from sats.evaluation.table import show
from sats.files import at_home
from sats.progress import progress_bar
from sats.types import BACKGROUND, IGNORE, HasBackground, Increment, Setting
from sats.words import NOTHING, count, names, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sats.data.pairs import PairsSource

MOST_IMAGES = 64
"""Images on a sheet; of more, nobody would see anything."""
MOST_MEASURED = 200
"""Masks that are read for the classes' share of the pixels; more of them change little."""


@dataclass(frozen=True, kw_only=True)
class ShowArguments:
    """Draw images of a data set with their masks; say how much there is of each class."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """The folder that holds the data."""
    source: str = "folder"
    """The kind of data: "folder" (images/, masks/, classes.txt), or a name from `sats data list`."""
    split: str = "train"
    """The split to look at."""
    classes: Names = ()
    """Only these classes; the rest is background."""
    has_background: HasBackground = "auto"
    """Whether class 0 is a background; "auto" goes by its name."""
    images: int = 12
    """How many images to draw, 64 at most. They show every class, if so many can."""
    protocol: str = ""
    """A-B: also show the images of each step."""
    setting: Setting = "overlapped"
    """Which images a step sees."""
    of: Increment = "classes"
    """What arrives: classes, or domains (folders of images)."""
    seed: int = 0
    """Seed for choosing the images."""
    out: Path = Path("contact-sheet.png")
    """The PNG to write."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    arguments = tyro.cli(ShowArguments, args=words, prog="sats data show", config=(tyro.conf.FlagCreatePairsOff,))
    check(arguments)
    source = open_source(arguments)
    tables = []
    if arguments.protocol:
        stream = StreamConfig(protocol=arguments.protocol, setting=arguments.setting, of=arguments.of)
        tables.append(step_table(source, stream))
    chosen = write_sheet(arguments, source)
    show(class_table(source, arguments.split, arguments.seed), *tables)
    print(sentences(arguments, source, chosen))


def check(arguments: ShowArguments) -> None:
    """ValueError for what cannot be drawn or written, before the data are read."""
    out = at_home(arguments.out)
    if not 1 <= arguments.images <= MOST_IMAGES:
        raise ValueError(f"A sheet shows 1 to {MOST_IMAGES} images, not {arguments.images}: fix --images.")
    if arguments.seed < 0:
        raise ValueError(f"A seed is not negative, got {arguments.seed}: fix --seed.")
    if out.is_dir():
        raise ValueError(f"{out} is a folder: name the file to write with --out FILE.png.")
    if out.suffix.lower() != ".png":
        raise ValueError(f"{out} does not end in .png: name the file to write with --out FILE.png.")


def open_source(arguments: ShowArguments) -> PairsSource:
    """The split that was asked for; ValueError if it is none, or anything is wrong with it."""
    from sats.data.layouts import open_data

    root = at_home(arguments.folder)
    return open_data(arguments.source, root, arguments.split, arguments.classes, arguments.has_background)


def write_sheet(arguments: ShowArguments, source: PairsSource) -> list[int]:
    """Draw some images of the source and write the sheet; tells which they are."""
    from sats.evaluation.contact_sheet import choose, contact_sheet, reduced
    from sats.files import replacing

    foreground = source.presence()[:, BACKGROUND + 1 :]
    chosen = sorted(choose(foreground, arguments.images, arguments.seed))
    samples = []
    for index in progress_bar(chosen, "reading images", len(chosen)):
        image, labels = reduced(source.image(index), source.mask(index))
        samples.append((image, (labels,), source.key(index)))
    sheet = contact_sheet(samples, source.classes)
    out = at_home(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as beside:
        sheet.save(beside, format="PNG")
    return chosen


def class_table(source: PairsSource, split: str, seed: int) -> Table:
    """The colour of each class on the sheet, the images that hold it, and its share of the pixels of some masks."""
    from sats.evaluation.overlay import palette

    shares, measured = pixel_shares(source, seed)
    where = "all of them" if measured == len(source) else f"{measured} of them"
    title = f"Classes in {split}: {count(len(source), 'image')},\npixels measured on {where}"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("")
    table.add_column("class", overflow="fold")
    table.add_column("images", justify="right")
    table.add_column("pixels, %", justify="right")
    for index, (name, images) in enumerate(zip(source.classes, source.presence().sum(axis=0), strict=True)):
        red, green, blue = palette()[index]
        swatch = "" if index == BACKGROUND else f"[rgb({red},{green},{blue})]■[/]"
        table.add_row(swatch, escape(shown(name)), str(images) if images else "[red]none[/red]", percent(shares[index]))
    if shares[IGNORE]:
        table.add_row("", "(not labelled)", "", percent(shares[IGNORE]))
    return table


def pixel_shares(source: PairsSource, seed: int) -> tuple[NDArray[np.float64], int]:
    """The share of each class index [256] in the pixels of some masks, drawn by ``seed``, and how many masks."""
    import numpy as np

    measured = min(MOST_MEASURED, len(source))
    drawn = np.random.default_rng(seed).choice(len(source), measured, replace=False)
    pixels = np.zeros(256, dtype=np.int64)
    for index in progress_bar(sorted(drawn.tolist()), "measuring masks", measured):
        pixels += np.bincount(source.mask(index).ravel(), minlength=256)
    return pixels / pixels.sum(), measured


def percent(share: float) -> str:
    """A share as percent with two decimals, or a dash: what is rare is told from what is not there."""
    if not share:
        return NOTHING
    return "<0.01" if share < 0.00005 else f"{100 * share:.2f}"


def sentences(arguments: ShowArguments, source: PairsSource, chosen: Sequence[int]) -> str:
    """Where the sheet is, and what cannot be seen on it."""
    import numpy as np

    from sats.evaluation.contact_sheet import unwritable

    presence = source.presence()[:, BACKGROUND + 1 :]
    lacking = np.flatnonzero(presence.any(axis=0) & ~presence[chosen].any(axis=0)) + BACKGROUND + 1
    lines = [f"{count(len(chosen), 'image')} of {len(source)}: {at_home(arguments.out)}"]
    if len(lacking):
        who = names(source.classes[index] for index in lacking)
        lines.append(f"Not on the sheet: {who}. More images show more (--images, {MOST_IMAGES} at most).")
    if boxes := unwritable(source.classes):
        lines.append(f"No font here can write {names(boxes)}: install one that can (DejaVu, Noto).")
    return "\n".join(lines)
