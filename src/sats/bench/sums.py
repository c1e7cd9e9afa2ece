"""Sums by which a reader knows the same weights and the same data again, wherever they lie."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.config import DataConfig, RunConfig
    from sats.methods import Method


def weights_sums(configs: Sequence[RunConfig[Method]]) -> dict[str, str]:
    """SHA-256 of every file of weights in the folders that runs start from, by folder and file name."""
    folders = sorted({config.model.weights for config in configs} - {""})
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.safetensors"))]
    return {f"{file.parent.name}/{file.name}": _sum_of(file) for file in files}


def _sum_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def data_sums(configs: Sequence[RunConfig[Method]]) -> dict[str, str]:
    """SHA-256 of what the index knows of the data (names, sizes, classes of every image), by folder and split.

    Made data has none, nor has what cannot be opened any more.
    """
    found: dict[str, str] = {}
    for data in dict.fromkeys(config.data for config in configs if config.data.source != "scenes"):
        for root in (data.root, *data.folders):
            for split in (data.train_split, data.test_split):
                found |= _sum_of_split(data, Path(root), split)
    return found


def _sum_of_split(data: DataConfig, root: Path, split: str) -> dict[str, str]:
    from sats.data.layouts import open_data

    try:
        source = open_data(data.source, root, split, data.classes, data.has_background)
    except (ValueError, OSError):
        return {}
    total = hashlib.sha256("\n".join(source.classes).encode("utf-8", "surrogateescape"))
    present = source.presence()
    for index in sorted(range(len(source)), key=source.key):
        row = f"\n{source.key(index)} {source.size(index)} ".encode("utf-8", "surrogateescape")
        total.update(row + present[index].tobytes())
    return {f"{root.name}/{split}": total.hexdigest()}
