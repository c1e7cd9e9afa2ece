"""Small disks of their own, to be filled or made read-only; tests skip where nobody may mount one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

FILLER = "filler"
KIB = 1024


@dataclass(frozen=True)
class Disk:
    """A file system in memory, mounted on ``path``."""

    path: Path

    def leave(self, kib: int) -> None:
        """Fill the disk until so many KiB are free."""
        filler = self.path / FILLER
        filler.unlink(missing_ok=True)
        with filler.open("wb") as file:
            for _ in range((shutil.disk_usage(self.path).free - kib * KIB) // (4 * KIB)):
                file.write(bytes(4 * KIB))

    def free(self) -> None:
        """Give back what `leave` took."""
        (self.path / FILLER).unlink(missing_ok=True)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing can be written as long as the context lasts, also by root, whom permissions do not bind."""
        _run("mount", "-o", "remount,ro", str(self.path))
        try:
            yield
        finally:
            _run("mount", "-o", "remount,rw", str(self.path))


@contextmanager
def mounted(path: Path, mib: int) -> Iterator[Disk]:
    """A disk of so many MiB on the new folder ``path``; skips the test where none can be mounted."""
    path.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here, as only root may: {getattr(error, 'stderr', '') or error}")
    try:
        yield Disk(path)
    finally:
        _run("umount", "--lazy", str(path))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)
