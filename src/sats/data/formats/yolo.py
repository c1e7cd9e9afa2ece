"""YOLO's outlines: a text file for each image, a line for each object, coordinates as shares of width and height."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from sats.data.formats.labelled import Item, Labelled, arrange, check_folder, images_below, without_image
from sats.data.formats.regions import Region, outlined, paint, points_of
from sats.data.formats.tables import in_order, read_names, read_text
from sats.data.pairs import DataProblemsError, by_stem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sats.types import Void

BEYOND: Final = 0.01
"""How far an outline may leave its image, as a share of it: rounding does."""
NOT_LABELS: Final = frozenset({"classes", "labels", "notes"})
"""Text files that tools lay beside the labels, without suffix."""
BOX: Final = 4


@dataclass(frozen=True)
class Reader:
    """How a text file is read: the class ``indices`` by YOLO's numbers, what pixels without a label are."""

    indices: Mapping[int, int]
    names: Path
    unlabelled: Void

    def draw(self, file: Path, height: int, width: int) -> NDArray[np.uint8]:
        """The mask of a label file [H, W]; ValueError with all lines that are wrong."""
        regions, problems = [], []
        for number, line in enumerate(read_text(file, "--labels").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                regions.append(self._region(line.split(), f"{file}, line {number},", height, width))
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise DataProblemsError(problems, str(file), rest="")
        return paint(regions, height, width, self.unlabelled)

    def _region(self, words: list[str], where: str, height: int, width: int) -> Region:
        if len(words) == 1 + BOX:
            raise ValueError(f"{where} is a box, not an outline: export the labels for segmentation.")
        try:
            number, values = int(words[0]), [float(word) for word in words[1:]]
        except ValueError as error:
            raise ValueError(f"{where} is not a class's number and coordinates ({error}): export it anew.") from error
        if number not in self.indices:
            last = max(self.indices)
            raise ValueError(f"{where} is of class {number}, but {self.names} names only 0 to {last}: add its name.")
        points = points_of(values, where)
        if not ((points >= -BEYOND) & (points <= 1 + BEYOND)).all():
            raise ValueError(f"{where} has coordinates beyond 0 to 1: write them as shares of width and height.")
        return outlined(self.indices[number], (points * (width, height),))


def read(images: Path, labels: Path, names: Path, unlabelled: Void = "background") -> Labelled:
    """Images, and for each the text file of the same name; an image without one has no object in it."""
    problems: list[str] = []
    numbers, given = in_order(read_names(names))
    classes, indices = arrange(given, str(names))
    reader = Reader(dict(zip(numbers, indices, strict=True)), names, unlabelled)
    files = images_below(images, problems)
    check_folder(labels, "--labels")
    texts = {stem: labels / path for stem, (path, *_) in by_stem(labels, frozenset({".txt"}), problems).items()}
    texts = {stem: path for stem, path in texts.items() if stem in files or stem not in NOT_LABELS}
    if not texts:
        raise ValueError(f"{labels} holds no label files (.txt): fix --labels.")
    problems += without_image(texts, files, "label file", images)
    bare = [stem for stem in files if stem not in texts]
    items = [
        Item(
            file,
            images / file,
            partial(reader.draw, texts[stem]) if stem in texts else partial(paint, (), unlabelled=unlabelled),
        )
        for stem, file in files.items()
    ]
    notes = (f"Images without a label file, so without an object: {len(bare)} of {len(files)}.",) if bare else ()
    return Labelled(classes, items, len(items), tuple(problems), notes)
