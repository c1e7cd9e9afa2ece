"""Sums by which a reader knows the same weights and the same data again, wherever they lie."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from sats.data.layouts import OWN, open_data
from sats.files import sha256

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sats.config import DataConfig, RunConfig
    from sats.methods import Method


def weights_sums(configs: Sequence[RunConfig[Method]]) -> dict[str, str]:
    """SHA-256 of every file of weights in the folders that runs start from, by folder and file name."""
    folders = {Path(config.model.weights) for config in configs if config.model.weights}
    files = [file for folder in sorted(folders) for file in sorted(folder.glob("*.safetensors"))]
    short = short_names({file.parent for file in files})
    return {f"{short[file.parent]}/{file.name}": sha256(file) for file in files}


def data_sums(configs: Sequence[RunConfig[Method]]) -> dict[str, str]:
    """SHA-256 of what the index knows of the data (names, sizes, classes of every image), by folder and split.

    All classes count, also where runs learn some of them alone: it is the same data. Made data has no sum, nor has what
    cannot be opened any more.
    """
    every = dict.fromkeys(config.data for config in configs if config.data.source != "scenes")
    places = {place: source for data in every for place, source in _places(data)}
    found = {place: total for place, source in places.items() if (total := _sum_of_split(source, *place))}
    short = short_names({root for root, _ in found})
    return {f"{short[root]}/{split}": total for (root, split), total in found.items()}


def _places(data: DataConfig) -> Iterator[tuple[tuple[Path, str], str]]:
    """The root and split of all that is read, and what kind of source it is."""
    for root, source in ((data.root, data.source), *((folder, OWN) for folder in data.folders)):
        for split in (data.train_split, data.test_split):
            yield (Path(root), split), source


def short_names(paths: Collection[Path]) -> dict[Path, str]:
    """The last part of each path, or as many as it takes to tell them apart."""
    parts = 1
    while len({path.parts[-parts:] for path in paths}) < len(paths):
        parts += 1
    return {path: "/".join(path.parts[-parts:]) for path in paths}


def _sum_of_split(kind: str, root: Path, split: str) -> str:
    """Empty for what cannot be opened."""
    try:
        source = open_data(kind, root, split)
    except (ValueError, OSError):
        return ""
    total = hashlib.sha256("\n".join(source.classes).encode("utf-8", "surrogateescape"))
    present = source.presence()
    for index in sorted(range(len(source)), key=source.key):
        row = f"\n{source.key(index)} {source.size(index)} ".encode("utf-8", "surrogateescape")
        total.update(row + present[index].tobytes())
    return total.hexdigest()
