"""``sats predict``: class maps of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sats import api
from sats.data.index import IMAGE_SUFFIXES, SUFFIXES_SHOWN, read_image
from sats.files import at_home, replacing, saving
from sats.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.evaluation.predict import Predictor


@dataclass(frozen=True, kw_only=True)
class PredictArguments:
    """Write what a model sees in images: NAME.png, NAME-overlay.png."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN|MODEL")]
    """A run, a step of one, or a model folder."""
    images: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="IMAGES")]
    """An image, or a folder of them."""
    out: Path
    """The folder to write to: class indices with a palette, and the classes' colours over the image."""
    probabilities: bool = False
    """Also write NAME.npz: every class's probability, float16 [classes, height, width], and the names."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    arguments = tyro.cli(PredictArguments, args=words, prog="sats predict", config=(tyro.conf.FlagCreatePairsOff,))
    files = image_files(at_home(arguments.images))

    predictor = api.load(arguments.model)
    out = at_home(arguments.out)
    for file, name in progress_bar(files.items(), "predicting", len(files)):
        predict_one(predictor, file, out / name, arguments.probabilities)
    print(f"{len(files)} images: {out}")


def image_files(path: Path) -> dict[Path, Path]:
    """The image files at or below ``path``, and the name of each without suffix, relative to it.

    ValueError if there are none, or two would be written to the same name.
    """
    if path.is_file():
        return {path: Path(path.stem)}
    if not path.is_dir():
        raise ValueError(f"{path} does not exist: name an image or a folder of images.")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != ".")
    if not found:
        raise ValueError(f"{path} holds no images ({SUFFIXES_SHOWN}).")
    names = {file: file.relative_to(path).with_suffix("") for file in found}
    taken: dict[Path, Path] = {}
    for file, name in names.items():
        if name in taken:
            raise ValueError(f"{taken[name]} and {file} would both be written to {name}.png: rename one.")
        taken[name] = file
    return names


def predict_one(predictor: Predictor, file: Path, target: Path, probabilities: bool) -> None:
    """Write what ``predictor`` sees in ``file`` to ``target`` with several suffixes."""
    import numpy as np

    from sats.evaluation.overlay import index_image, overlay

    image = read_image(str(file))
    prediction = predictor.predict(image)
    pictures = {".png": index_image(prediction.labels), "-overlay.png": overlay(image, prediction.labels)}
    with saving(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        for ending, picture in pictures.items():
            with replacing(Path(f"{target}{ending}")) as beside:
                picture.save(beside, format="PNG")
        if probabilities:
            halves = prediction.probabilities.astype(np.float16)
            with replacing(Path(f"{target}.npz")) as beside, beside.open("wb") as stream:
                np.savez_compressed(stream, probabilities=halves, classes=np.array(prediction.classes))
