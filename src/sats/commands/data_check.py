"""``sats data check``: what is wrong with a folder of data, what it holds, what each step would see."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import tyro
from rich.table import Table

from sats.config import Names, StreamConfig
from sats.evaluation.table import cell, show
from sats.files import at_home
from sats.types import BACKGROUND, IGNORE, HasBackground, Increment, Setting
from sats.words import count, names, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sats.data.pairs import PairsSource


NO_CLASS: Final = "masks hold nothing but 0 and 255, and 255 is no class: it leaves a pixel out (let 1 be the object)"
MOST_LISTED: Final = 50
STRETCH: Final = "if they have 16 bits, the upper 8 are used: stretch 12 or 14 bits to 16, or save them with 8"


@dataclass(frozen=True, kw_only=True)
class CheckArguments:
    """List a data folder's problems, the images of each class and of each step."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """The folder that holds the data."""
    source: str = "folder"
    """The kind of data: "folder" (images/, masks/, classes.txt), or a name from `sats data list`."""
    protocol: str = ""
    """A-B: also show the images of each step."""
    steps: Annotated[tuple[Names, ...], tyro.conf.arg(aliases=["--stream.steps"])] = ()
    """The classes (or domains) of each step by name, instead of a protocol: a,b c d,e is three steps."""
    order: Annotated[Names, tyro.conf.arg(aliases=["--stream.order"])] = ()
    """Every class (or domain) once, in the order to learn them."""
    order_seed: Annotated[int | None, tyro.conf.arg(aliases=["--stream.order-seed"])] = None
    """Shuffle the order with this seed."""
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
    root = at_home(arguments.folder)
    with _recognising(arguments, root):
        sources, problems, notes = _look_through(arguments, root)
    if sources:
        show(class_table(sources))
        problems += [f"{split}: {NO_CLASS}" for split, source in sources.items() if _is_binary(source)]
    _list(problems)
    if sources and (empty := _without_pixels(sources)):
        notes.append(f"No image of any split holds {names(empty)}: nobody can learn that from here.")
    for note in notes:
        print(verbatim(note))
    if problems:
        raise ValueError(f"{root} has {count(len(problems), 'problem')}, listed above.")
    stream = StreamConfig(**{entry.name: getattr(arguments, entry.name) for entry in fields(StreamConfig)})
    if stream != StreamConfig(protocol="", setting=stream.setting, of=stream.of):
        show(step_table(_to_learn_from(sources, root, arguments.train_split), stream))
    print(f"{root}: nothing wrong.")


def _list(problems: Sequence[str]) -> None:
    """Print the problems; to a terminal not so many that what stands above them is lost."""
    shown = problems[:MOST_LISTED] if sys.stdout.isatty() else problems
    for problem in shown:
        print(f"- {verbatim(problem)}")
    if left := len(problems) - len(shown):
        print(f"- and {left} more: pipe the output into a file or a pager to see all.")


def _look_through(arguments: CheckArguments, root: Path) -> tuple[dict[str, PairsSource], list[str], list[str]]:
    """The splits that can be opened, what is wrong with any, and what may be."""
    from sats.data.decoding import decode_all
    from sats.data.pairs import DataProblemsError, counted  # numpy, which the help does not wait for

    sources: dict[str, PairsSource] = {}
    problems: list[str] = []
    notes: list[str] = []
    for split in _splits(arguments, root):
        try:
            sources[split] = source = _open(arguments, root, split)
        except DataProblemsError as error:
            problems += [f"{split}: {problem}" for problem in error.problems]
            continue
        problems += [f"{split}: {problem}" for problem in source.skipped]
        if not arguments.quick:
            decoded = decode_all(source, f"decoding {split}")
            problems += [f"{split}: {problem}" for problem in decoded.broken]
            dark = counted(decoded.dark, "image is nearly black", "images are nearly black", STRETCH)
            notes += [f"{split}: {note}" for note in dark]
    return sources, problems, notes


def _to_learn_from(sources: dict[str, PairsSource], root: Path, split: str) -> PairsSource:
    """The ``split`` that steps learn from; ValueError if there is none."""
    if split not in sources:
        raise ValueError(f"{root} has no split {split!r} to learn from: name one with --train-split.")
    return sources[split]


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


def _without_pixels(sources: dict[str, PairsSource]) -> list[str]:
    """The foreground classes that no split has a pixel of."""
    classes = next(iter(sources.values())).classes
    held = sum(source.presence().sum(axis=0) for source in sources.values())
    return [name for name, images in zip(classes, held, strict=True) if not images and name != classes[BACKGROUND]]


def _is_binary(source: PairsSource) -> bool:
    """Whether masks hold nothing but the background, 0, and 255."""
    return source.ids() == {BACKGROUND, IGNORE} and not source.presence()[:, BACKGROUND + 1 :].any()


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


def step_table(source: PairsSource, stream: StreamConfig) -> Table:
    """The classes, or domains, that each step learns, and the training images it sees."""
    cut = "by name" if stream.steps else f"of {stream.protocol}"
    table = Table(title=f"Steps {cut}, {stream.setting if stream.of == 'classes' else stream.of}", title_justify="left")
    table.add_column("step", justify="right")
    table.add_column("learns", overflow="fold")
    table.add_column("images", justify="right")
    for index, (brought, images) in enumerate(_steps(source, stream)):
        names = ", ".join(cell(name) for name in brought)
        table.add_row(str(index), names, str(images) if images else "[red]none[/red]")
    return table


def _steps(source: PairsSource, stream: StreamConfig) -> list[tuple[list[str], int]]:
    """What each step brings, by name, and its number of images."""
    from sats.data.arrivals import assign_images
    from sats.data.domains import domains_by_step
    from sats.data.protocol import class_groups

    cut = (stream.protocol, stream.steps, stream.order, stream.order_seed)
    if stream.of == "domains":
        return [(list(arrival.domains), len(arrival.images)) for arrival in domains_by_step(source, *cut)]
    groups = class_groups(source.classes, *cut)
    dealt = assign_images(source.presence(), groups, stream.setting)
    return [
        ([source.classes[member] for member in group], len(images)) for group, images in zip(groups, dealt, strict=True)
    ]
