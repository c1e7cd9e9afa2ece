"""``sats data prepare`` and ``sats data list``: the data sets of the field, from their archives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sats.errors import unknown
from sats.files import at_home
from sats.progress import bytes_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.data.layout import Archive, Layout


@dataclass(frozen=True, kw_only=True)
class PrepareArguments:
    """Unpack the archives of a data set. Nothing is downloaded."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Which; `sats data list` has them."""
    archives: Annotated[tuple[Path, ...], tyro.conf.arg(name="from", metavar="FILE...")] = ()
    """The archives as they were published. Without any: where to get them, and under what terms."""
    out: Path = Path()
    """The folder to unpack into. Default: NAME, here."""


def main(words: Sequence[str]) -> None:
    """Run ``sats data prepare``."""
    arguments = tyro.cli(PrepareArguments, args=words, prog="sats data prepare")
    from sats.data.layouts import LAYOUTS

    if arguments.name not in LAYOUTS:
        raise ValueError(unknown("data set", arguments.name, LAYOUTS))
    layout = LAYOUTS[arguments.name]
    if not arguments.archives:
        print(f"{about(layout)}\n\nThen: {command(layout)}")
        return
    chosen = [(at_home(path), archive_of(layout, path)) for path in arguments.archives]
    out = at_home(arguments.out if arguments.out != Path() else Path(layout.name))
    for path, archive in chosen:
        unpack_one(path, archive, out / archive.into)
    if layout.finish is not None:
        layout.finish(out)
    check(layout, out)


@dataclass(frozen=True, kw_only=True)
class ListArguments:
    """Every data set that is known by name: its layout, and where it is from."""


def show_list(words: Sequence[str]) -> None:
    """Run ``sats data list``."""
    tyro.cli(ListArguments, args=words, prog="sats data list")
    from sats.data.layouts import LAYOUTS

    print("\n\n".join(about(layout) for layout in LAYOUTS.values()))


def about(layout: Layout) -> str:
    """A data set in words."""
    splits = ", ".join(f"{count:,} {split}" for split, count in layout.splits.items())
    classes = len(layout.classes) - layout.has_background
    background = "and background" if layout.has_background else "without background"
    head = f"{layout.name}: {layout.title}, {classes} classes {background}; images: {splits}"
    return f"{head}\n{_indented(layout.tree)}\n{_indented(layout.origin)}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def command(layout: Layout) -> str:
    """The command that unpacks a data set's archives."""
    if not layout.archives:
        return f"put it into a folder as shown, and: sats data check DIR --source {layout.name}"
    return f"sats data prepare {layout.name} --from {' '.join(archive.name for archive in layout.archives)}"


def archive_of(layout: Layout, path: Path) -> Archive:
    """Which of a data set's archives ``path`` is, by its name; ValueError if it is none, or not there."""
    if not at_home(path).is_file():
        raise ValueError(f"{path} is not a file: name an archive of {layout.title}.")
    for archive in layout.archives:
        if path.name == archive.name:
            return archive
    if not layout.archives:
        raise ValueError(f"{layout.title} has no archives to unpack: {command(layout)}.")
    raise ValueError(
        f"{path} does not have the name of an archive of {layout.title} "
        f"({', '.join(archive.name for archive in layout.archives)}): rename it, or unpack it by hand."
    )


def unpack_one(path: Path, archive: Archive, into: Path) -> None:
    """Check an archive's sum, where one is published, and unpack it."""
    from sats.data.archives import check_digest, unpack

    if archive.digest:
        with bytes_bar(f"checking {path.name}", path.stat().st_size) as report:
            check_digest(path, archive.digest, report)
    else:
        print(f"{path.name}: no checksum was published, so it is taken as it is.")
    with bytes_bar(f"unpacking {path.name}", path.stat().st_size) as report:
        files = unpack(path, into, report)
    print(f"{path.name}: {files:,} files in {into}")


def check(layout: Layout, out: Path) -> None:
    """Say, for each split, whether it is all there."""
    from sats.data.layout import open_layout

    for split in layout.splits:
        try:
            source = open_layout(layout, out, split)
        except ValueError as error:
            print(f"{split}: not ready yet. {error}")
        else:
            print(f"{split}: {len(source):,} of {layout.splits[split]:,} images, nothing wrong.")
