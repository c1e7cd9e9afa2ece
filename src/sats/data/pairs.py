"""A source of image and mask files: which belong together, what the masks' ids mean, what each pair holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from PIL import Image

from sats.data.index import (
    IMAGE_SUFFIXES,
    SUFFIXES_SHOWN,
    Pair,
    ids_in,
    index_pairs,
    read_image,
    read_mask,
    scan_files,
)
from sats.data.source import Source
from sats.errors import repeated, unknown
from sats.types import BACKGROUND, BACKGROUND_NAMES, IGNORE, NOT_LEARNED_YET
from sats.words import count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sats.data.index import File, Index
    from sats.types import OnError

REDUCTIONS: Final = (1, 2, 4, 8)
"""What a JPEG may be decoded to: a half, a quarter, an eighth of its sides."""
MASK_SUFFIXES: Final = frozenset({".png"})
MOST_SHOWN: Final = 10


class DataProblemsError(ValueError):
    """Everything that is wrong with a data set; the message shows the first ten of ``problems``.

    ``rest`` says where the others are to be seen.
    """

    def __init__(self, problems: Sequence[str], where: str, rest: str = "; `sats data check` lists all") -> None:
        self.problems = tuple(problems)
        shown = "".join(f"\n- {problem}" for problem in problems[:MOST_SHOWN])
        more = f"\nand {len(problems) - MOST_SHOWN} more{rest}." if len(problems) > MOST_SHOWN else ""
        super().__init__(problems[0] if len(problems) == 1 else f"{where} has {len(problems)} problems:{shown}{more}")


class Unpaired(str):
    """A sentence on so many ``images`` that are in no pair, as they or their masks are missing."""

    __slots__ = ("images",)
    images: int

    def __new__(cls, sentence: str, images: int) -> Self:
        """Keep the number beside the sentence."""
        problem = super().__new__(cls, sentence)
        problem.images = images
        return problem

    def __reduce__(self) -> tuple[type[Unpaired], tuple[str, int]]:
        """What a copy is made of."""
        return Unpaired, (str(self), self.images)


@dataclass(frozen=True)
class Labels:
    """What the ids in masks mean: ``classes``, the background first, and for each raw id [256] its index or IGNORE.

    ``known`` [256] says which ids a mask may hold; ``fix`` what to do about others.
    """

    classes: tuple[str, ...]
    channels: NDArray[np.uint8]
    known: NDArray[np.bool_]
    fix: str


class PairsSource(Source):
    """Pairs of image and mask files, with ``problems`` found when they were paired.

    ``cache`` keeps what each holds; ``rebuild`` looks at every file again. DataProblemsError, which says ``where``, for
    whatever is wrong with any of them; with ``on_error`` "skip", such pairs are left out, unless they and the images
    that are `Unpaired` are more than half.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        problems: Sequence[str],
        labels: Labels,
        cache: Path,
        where: str,
        rebuild: bool = False,
        on_error: OnError = "error",
    ) -> None:
        self.classes = labels.classes
        self._labels = labels
        index = index_pairs(pairs, cache, rebuild)
        strange = ~labels.known[index.ids]
        sound = index.sizes[:, 0] > 0
        sound[index.owners[strange]] = False
        found = [*problems, *index.problems, *self._masks_to_fix(pairs, index, strange)]
        if found and on_error == "error":
            raise DataProblemsError(found, where)
        _check_left(int(sound.sum()), len(pairs), found, where)
        self.skipped = tuple(map(str, found))
        self._index = index.only(sound)
        used = [pair for pair, is_sound in zip(pairs, sound.tolist(), strict=True) if is_sound]
        self._keys = tuple(pair.key for pair in used)
        self._images = tuple(pair.image for pair in used)
        self._masks = tuple(pair.mask for pair in used)

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> str:
        """Name image ``index`` by its split and its path below that, without suffix."""
        return self._keys[index]

    def image(self, index: int, scale: float = 1.0) -> Image.Image:
        """Read image ``index``, upright and in RGB; ValueError if it changed size since it was indexed."""
        image = read_image(self._images[index], scale)
        size = (image.height, image.width)
        if not any(size == reduced(self.size(index), by) for by in REDUCTIONS):
            self._check_size(index, self._images[index], size)
        return image

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Read the class index of every pixel of image ``index``: [H, W], IGNORE where unknown."""
        ids, table = self.stored_mask(index)
        return table.take(ids)

    def stored_mask(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Read the raw ids of image ``index``: [H, W], and the class index of each id [256]."""
        path = self._masks[index]
        mask = read_mask(path)
        self._check_size(index, path, (mask.height, mask.width))
        if strange := [value for value in ids_in(mask) if not self._labels.known[value]]:
            raise ValueError(self._without_name(path, strange))
        return np.asarray(mask, dtype=np.uint8), self._labels.channels

    def size(self, index: int) -> tuple[int, int]:
        """Tell height and width of image ``index``, without opening it."""
        height, width = self._index.sizes[index]
        return int(height), int(width)

    def presence(self) -> NDArray[np.bool_]:
        """Tell which classes each image holds: [images, classes]."""
        present = np.zeros((len(self), len(self.classes)), dtype=bool)
        channels = self._labels.channels[self._index.ids]
        known = channels != IGNORE
        present[self._index.owners[known], channels[known]] = True
        return present

    def ids(self) -> frozenset[int]:
        """The raw values that occur in masks."""
        return frozenset(np.unique(self._index.ids).tolist())

    def _masks_to_fix(self, pairs: Sequence[Pair], index: Index, strange: NDArray[np.bool_]) -> list[str]:
        """Describe each mask that holds ids without a name, those that are ``strange`` [M] in the ``index``."""
        by_mask: dict[str, list[int]] = {}
        for owner, value in zip(index.owners[strange], index.ids[strange], strict=True):
            by_mask.setdefault(pairs[owner].mask, []).append(int(value))
        return [self._without_name(mask, values) for mask, values in by_mask.items()]

    def _without_name(self, mask: str, ids: list[int]) -> str:
        what = "the id" if len(ids) == 1 else "the ids"
        return f"{mask} holds {what} {', '.join(map(str, ids))}, {self._labels.fix}{_hint_at_colours(mask)}"

    def _check_size(self, index: int, path: str, size: tuple[int, int]) -> None:
        if size != self.size(index):
            height, width = self.size(index)
            cause = f"{path} has {size[1]} x {size[0]} pixels, but had {width} x {height} when it was indexed"
            raise ValueError(f"{cause}: it was changed since, or rotates itself; save it upright and start again.")


