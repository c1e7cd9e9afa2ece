"""Files and folders written beside and renamed into place, so that nobody sees a half-written one."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from sats.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator


def at_home(path: os.PathLike[str] | str) -> Path:
    """``path`` with a leading ~ as the user's home; ~NAME of nobody here stays as it is, and is found missing."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` beside ``path`` and rename it into place."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write; once on disk it takes the place of ``path``, unless there was an error."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        _sync(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # there still only after an error


def into_place(beside: Path, final: Path) -> None:
    """Rename the folder ``beside`` to ``final``, replacing what is there, once its files are safely on disk."""
    for path in beside.rglob("*"):
        if path.is_file():
            _sync(path)
    if final.exists():
        shutil.rmtree(final)
    beside.rename(final)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder`` to fill; it becomes ``folder``, unless there was an error."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    beside.mkdir(parents=True)
    try:
        yield beside
        into_place(beside, folder)
    finally:
        if beside.exists():
            shutil.rmtree(beside)


def sha256(path: Path) -> str:
    """The sum of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Wait until a file's content is on disk, so that not even a power cut leaves it empty under its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def saving(what: Path) -> Iterator[None]:
    """Turn whatever goes wrong while ``what`` is written into one RunError: a full disk has many names."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RunError):
            raise
        cause = error.args[0][0][-1] if isinstance(error, shutil.Error) else error  # the first of a list
        raise RunError(
            f"{what} cannot be written ({cause}). Free some space or mend the permissions; what was saved before "
            "is kept, and an interrupted run goes on with `sats resume RUN`."
        ) from error
