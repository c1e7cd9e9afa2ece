"""``sats data check``: what is wrong with a folder of data, what it holds, what each step would see."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from sats.config import Names
from sats.evaluation.table import cell, show
from sats.files import at_home
from sats.types import HasBackground, Increment, Setting
from sats.words import count, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sats.data.pairs import PairsSource


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """List a data folder's problems, the images of each class and of each step."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """The folder that holds the data."""
    source: str = "folder"
    """The kind of data: "folder" (images/, masks/, classes.txt), or a name from `sats data list`."""
    protocol: str = ""
    """A-B: also show the images of each step."""
    setting: Setting = "overlapped"
    """Which images a step sees."""
    of: Increment = "classes"
    """What arrives: classes, or domains (folders of images)."""
    classes: Names = ()
    """Only these classes; the rest is background."""
    train_split: str = "train"
    """The split that steps learn from."""
    has_background: HasBackground = "auto"
    """Whether class 0 is a background; "auto" goes by its name."""
    rebuild_index: bool = False
    """Look through all masks again."""
    quick: bool = False
    """Look at the images' headers and ends alone, as training does when it starts, and decode none."""


def main(words: Sequence[str]) -> None:
    """Run ``sats data check``."""
    check(tyro.cli(CheckArguments, args=words, prog="sats data check", config=(tyro.conf.FlagCreatePairsOff,)))


def check(arguments: CheckArguments) -> None:
    """Print what the folder holds; ValueError, after all problems were printed, if there are any."""
    from sats.data.pairs import DataProblemsError  # numpy, which the help does not wait for

    root = at_home(arguments.folder)
    sources: dict[str, PairsSource] = {}
    problems: list[str] = []
    with _recognising(arguments, root):
        for split in _splits(arguments, root):
            try:
                sources[split] = _open(arguments, root, split)
                found = [*sources[split].skipped, *_broken(arguments, sources[split], split)]
            except DataProblemsError as error:
                found = list(error.problems)
            problems += [f"{split}: {problem}" for problem in found]
    if sources:
        show(class_table(sources))
    for problem in problems:
        print(f"- {verbatim(problem)}")
    if problems:
        raise ValueError(f"{root} has {count(len(problems), 'problem')}, listed above.")
    if arguments.protocol:
        if arguments.train_split not in sources:
            raise ValueError(
                f"{root} has no split {arguments.train_split!r} to learn from: name one with --train-split."
            )
        show(step_table(sources[arguments.train_split], arguments.protocol, arguments.setting, arguments.of))
    print(f"{root}: nothing wrong.")


def _splits(arguments: CheckArguments, root: Path) -> list[str]:
    from sats.data.folder import split_names
    from sats.data.layouts import LAYOUTS, OWN, check_name

    check_name(arguments.source)
    return split_names(root) if arguments.source == OWN else list(LAYOUTS[arguments.source].splits)


@contextmanager
def _recognising(arguments: CheckArguments, root: Path) -> Iterator[None]:
    """Where a folder is no data folder, say what it seems to be, too."""
    from sats.data.layouts import OWN
    from sats.data.recognise import recognise

    try:
        yield
    except ValueError as error:
        if arguments.source == OWN and (seems := recognise(root)):
            raise ValueError(f"{error} {seems}") from error
        raise


def _open(arguments: CheckArguments, root: Path, split: str) -> PairsSource:
    from sats.data.layouts import open_data

    asked = arguments
    return open_data(asked.source, root, split, asked.classes, asked.has_background, asked.rebuild_index, "skip")


def _broken(arguments: CheckArguments, source: PairsSource, split: str) -> list[str]:
    from sats.data.decoding import broken_images

    return [] if arguments.quick else broken_images(source, f"decoding {split}")


def class_table(sources: dict[str, PairsSource]) -> Table:
    """The images that hold each class, by split."""
    table = Table(title="Images that hold each class", title_justify="left")
    table.add_column("class", overflow="fold")
    counts = {}
    for split, source in sources.items():
        table.add_column(f"{split} ({len(source)})", justify="right")
        counts[split] = source.presence().sum(axis=0)
    for index, name in enumerate(next(iter(sources.values())).classes):
        table.add_row(cell(name), *[str(count[index]) for count in counts.values()])
    return table


def step_table(source: PairsSource, protocol: str, setting: Setting, of: Increment) -> Table:
    """The classes, or domains, that each step learns, and the training images it sees."""
    table = Table(title=f"Steps of {protocol}, {setting if of == 'classes' else of}", title_justify="left")
    table.add_column("step", justify="right")
    table.add_column("learns", overflow="fold")
    table.add_column("images", justify="right")
    for index, (brought, images) in enumerate(_steps(source, protocol, setting, of)):
        names = ", ".join(cell(name) for name in brought)
        table.add_row(str(index), names, str(images) if images else "[red]none[/red]")
    return table


def _steps(source: PairsSource, protocol: str, setting: Setting, of: Increment) -> list[tuple[list[str], int]]:
    """What each step brings, by name, and its number of images."""
    from sats.data.arrivals import assign_images
    from sats.data.domains import domains_by_step
    from sats.data.protocol import class_groups

    if of == "domains":
        return [(list(arrival.domains), len(arrival.images)) for arrival in domains_by_step(source, protocol)]
    groups = class_groups(source.classes, protocol, (), (), None)
    dealt = assign_images(source.presence(), groups, setting)
    return [
        ([source.classes[member] for member in group], len(images)) for group, images in zip(groups, dealt, strict=True)
    ]
