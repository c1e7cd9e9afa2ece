"""What a command that was killed leaves behind: whole files, half-written ones, and those it had begun beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sats.files import STRAY


def strays(place: Path) -> list[Path]:
    """What lies below ``place`` under the name of something that is only being written; but not what is in such."""
    found = [path for path in sorted(place.rglob("*")) if STRAY.fullmatch(path.name)]
    return [path for path in found if not any(map(STRAY.fullmatch, path.relative_to(place).parts[:-1]))]


def whole_files(place: Path) -> dict[str, bytes]:
    """The content of every file below ``place``, by its path there, but for strays and what is in them."""
    found = {path.relative_to(place): path for path in sorted(place.rglob("*")) if path.is_file()}
    return {str(name): path.read_bytes() for name, path in found.items() if not any(map(STRAY.fullmatch, name.parts))}


def half_written(place: Path, expected: dict[str, bytes]) -> Iterator[str]:
    """The files below ``place`` that are not as ``expected``, and those that lack in a folder that is there."""
    found = whole_files(place)
    for name, content in found.items():
        if content != expected.get(name):
            yield name
    for name in expected.keys() - found.keys():
        if Path(name).parent != Path() and (place / name).parent.is_dir() and not _is_cache(name):
            yield f"{name} (lacks)"


def _is_cache(name: str) -> bool:
    """Whether files come one by one into the folder of this one, each whole for itself."""
    return Path(name).parts[0] == "cache"
