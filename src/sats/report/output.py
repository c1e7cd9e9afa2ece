"""Where a report goes, and how it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sats.files import write_text
from sats.report.gather import common_parent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sats.report.gather import RunRecord


def default_place(folders: Sequence[Path], name: str) -> Path:
    """Where a report called ``name`` goes: into the run, or into the folder that holds all the runs."""
    return (folders[0] if len(folders) == 1 else common_parent(folders)) / name


def place_for(runs: Sequence[RunRecord], out: Path | None, name: str) -> Path:
    """``out``, or the default place for ``name``; ValueError if that is a folder."""
    target = out or default_place([run.folder.path for run in runs], name)
    if target.is_dir():
        raise ValueError(f"{target} is a folder: name the file to write with --out FILE.")
    return target


def put(target: Path, text: str) -> Path:
    """Write ``text`` to ``target``, making its folder where there is none, and return it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)
    return target
