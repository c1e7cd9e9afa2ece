"""Test images with ground truth and predictions, as data URIs that need no other file."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sats.api import load
from sats.data.stream import samples_by_name
from sats.data.transforms import resized
from sats.engine.build import all_tests
from sats.evaluation.overlay import index_image, palette
from sats.progress import progress_bar
from sats.types import BACKGROUND, IGNORE
from sats.words import names, shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sats.data.stream import Samples
    from sats.evaluation.predict import Predictor
    from sats.report.gather import RunRecord

    Labels = NDArray[np.uint8]

LONGEST_SIDE = 220
"""Pixels that a picture has at most; it is shown at about 130 on the page, and screens have up to two for each."""
MOST_MODELS = 24
"""Models whose predictions several runs show together; of more, each run shows its first and last step."""
SMALL_SIDE = 160
"""Pictures with a longest side below this are enlarged by a whole factor, which keeps maps sharp."""


FIRST_AND_LAST = "Of each run only the first and the last step are shown; a report on one run shows all of its steps."


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI of ``width`` x ``height`` pixels; ``title`` says whose it is, ``text`` what it shows."""

    title: str
    uri: str
    width: int
    height: int
    text: str


@dataclass(frozen=True)
class Example:
    """A test image, the classes in it, its ground truth, and predictions."""

    key: str
    classes: str
    image: Picture
    truth: Picture
    predictions: tuple[Picture, ...]


@dataclass(frozen=True)
class LegendEntry:
    """A class and its colour, "#rrggbb"."""

    name: str
    colour: str