def _check_left(sound: int, pairs: int, problems: list[str], where: str) -> None:
    """DataProblemsError where nothing, or less than half, is ``sound`` of all ``pairs`` and the unpaired images."""
    images = pairs + sum(problem.images for problem in problems if isinstance(problem, Unpaired))
    if problems and (not sound or 2 * sound < images):
        error = DataProblemsError(problems, where)
        error.add_note(f"Of {count(images, 'image')} so few are left, {sound}, that --on-error skip does not go on.")
        raise error


def reduced(size: tuple[int, int], by: int) -> tuple[int, int]:
    """Height and width divided, and rounded up as JPEG's decoder does."""
    return (-(-size[0] // by), -(-size[1] // by))


def make_labels(
    names: Sequence[str], chosen: Sequence[str], has_background: bool, ids: Mapping[int, int], where: str, fix: str
) -> Labels:
    """The labels of a set whose classes are called ``names``, of which ``chosen`` (empty: all) are learned.

    ``ids`` gives, for each raw id that may occur beside IGNORE, its place among ``names``, or IGNORE. A set that does
    not begin with a background gets a class 0 of its own; classes that were not chosen become background.
    """
    classes = chosen_classes(names, chosen, has_background, where)
    position = {name: index for index, name in enumerate(classes)}
    channels = np.full(256, IGNORE, dtype=np.uint8)
    known = np.zeros(256, dtype=bool)
    known[IGNORE] = True
    for raw, place in ids.items():
        known[raw] = True
        if place != IGNORE:
            channels[raw] = position.get(names[place], BACKGROUND)
    return Labels(classes, channels, known, fix)


def chosen_classes(names: Sequence[str], chosen: Sequence[str], has_background: bool, where: str) -> tuple[str, ...]:
    """Choose the classes of a source, the background first; ``where`` names are listed, for a message."""
    background, foreground = (names[0], list(names[1:])) if has_background else (NOT_LEARNED_YET, list(names))
    if repeats := repeated(chosen):
        raise ValueError(f"The classes chosen from {where} repeat {repeats}: name each once.")
    if chosen:
        kept = [name for name in chosen if name in foreground or not _is_background(name, background)]
        _check_known(kept, foreground, where)
        foreground = kept
    if not foreground:
        raise ValueError(f"{where} or the classes chosen from it name nothing but background: name a class.")
    if len(foreground) >= IGNORE:
        cause = f"{where} names {len(foreground)} classes, and with a background they are {len(foreground) + 1}"
        raise ValueError(f"{cause}: a mask holds {IGNORE} at most; choose fewer.")
    return (background, *foreground)


def _is_background(name: str, background: str) -> bool:
    return name == background or name.casefold() in BACKGROUND_NAMES


def _check_known(chosen: Iterable[str], names: Sequence[str], where: str) -> None:
    for name in chosen:
        if name not in names:
            raise ValueError(unknown("class", name, names, where))


@dataclass(frozen=True)
class Place:
    """Where the images of a split are, and its masks; each file's name ends with an ``ending`` of its kind."""

    split: str
    images: Path
    masks: Path
    image_ending: str = ""
    mask_ending: str = ""


def pair_up(place: Place, only: Collection[str] | None = None) -> tuple[list[Pair], list[str]]:
    """Pair images with masks of the same path but for suffix and ending, sorted; and list what is wrong.

    With ``only``, those names (without suffix and ending) are wanted, whatever else is there.
    """
    problems: list[str] = []
    images = by_stem(place.images, IMAGE_SUFFIXES, problems, place.image_ending)
    masks = by_stem(place.masks, MASK_SUFFIXES, problems, place.mask_ending)
    if not images:
        raise ValueError(f"{place.images} holds no images: put some there ({SUFFIXES_SHOWN}).")
    if only is not None:
        problems = _unlisted(place, [name for name in only if name not in images])
        images, masks = (_listed(files, only) for files in (images, masks))
    problems += _without_mask(place, [stem for stem in images if stem not in masks])
    fix = f"put each image below {place.images} ({SUFFIXES_SHOWN}), or take the mask away"
    lacking = [stem for stem in masks if stem not in images]
    problems += counted(lacking, "mask without an image", "masks without an image", fix)
    pairs = []
    for stem, (image, image_bytes, image_time) in images.items():
        if stem in masks:
            mask, mask_bytes, mask_time = masks[stem]
            stamp = (mask_bytes, mask_time, image_bytes, image_time)
            pairs.append(Pair(f"{place.split}/{stem}", f"{place.images}/{image}", f"{place.masks}/{mask}", stamp))
    return pairs, problems


def _listed(files: dict[str, File], names: Collection[str]) -> dict[str, File]:
    return {stem: file for stem, file in files.items() if stem in names}


def _unlisted(place: Place, stems: list[str]) -> list[str]:
    fix = f"fetch the archive anew whose images belong into {place.images}"
    return _unpaired(stems, "listed image is missing", "listed images are missing", fix)


def by_stem(folder: Path, suffixes: frozenset[str], problems: list[str], ending: str = "") -> dict[str, File]:
    """Name the files below a folder by their path without suffix and ending, in the order of the paths with them.

    Files without the ``ending`` are something else and left out.
    """
    files: dict[str, File] = {}
    for file in sorted(scan_files(folder, suffixes)):
        stem = file[0].rpartition(".")[0]
        if not stem.endswith(ending):
            continue
        stem = stem.removesuffix(ending)
        if stem in files:
            both = f"{folder / files[stem][0]} and {folder / file[0]}"
            problems.append(f"{both} have the same name but for the suffix: rename or remove one.")
        files.setdefault(stem, file)
    return files


def _without_mask(place: Place, stems: list[str]) -> list[str]:
    if not stems:
        return []
    others = by_stem(place.masks, IMAGE_SUFFIXES - MASK_SUFFIXES, [], place.mask_ending)
    fix = "save the mask as {}.png, from where it was made"
    problems: list[str] = [
        Unpaired(f"{place.masks / others[stem][0]} is not a PNG: {fix.format(stem)}.", 1)
        for stem in stems
        if stem in others
    ]
    lacking = [stem for stem in stems if stem not in others]
    fix = f"put each mask at {place.masks}/<same name>{place.mask_ending}.png, or take the image away"
    return problems + _unpaired(lacking, "image without a mask", "images without a mask", fix)


def _unpaired(stems: list[str], one: str, many: str, fix: str) -> list[str]:
    return [Unpaired(sentence, len(stems)) for sentence in counted(stems, one, many, fix)]


def counted(stems: list[str], one: str, many: str, fix: str) -> list[str]:
    """A sentence on the files called ``stems``, the first ten of them named; none if there are none."""
    if not stems:
        return []
    what = one if len(stems) == 1 else many
    shown = ", ".join(stems[:MOST_SHOWN]) + (", ..." if len(stems) > MOST_SHOWN else "")
    return [f"{len(stems)} {what} ({shown}): {fix}."]


def _hint_at_colours(mask: str) -> str:
    """What else a mask with a palette may hold than ids; empty for others."""
    with Image.open(mask) as opened:
        has_palette = opened.mode == "P"
    return " If its colours stand for classes, `sats data convert colours` makes masks of ids." if has_palette else ""
