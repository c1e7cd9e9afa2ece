"""Files and folders written beside and renamed into place, so that nobody sees a half-written one."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from safetensors import SafetensorError

from sats.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

STRAY: Final = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)@(?P<machine>.*)\.(?P<kind>tmp|old)", re.DOTALL)
"""The name of what a process writes beside (tmp), or of the folder where it keeps what is being replaced (old)."""
LONGEST: Final = 100
"""Bytes of a name that leave room for number and machine: file systems have 255 in all."""
LONG_AGO: Final = 24 * 60 * 60.0
"""Seconds after which no other machine's process is still writing."""


def at_home(path: os.PathLike[str] | str) -> Path:
    """``path`` with a leading ~ as the user's home; ~NAME of nobody here stays as it is, and is found missing."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_utf8(path: Path) -> bool:
    """Whether ``path`` is text, and no bytes that Python only carries along."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write ``text`` beside ``path`` and rename it into place.

    What of a file's name is no UTF-8 is written as Python and JSON do, backslash and number.
    """
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def append_line(path: Path, line: str) -> None:
    """Add ``line`` to the text file at ``path``; one that was cut off there keeps a line of its own."""
    with _naming(path), path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode("utf-8", "surrogateescape"))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write; once on disk it takes the place of ``path``, unless there was an error."""
    beside = _beside(path)
    try:
        with _naming(path, beside):
            yield beside
            _sync(beside)
            beside.replace(path)
    finally:
        _remove(beside)  # there still only after an error


@contextmanager
def working(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` as long as the context lasts; what is above it is made."""
    beside = _beside(path)
    with _naming(path, beside):
        beside.mkdir(parents=True)
    try:
        yield beside
    finally:
        _remove(beside)


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder`` to fill; it becomes ``folder``, unless there was an error."""
    with working(folder) as beside:
        yield beside
        into_place(beside, folder)


def into_place(beside: Path, final: Path) -> None:
    """Rename the folder ``beside`` to ``final``, replacing what is there, once its files are safely on disk."""
    for path in beside.rglob("*"):
        if path.is_file():
            _sync(path)
    outdated = _beside(final, "old")
    if final.exists():
        outdated.mkdir()
        final.rename(outdated / final.name)  # to remove it in place would leave it by halves for a while
    beside.rename(final)
    _remove(outdated)


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
        raise RunError(
            f"{_final(what)} cannot be written ({_cause(error)}). Free some space or fix the permissions; what was "
            "saved before is kept, and an interrupted run goes on with `sats resume RUN`."
        ) from error


def _final(path: Path) -> Path:
    """``path``, or what it is written for, where it lies in a folder beside that."""
    for place in reversed((path, *path.parents)):
        if stray := STRAY.fullmatch(place.name):
            return place.with_name(stray["name"])
    return path


def _cause(error: BaseException) -> object:
    """What the system said, where that is known: a library may have said something else on top."""
    if isinstance(error, shutil.Error):
        source, _, said = error.args[0][0]  # the first of a list
        return f"{said.partition(': ')[0]}, copying {source}"
    refusal: BaseException | None = error
    while refusal is not None and not (isinstance(refusal, OSError) and refusal.strerror):
        refusal = refusal.__context__
    if refusal is None:
        return error
    parts = Path(str(refusal.filename or "")).parts
    is_beside = any(STRAY.fullmatch(part) for part in parts)  # which is gone by now
    return refusal.strerror if is_beside or not parts else f"{refusal.strerror}: {refusal.filename}"


@contextmanager
def _naming(path: Path, beside: Path | None = None) -> Iterator[None]:
    """Let the system's refusals name ``path`` where they name no file, or the one ``beside`` it."""
    try:
        yield
    except OSError as error:
        if error.errno and str(error.filename) in ("None", str(beside)):
            error.filename = str(path)
        raise


# --- what killed processes leave --------------------------------------------------------------------------------------


def _beside(path: Path, kind: Literal["tmp", "old"] = "tmp") -> Path:
    """The name of this process's own for what will become ``path``, or was it; nothing is there."""
    _discard_strays(path.parent)
    name = os.fsencode(path.name)
    short = path.name if len(name) <= LONGEST else hashlib.sha256(name).hexdigest()
    beside = path.with_name(f".{short}.{os.getpid()}@{platform.node()}.{kind}")
    _remove(beside)  # of a process that had the same number
    return beside


@cache
def _discard_strays(folder: Path) -> None:
    """Remove what processes that are no more had begun in ``folder``; once, as it may hold a great many files."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if (stray := STRAY.fullmatch(entry.name)) and _is_abandoned(entry, int(stray["process"]), stray["machine"]):
                _discard(Path(entry), stray["kind"])


def _discard(stray: Path, kind: str) -> None:
    """Put back what `into_place` had set aside and not replaced yet; remove all else."""
    for outdated in stray.iterdir() if kind == "old" else ():
        if not (final := stray.with_name(outdated.name)).exists():
            outdated.rename(final)
    _remove(stray)


def _is_abandoned(entry: os.DirEntry[str], process: int, machine: str) -> bool:
    import psutil  # late: it takes longer than all else here

    if machine == platform.node():
        return not psutil.pid_exists(process)
    return time.time() - entry.stat().st_mtime > LONG_AGO


def _remove(path: Path) -> None:
    """Remove a file or folder, as far as that can be done."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