@dataclass(frozen=True)
class Gallery:
    """The examples of a report, and the colours of the classes that occur in them; ``remarks`` say what is missing."""

    examples: tuple[Example, ...] = ()
    legend: tuple[LegendEntry, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Variant:
    """A trained model in ``folder``, whose predictions are shown under ``title``."""

    title: str
    folder: Path

    @property
    def is_there(self) -> bool:
        return (self.folder / "model" / "config.json").is_file()


def make_gallery(runs: Sequence[RunRecord], count: int) -> Gallery:
    """``count`` test images of the first run's data, and the predictions of every step of every run.

    What is missing (data or a model that is gone, steps of many runs) the gallery's remarks say.
    """
    classes = all_classes(runs)
    try:
        samples = _samples(runs[0], classes)
        indices = choose(samples.source.presence(), count)
        images, truths = zip(*(samples[index] for index in indices), strict=True)
    except (ValueError, OSError) as error:
        return Gallery(remarks=(f"There are no pictures, as the test data cannot be read: {shown(error, 300)}",))
    models = models_to_show(runs)
    variants = _variants(models)
    found = [variant for variant in variants if variant.is_there]
    predicted = [
        _predictions(load(variant.folder), images, classes)
        for variant in progress_bar(found, "predicting for the report", len(found))
    ]
    titled = [variant.title for variant in found]
    examples = [
        _example(samples.source.key(index), image, (truth, *maps), titled, classes)
        for index, image, truth, *maps in zip(indices, images, truths, *predicted, strict=True)
    ]
    every = [labels for maps in (truths, *predicted) for labels in maps]
    left_out = len(models) < sum(len(run.history) for run in runs)
    return Gallery(tuple(examples), _legend(every, classes), (*_gone(variants), *[FIRST_AND_LAST] * left_out))


def _gone(variants: Sequence[_Variant]) -> tuple[str, ...]:
    titles = [variant.title for variant in variants if not variant.is_there]
    return (f"No trained weights any more, and so no predictions, of {names(titles)}.",) if titles else ()


def all_classes(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """The classes of the first run in its order, then those that only others know; the background is one for all."""
    foreground = dict.fromkeys(name for run in runs for name in run.last.classes[BACKGROUND + 1 :])
    return (runs[0].last.classes[BACKGROUND], *foreground)


def _samples(run: RunRecord, classes: tuple[str, ...]) -> Samples:
    if len(classes) > IGNORE:
        raise ValueError(f"the runs know {len(classes)} classes together, and a map holds {IGNORE} at most.")
    return samples_by_name(all_tests(run.config), classes, run.config.evaluation.future)


def models_to_show(runs: Sequence[RunRecord]) -> list[tuple[RunRecord, int]]:
    """The run and step of every model to show."""
    every = [(run, scores.step) for run in runs for scores in run.history]
    if len(runs) == 1 or len(every) <= MOST_MODELS:
        return every
    return [(run, step) for run, step in every if step in (run.first.step, run.last.step)]


def _variants(models: Sequence[tuple[RunRecord, int]]) -> list[_Variant]:
    """The ``models`` by title; a step 0 that several runs share stands there once."""
    owners: dict[str, list[tuple[RunRecord, int]]] = {}
    for run, step in models:
        owners.setdefault(_fingerprint(run.folder.step(step)), []).append((run, step))
    several = len({run.name for run, _ in models}) > 1
    return [_Variant(_title(same, several), same[0][0].folder.step(same[0][1])) for same in owners.values()]


def _fingerprint(folder: Path) -> str:
    """What only models with the same weights have in common; of one whose weights are gone, its own path."""
    digest = hashlib.sha256()
    weights = sorted((folder / "model").glob("*.safetensors"))
    for path in weights:
        digest.update(path.read_bytes())
    return digest.hexdigest() if weights else str(folder)


def _title(same: Sequence[tuple[RunRecord, int]], several: bool) -> str:
    (run, step), *_ = same
    if not several:
        return f"step {step}"
    who = names(run.name for run, _ in same)
    return who if run.is_joint else f"{who}, step {step}"


def choose(presence: NDArray[np.bool_], count: int) -> list[int]:
    """The images that together show the most classes, as indices; ``presence`` [images, classes].

    One after the other: the image with the most classes not shown yet, then with the most classes, then the first.
    Neighbours of a chosen one come last: they may be the next frame of the same film.
    """
    has = presence[:, BACKGROUND + 1 :].astype(np.int64)
    classes = has.shape[1]
    missing, taken, near = np.ones(classes, dtype=np.int64), np.zeros(len(has), dtype=np.int64), len(has) // (4 * count)
    chosen: list[int] = []
    for _ in range(min(count, len(has))):
        if not (has @ missing).any():  # all shown: start over
            missing[:] = 1
        worth = (has @ missing) * (classes + 1) + has.sum(axis=1)
        index = int((worth - taken * (classes + 1) ** 2).argmax())
        chosen.append(index)
        missing[has[index] > 0] = 0
        taken[max(0, index - near) : index + near + 1] = 1
        taken[chosen] = 2
    return chosen


def _predictions(predictor: Predictor, images: Sequence[Image.Image], classes: tuple[str, ...]) -> list[Labels]:
    """What ``predictor`` sees in ``images``, as indices into ``classes``, at the size it works at."""
    table = np.zeros(256, dtype=np.uint8)
    table[BACKGROUND + 1 : len(predictor.classes)] = [classes.index(name) for name in predictor.classes[1:]]
    maps = []
    for image in images:
        height, width = resized((image.height, image.width), predictor.resize)
        small = image.resize((width, height), Image.Resampling.BILINEAR)  # what it would do itself; spares memory
        maps.append(table[predictor.predict(small).labels])
    return maps


# --- pictures ---------------------------------------------------------------------------------------------------------


def _example(
    key: str, image: Image.Image, maps: Sequence[Labels], titles: Sequence[str], classes: tuple[str, ...]
) -> Example:
    """An example of ``maps``: the ground truth, then a prediction for each of ``titles``."""
    size = picture_size(image.width, image.height)
    truth, *predictions = (
        _class_map(title, labels, size, classes) for title, labels in zip(["ground truth", *titles], maps, strict=True)
    )
    what = names(_present(maps[0], classes)) or "background only"
    return Example(shown(key), what, _photo(image, size), truth, tuple(predictions))


def picture_size(width: int, height: int) -> tuple[int, int]:
    """The size at which an image is embedded: enlarged by a whole factor, or scaled down."""
    longest = max(width, height)
    factor = LONGEST_SIDE // longest if longest < SMALL_SIDE else min(1.0, LONGEST_SIDE / longest)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _photo(image: Image.Image, size: tuple[int, int]) -> Picture:
    stored = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(stored, "JPEG", quality=88)
    return Picture("image", _uri("jpeg", stored.getvalue()), *size, "the test image")


def _class_map(title: str, labels: Labels, size: tuple[int, int], classes: tuple[str, ...]) -> Picture:
    stored = io.BytesIO()
    index_image(labels).resize(size, Image.Resampling.NEAREST).save(stored, "PNG", optimize=True)
    text = f"{title}: {names(_present(labels, classes)) or 'background only'}"
    return Picture(title, _uri("png", stored.getvalue()), *size, text)


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _present(labels: Labels, classes: tuple[str, ...]) -> list[str]:
    """The names of the foreground classes in a map."""
    return [classes[index] for index in np.unique(labels) if index not in (BACKGROUND, IGNORE)]


def _legend(maps: Sequence[Labels], classes: tuple[str, ...]) -> tuple[LegendEntry, ...]:
    found = sorted({int(index) for labels in maps for index in np.unique(labels)})
    called = {**dict(enumerate(classes)), IGNORE: "not labelled"}
    return tuple(LegendEntry(shown(called[index]), "#{:02x}{:02x}{:02x}".format(*palette()[index])) for index in found)
