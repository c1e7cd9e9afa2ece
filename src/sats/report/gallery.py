"""Test images with ground truth, every model's prediction, what changed from step to step, and attention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sats.api import load
from sats.data.stream import samples_by_name
from sats.data.transforms import resized
from sats.engine.build import all_tests, build_extension
from sats.engine.run_folder import MODEL
from sats.evaluation.attend import class_attention
from sats.evaluation.overlay import palette
from sats.files import sha256
from sats.progress import progress_bar
from sats.report.pictures import change_map, class_map, photo, present, shades
from sats.types import BACKGROUND, IGNORE
from sats.words import names, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sats.data.stream import Samples
    from sats.evaluation.predict import Predictor
    from sats.report.gather import RunRecord
    from sats.report.pictures import Labels, Picture

    Attended = Mapping[int, NDArray[np.float32]]

MOST_MODELS = 24
"""Models whose predictions several runs show together; of more, each run shows its first and last step."""
MOST_ATTENDED = 6
"""Classes of an image whose attention is shown: the largest."""
FIRST_AND_LAST = "Of each run only the first and the last step are shown; a report on one run shows all of its steps."


@dataclass(frozen=True)
class Attention:
    """Where the region of a class attends to after each shown step, as shades for the photo; ``cells`` of the grid."""

    name: str
    colour: str
    cells: str
    shades: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """A test image, the classes in it, its ground truth, and predictions.

    Of one run also ``changes``, from each shown step to the next, and the attention of the classes in it.
    """

    key: str
    classes: str
    image: Picture
    truth: Picture
    predictions: tuple[Picture, ...]
    changes: tuple[Picture, ...] = ()
    attention: tuple[Attention, ...] = ()


@dataclass(frozen=True)
class LegendEntry:
    """A class and its colour, "#rrggbb"."""

    name: str
    colour: str


@dataclass(frozen=True)
class Gallery:
    """The examples of a report, and the colours of the classes that occur in them; ``remarks`` say what is missing.

    ``steps`` are those that are shown; ``places`` has for each of an example's predictions which of them it is of, None
    for a model that learned everything at once.
    """

    examples: tuple[Example, ...] = ()
    legend: tuple[LegendEntry, ...] = ()
    remarks: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    places: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Variant:
    """A trained model in ``folder``, whose predictions are shown under ``title``; no ``step`` if it learned at once."""

    title: str
    folder: Path
    step: int | None

    @property
    def is_there(self) -> bool:
        """Whether its weights were kept."""
        return (self.folder / MODEL / "config.json").is_file()


@dataclass(frozen=True)
class Seen:
    """What one model sees in each image: labels [H, W], and where each class attends to (none if nobody asked)."""

    maps: list[Labels]
    attention: list[Attended]


def make_gallery(runs: Sequence[RunRecord], count: int, classes: tuple[str, ...]) -> Gallery:
    """``count`` test images of the first run's data, and the predictions of every step of every run.

    ``classes`` are those of the report, by whose places they have their colours.
    What is missing (data or a model that is gone, steps of many runs) the gallery's remarks say.
    """
    try:
        keys, pairs = _chosen(_samples(runs[0], classes), count)
    except (ValueError, OSError) as error:
        return Gallery(remarks=(f"There are no pictures, as the test data cannot be read: {shown(error, 300)}",))
    models = models_to_show(runs)
    variants = _variants(models)
    found = [variant for variant in variants if variant.is_there]
    seen = [
        _see(load(variant.folder), pairs, classes, attends=len(runs) == 1)
        for variant in progress_bar(found, "predicting for the report", len(found))
    ]
    draw = example if len(runs) > 1 else followed
    examples = [draw(key, place, pairs[place], found, seen, classes) for place, key in enumerate(keys)]
    every = [truth for _, truth in pairs] + [labels for one in seen for labels in one.maps]
    return Gallery(tuple(examples), legend(every, classes), _remarks(runs, variants, len(models)), *_places(found))


def _chosen(samples: Samples, count: int) -> tuple[list[str], list[tuple[Image.Image, Labels]]]:
    """The keys of the images to show, and the images with their truth."""
    places = choose(samples.source.presence()[samples.indices], count)
    return [samples.key(place) for place in places], [samples[place] for place in places]


def _remarks(runs: Sequence[RunRecord], variants: Sequence[Variant], num_models: int) -> tuple[str, ...]:
    left_out = num_models < sum(len(run.history) for run in runs)
    return (*_gone(variants), *[FIRST_AND_LAST] * left_out)


def _places(variants: Sequence[Variant]) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    """The steps that occur, and which of them each of the ``variants`` is of."""
    steps = sorted({variant.step for variant in variants if variant.step is not None})
    return tuple(steps), tuple(None if variant.step is None else steps.index(variant.step) for variant in variants)


def _gone(variants: Sequence[Variant]) -> tuple[str, ...]:
    titles = [variant.title for variant in variants if not variant.is_there]
    return (f"No trained weights any more, and so no predictions, of {names(titles)}.",) if titles else ()


def _samples(run: RunRecord, classes: tuple[str, ...]) -> Samples:
    if len(classes) > IGNORE:
        raise ValueError(f"the runs know {len(classes)} classes together, and a map holds {IGNORE} at most.")
    config = run.config
    if config.extends.checkpoint:
        return build_extension(config).named_samples(classes)
    return samples_by_name(all_tests(config), classes, config.evaluation.future, config.evaluation.background)


def models_to_show(runs: Sequence[RunRecord]) -> list[tuple[RunRecord, int]]:
    """The run and step of every model to show."""
    every = [(run, scores.step) for run in runs for scores in run.history]
    if len(runs) == 1 or len(every) <= MOST_MODELS:
        return every
    return [(run, step) for run, step in every if step in (run.first.step, run.last.step)]


def _variants(models: Sequence[tuple[RunRecord, int]]) -> list[Variant]:
    """The ``models`` by title; a step 0 that several runs share stands there once."""
    owners: dict[str, list[tuple[RunRecord, int]]] = {}
    for run, step in models:
        owners.setdefault(_fingerprint(run.folder.step(step)), []).append((run, step))
    several = len({run.name for run, _ in models}) > 1
    return [_variant(same, several) for same in owners.values()]


def _variant(same: Sequence[tuple[RunRecord, int]], several: bool) -> Variant:
    run, step = same[0]
    is_level = several and run.is_joint
    return Variant(_title(same, several), run.folder.step(step), None if is_level else step)


def _fingerprint(folder: Path) -> str:
    """What only models with the same weights have in common; of one whose weights are gone, its own path."""
    weights = sorted((folder / MODEL).glob("*.safetensors"))
    return " ".join(map(sha256, weights)) or str(folder)


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


def _see(
    predictor: Predictor, pairs: Sequence[tuple[Image.Image, Labels]], classes: tuple[str, ...], attends: bool
) -> Seen:
    """What ``predictor`` sees in images with their truth, as indices into ``classes``, at the size it works at."""
    table = np.zeros(256, dtype=np.uint8)
    table[BACKGROUND + 1 : len(predictor.classes)] = [classes.index(name) for name in predictor.classes[1:]]
    maps: list[Labels] = []
    attention: list[Attended] = []
    for image, truth in pairs:
        height, width = resized((image.height, image.width), predictor.resize)
        small = image.resize((width, height), Image.Resampling.BILINEAR)  # what it would do itself; spares memory
        maps.append(table[predictor.predict(small).labels])
        attention.append(class_attention(predictor, small, truth) if attends else {})
    return Seen(maps, attention)


def example(
    key: str,
    place: int,
    pair: tuple[Image.Image, Labels],
    variants: Sequence[Variant],
    seen: Sequence[Seen],
    classes: tuple[str, ...],
) -> Example:
    """The image at ``place`` of those that were ``seen``, with its truth and all predictions."""
    image, truth = pair
    drawn = photo(image)
    size = (drawn.width, drawn.height)
    what = names(present(truth, classes)) or "background only"
    predictions = [
        class_map(variant.title, one.maps[place], size, classes) for variant, one in zip(variants, seen, strict=True)
    ]
    return Example(shown(key), what, drawn, class_map("ground truth", truth, size, classes), tuple(predictions))


def followed(
    key: str,
    place: int,
    pair: tuple[Image.Image, Labels],
    variants: Sequence[Variant],
    seen: Sequence[Seen],
    classes: tuple[str, ...],
) -> Example:
    """The same, with what changed from step to step, and attention: the models are steps of one run."""
    plain = example(key, place, pair, variants, seen, classes)
    truth, size = pair[1], (plain.image.width, plain.image.height)
    changed = [
        change_map(f"{before.title} to {after.title}", (truth, old.maps[place], new.maps[place]), size)
        for (before, old), (after, new) in pairwise(zip(variants, seen, strict=True))
    ]
    attention = _attention(truth, [one.attention[place] for one in seen], classes)
    return replace(plain, changes=tuple(changed), attention=attention)


def _attention(truth: Labels, attended: Sequence[Attended], classes: tuple[str, ...]) -> tuple[Attention, ...]:
    """The attention of the largest classes in an image of which every step's model has some."""
    sizes = np.bincount(truth.ravel(), minlength=256)
    known = [index for index in attended[0] if all(index in one for one in attended)] if attended else []
    largest = sorted(known, key=lambda index: (-sizes[index], index))[:MOST_ATTENDED]
    return tuple(_class_attention(index, [one[index] for one in attended], classes[index]) for index in largest)


def _class_attention(index: int, maps: Sequence[NDArray[np.float32]], name: str) -> Attention:
    height, width = maps[0].shape
    return Attention(shown(name), _colour(index), f"{height} x {width}", tuple(shades(maps)))


def _colour(index: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*palette()[index])


def legend(maps: Sequence[Labels], classes: tuple[str, ...]) -> tuple[LegendEntry, ...]:
    """The classes that occur in ``maps``, in their order."""
    found = sorted({int(index) for labels in maps for index in np.unique(labels)})
    called = {**dict(enumerate(classes)), IGNORE: "not labelled"}
    return tuple(LegendEntry(shown(called[index]), _colour(index)) for index in found)
