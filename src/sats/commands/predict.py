"""``sats predict``: class maps of images."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from rich.table import Table

from sats import api
from sats.data.folder import read_names
from sats.data.index import IMAGE_SUFFIXES, SUFFIXES_SHOWN, opened, read_image
from sats.engine.skipped import show_skipped
from sats.evaluation.overlay import index_image, overlay, palette
from sats.evaluation.table import cell, percent, show
from sats.files import at_home, replacing, saving, write_text
from sats.progress import progress_bar
from sats.types import OnError
from sats.words import count, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image

    from sats.evaluation.predict import Prediction, Predictor

MASK, OVERLAY, PROBABILITIES = ".png", "-overlay.png", ".npz"
"""How the names of what is written for an image end."""
CLASSES = "classes.txt"
MOST_SHOWN = 20
"""Classes that a table on the terminal lists."""


@dataclass(frozen=True, kw_only=True)
class PredictArguments:
    """Write what a model sees in images: NAME.png, NAME-overlay.png, and classes.txt."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN|MODEL")]
    """A run, a step of one, or a model folder."""
    images: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="IMAGES")]
    """An image, or a folder of them."""
    out: Path
    """The folder to write to: class indices with a palette, and the classes' colours over the image."""
    probabilities: bool = False
    """Also write NAME.npz: every class's probability, float16 [classes, height, width], and the names."""
    no_overlays: bool = False
    """Leave out NAME-overlay.png."""
    on_error: OnError = "error"
    """What to do about an image that cannot be used: stop with an error, or skip it and list it at the end."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    arguments = tyro.cli(PredictArguments, args=words, prog="sats predict", config=(tyro.conf.FlagCreatePairsOff,))
    out = at_home(arguments.out)
    files = image_files(at_home(arguments.images), out)
    endings = endings_of(arguments)
    check_targets(files, out, endings)

    predictor = api.load(arguments.model)
    names = names_of_indices(predictor.classes, out / CLASSES)
    skipped: list[str] = []
    pixels = np.zeros(len(predictor.classes), dtype=np.int64)
    for file, name in progress_bar(files.items(), "predicting", len(files)):
        if image := read_or_skip(file, skipped if arguments.on_error == "skip" else None):
            if not pixels.any():  # before the first mask: what is there is never without its names
                write_names(out / CLASSES, names)
            pixels += predict_one(predictor, image, out / name, endings)
    show_skipped(skipped)
    if len(skipped) == len(files):
        raise ValueError(f"None of the images could be read: nothing was written to {out}.")
    print(f"{count(len(files) - len(skipped), 'image')}: {out}")
    show(legend(predictor.classes, pixels))
    print(f"line i names index i: {out / CLASSES}")


def write_names(file: Path, names: Sequence[str]) -> None:
    """Write a name a line; what is above the file is made."""
    with saving(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, "".join(f"{name}\n" for name in names))


def endings_of(arguments: PredictArguments) -> tuple[str, ...]:
    """How the names of what is written for each image end."""
    more = {OVERLAY: not arguments.no_overlays, PROBABILITIES: arguments.probabilities}
    return (MASK, *(ending for ending, wanted in more.items() if wanted))


def read_or_skip(file: Path, skipped: list[str] | None) -> Image | None:
    """An image; ValueError if it cannot be read, or None where that is noted in ``skipped``."""
    try:
        return read_image(str(file))
    except ValueError as error:
        if skipped is None:
            raise
        skipped.append(str(error))
        return None


def image_files(path: Path, out: Path) -> dict[Path, Path]:
    """The image files at or below ``path``, and the name of each without suffix, relative to it.

    Hidden files and folders are left out, and ``out``, where it is below ``path``: an earlier call may have written
    there. Links are followed. ValueError if there are none, or ``out`` is ``path``.
    """
    if path.is_file():
        return {path: Path(path.stem)}
    if not path.is_dir():
        raise ValueError(f"{path} does not exist: name an image or a folder of images.")
    if out.resolve() == path.resolve():
        raise ValueError(f"{path} holds the images, and masks would be taken for more of them: name another --out.")
    found = {file: file.relative_to(path) for file in sorted(_images_below(path))}
    own = out.resolve() if out.resolve().is_relative_to(path.resolve()) else None
    names = {file: name.with_suffix("") for file, name in found.items() if own not in file.resolve().parents}
    if not names:
        raise ValueError(f"{path} holds no images ({SUFFIXES_SHOWN}).")
    return names


def _images_below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The image files below ``folder``, those behind links among them, and links that go nowhere; nothing hidden.

    A link to a folder that is on the way there, one of those ``above``, is not followed.
    """
    place = os.path.realpath(folder)
    for path in folder.iterdir() if place not in above else ():
        if path.name[0] == ".":
            continue
        if path.is_dir():
            yield from _images_below(path, (*above, place))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path


