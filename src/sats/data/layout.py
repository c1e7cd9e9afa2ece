"""What a data set of the field is: its classes, ids and splits, where people keep it, who made it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sats.data.index import cache_path
from sats.data.pairs import PairsSource, make_labels
from sats.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sats.data.index import Pair
    from sats.types import OnError

Found = tuple["list[Pair]", "list[str]"]
"""Pairs, and what is wrong with others."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A file in which a data set is given away; ``into`` is where its content belongs below the root."""

    name: str
    digest: str = ""
    """Its published checksum, "md5:..." or "sha1:..."; empty where there is none."""
    into: str = ""
    """The folder below the root that it is unpacked into."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A data set as people have it on disk.

    ``classes`` are its names in the order of their ids, the background first where ``has_background``; ``ids`` gives,
    for each raw id of a mask, its place among them, or IGNORE (default: one after the other). ``find`` pairs the files
    of a split below a root; ``splits`` says how many there are. ``tree`` is the layout in words, ``origin`` where to
    get it and under what terms, ``archives`` what `sats data prepare` unpacks, and ``finish`` what it does with the
    folder afterwards.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    has_background: bool
    splits: Mapping[str, int]
    find: Callable[[Path, str], Found]
    tree: str
    origin: str
    ids: Mapping[int, int] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
    finish: Callable[[Path], None] | None = None


def open_layout(
    layout: Layout,
    root: Path,
    split: str,
    classes: Sequence[str] = (),
    rebuild_index: bool = False,
    on_error: OnError = "error",
) -> PairsSource:
    """One split of the data set in ``root``; ``classes`` keeps some, in this order, the others become background.

    ValueError for whatever is wrong with it, with all that one look at it finds; with ``on_error`` "skip", pairs that
    cannot be used are left out instead. A split with another number of images than it should have is only warned of: it
    may be a part that somebody took on purpose.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder: name the one that holds {layout.title}, as\n{layout.tree}")
    if split not in layout.splits:
        raise ValueError(f"{layout.title} has no split {split!r}: use one of {', '.join(layout.splits)}.")
    ids = layout.ids or {index: index for index in range(len(layout.classes))}
    fix = (
        f"which {layout.title} does not define: these are other masks, or masks that somebody converted. Use the "
        "original ones."
    )
    labels = make_labels(layout.classes, classes, layout.has_background, ids, layout.title, fix)
    pairs, problems = layout.find(root, split)
    if not pairs and not problems:
        raise ValueError(
            f"{root} has no images in its split {split!r}: name another one, or fix the list of its images."
        )
    if len(pairs) != layout.splits[split] and not problems:
        warnings.warn(
            f"{layout.title} has {layout.splits[split]} images in its split {split}; {root} has {len(pairs)}.",
            stacklevel=2,
        )
    where = f"{root}, split {split},"
    cache = cache_path(root, f"{layout.name}-{split}")
    return PairsSource(pairs, problems, labels, cache, where, rebuild_index, on_error)


def first_folder(root: Path, candidates: Sequence[str], what: str) -> Path:
    """The first of the ``candidates`` below ``root`` that is there; ValueError says ``what`` is missing."""
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    listed = " or ".join(str(root / candidate) for candidate in candidates)
    raise ValueError(f"{what} should be in {listed}, and there is no such folder.")


def train_ids(raw: Sequence[int], others: Sequence[int]) -> dict[int, int]:
    """Ids in which the ``raw`` ones are the classes, one after the other, and the ``others`` are ignored."""
    return {**dict.fromkeys(others, IGNORE), **{value: place for place, value in enumerate(raw)}}


def home_of(root: Path, part: str, below: Sequence[str]) -> Path:
    """The folder that holds ``part``: ``root`` itself, or one of those ``below`` it; ValueError if none does."""
    for candidate in (root, *(root / name for name in below)):
        if (candidate / part).is_dir():
            return candidate
    raise ValueError(f"{root / part} is not a folder, and neither is it below {' or '.join(below)} there.")