def check_targets(files: Mapping[Path, Path], out: Path, endings: Sequence[str]) -> None:
    """ValueError if what is written for one of ``files`` would replace what is not ours, or is written for another.

    What an earlier call wrote may be replaced.
    """
    images = {file.resolve() for file in files}
    taken: dict[Path, Path] = {}
    for file, name in files.items():
        size = _size_of_mask(Path(f"{out / name}{MASK}"))
        for ending in endings:
            target = Path(f"{out / name}{ending}")
            if target in taken:
                raise ValueError(f"{taken[target]} and {file} would both be written to {target}: rename one.")
            if target.resolve() in images or (target.exists() and not _is_ours(target, ending, size)):
                raise ValueError(
                    f"The prediction for {file} would overwrite {target}, which sats did not write: choose another "
                    "--out."
                )
            taken[target] = file


def _size_of_mask(path: Path) -> tuple[int, int] | None:
    """Width and height of a mask that `sats predict` wrote, known by its palette; None for anything else."""
    try:
        with opened(str(path)) as picture:
            is_ours = picture.mode == "P" and picture.getpalette() == palette().ravel().tolist()
            return picture.size if is_ours else None
    except ValueError:
        return None


def _is_ours(target: Path, ending: str, size: tuple[int, int] | None) -> bool:
    """Whether ``target`` is what this command writes beside a mask of ours of that ``size`` (None: there is none)."""
    if size is None or ending == MASK:
        return size is not None
    if ending == PROBABILITIES:
        return _members(target) == {"probabilities.npy", "classes.npy"}
    try:
        with opened(str(target)) as picture:
            return (picture.mode, picture.size) == ("RGB", size)
    except ValueError:
        return False


def _members(path: Path) -> set[str]:
    """The names of the arrays in an .npz; none for another kind of file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return set()


def names_of_indices(classes: Sequence[str], path: Path) -> list[str]:
    """The names for the file ``path``: the model's ``classes``, or what is there if that goes on with more.

    ValueError where the indices of the masks there mean something else.
    """
    own = [" ".join(verbatim(name).split()) for name in classes]
    there = read_names(path) if path.exists() else []
    for index, (name, other) in enumerate(zip(own, there, strict=False)):
        if name != other:
            raise ValueError(f"{path} calls class {index} {other!r}, and the model {name!r}: choose another --out.")
    return max(own, there, key=len)


def legend(classes: Sequence[str], pixels: NDArray[np.int64]) -> Table:
    """What the indices mean, of the classes that were found, those with the most of all ``pixels`` first."""
    table = Table(title="What the masks hold", title_justify="left")
    for column in ("index", "class", "pixels, %"):
        table.add_column(column, justify="left" if column == "class" else "right", overflow="fold")
    found = [int(index) for index in np.argsort(-pixels, kind="stable") if pixels[index]]
    for index in found[:MOST_SHOWN]:
        table.add_row(str(index), cell(classes[index]), percent(pixels[index] / pixels.sum()))
    if (more := len(found) - MOST_SHOWN) > 0:
        table.caption = f"and {count(more, 'more class', 'more classes')}"
    return table


def predict_one(predictor: Predictor, image: Image, target: Path, endings: Sequence[str]) -> NDArray[np.int64]:
    """Write what ``predictor`` sees in ``image`` to ``target`` with each of ``endings``; the pixels of each class."""
    prediction = predictor.predict(image) if PROBABILITIES in endings else None
    labels = prediction.labels if prediction else predictor.labels(image)
    with saving(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_picture(index_image(labels), Path(f"{target}{MASK}"))
        if OVERLAY in endings:
            write_picture(overlay(image, labels), Path(f"{target}{OVERLAY}"))
        if prediction:
            write_probabilities(prediction, Path(f"{target}{PROBABILITIES}"))
    return np.bincount(labels.ravel(), minlength=len(predictor.classes))


def write_picture(picture: Image, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with replacing(path) as beside:
        picture.save(beside, format="PNG")


def write_probabilities(prediction: Prediction, path: Path) -> None:
    """Write every class's probability and the classes' names, as numpy reads them."""
    halves = prediction.probabilities.astype(np.float16)
    with replacing(path) as beside, beside.open("wb") as stream:
        np.savez_compressed(stream, probabilities=halves, classes=np.array(prediction.classes))
