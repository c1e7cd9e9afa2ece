"""Archives of data sets: checked, and unpacked without leaving their folder or replacing anything."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from sats.errors import RunError
from sats.files import saving, working

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK: Final = 2**20
MOST_FILES: Final = 2_000_000
MOST_GROWTH: Final = 200
"""How many times as large as an archive its content may be; pictures hardly shrink, a bomb shrinks a thousandfold."""
SMALL: Final = 64 * 2**20
"""Bytes of content that any archive may have, whatever its own size."""
ENCRYPTED: Final = 1
"""The bit in a zip file's flags."""
BROKEN: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,  # from gzip and bz2, too
    NotImplementedError,
)
"""What reading a broken archive raises."""
SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Member(NamedTuple):
    """A regular file in an archive: its path there, and its content."""

    path: str
    content: IO[bytes]


def check_digest(archive: Path, digest: str, report: Callable[[int], object] = lambda _: None) -> None:
    """ValueError unless ``archive`` has the checksum ``digest``, "md5:..." or "sha1:..."; ``report`` gets the bytes."""
    kind, _, expected = digest.partition(":")
    found = hashlib.new(kind, usedforsecurity=False)
    with archive.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
            report(len(chunk))
    if found.hexdigest() != expected:
        raise ValueError(
            f"{archive} is not the archive that was published: its {kind} is {found.hexdigest()}, not {expected}. It "
            "was cut off or changed: fetch it again."
        )


def unpack(archive: Path, into: Path, report: Callable[[int], object] = lambda _: None) -> int:
    """Unpack ``archive`` below the folder ``into``, all of it or nothing; returns the number of files.

    ``report`` gets the bytes written. ValueError for an archive that is broken or encrypted, a path that leads out of
    the folder or occurs twice, a link, a device, content that is out of all proportion to the archive, or a file that
    is there already: nothing is replaced.
    """
    into.mkdir(parents=True, exist_ok=True)
    budget = _Budget(archive, into)
    paths = []
    with saving(into), working(into / archive.name) as beside:
        for member in _members(archive):
            path = _free_place(archive, member.path, into)
            budget.take(0, files=1)
            with _new_file(archive, beside / path) as file:
                _copy(_chunks(archive, member.content), file, budget, report)
            paths.append(path)
        for path in paths:
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            (beside / path).rename(into / path)
    return len(paths)


class _Budget:
    """How much may still be unpacked of an archive."""

    def __init__(self, archive: Path, into: Path) -> None:
        self._archive = archive
        self._bytes = max(SMALL, MOST_GROWTH * archive.stat().st_size)
        self._free = shutil.disk_usage(into).free
        self._files = MOST_FILES

    def take(self, size: int, files: int = 0) -> None:
        """ValueError where the content is too much for a picture archive; RunError where it is for the disk."""
        self._bytes -= size
        self._free -= size
        self._files -= files
        if self._bytes < 0 or self._files < 0:
            raise ValueError(f"{self._archive} unpacks to far more than pictures do: it is not what it seems.")
        if self._free < 0:
            raise RunError(
                f"The disk has too little space for what {self._archive} holds: free some, or choose another."
            )


def _members(archive: Path) -> Iterator[Member]:
    """The regular files in a zip or tar file; ValueError for anything but these and folders."""
    with _reading(archive):
        if zipfile.is_zipfile(archive):
            yield from _zip_members(archive)
        elif tarfile.is_tarfile(archive):
            yield from _tar_members(archive)
        else:
            raise ValueError(f"{archive} is not an archive that can be unpacked here ({', '.join(SUFFIXES)}).")


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(_not_plain(archive, entry.filename))
            if entry.is_dir():
                continue
            if entry.flag_bits & ENCRYPTED:
                raise ValueError(f"{archive} is encrypted: unpack it by hand, with its password.")
            with opened.open(entry) as content:
                yield Member(entry.filename, content)


def _tar_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive) as opened:
        for entry in opened:
            if not (entry.isfile() or entry.isdir()):
                raise ValueError(_not_plain(archive, entry.name))
            content = opened.extractfile(entry)
            if content is None:
                continue  # a folder
            with content:
                yield Member(entry.name, content)
        assert opened.fileobj is not None  # noqa: S101 (it is open)
        while rest := opened.fileobj.read(CHUNK):  # to its end, where a compressed file has its checksum
            if rest.strip(b"\0"):  # a broken header looks like the end
                raise tarfile.ReadError("what describes one of its files is broken, or something lies behind its end")


def _not_plain(archive: Path, name: str) -> str:
    return f"{archive} holds {name!r}, a link or device: it was not unpacked. Fetch it from where it was published."


def _free_place(archive: Path, name: str, into: Path) -> PurePosixPath:
    """The path of a member below ``into``; ValueError if it leads out of that, or a file is there."""
    path = _inside(archive, name)
    if (into / path).exists():
        raise ValueError(f"{into / path} is there already, and nothing is replaced: choose another --out.")
    return path


def _inside(archive: Path, name: str) -> PurePosixPath:
    """The path of a member below the folder it is unpacked into; ValueError if it leads out of it."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name or not path.parts:
        raise ValueError(f"{archive} holds {name!r}, a path out of its folder: it was not unpacked.")
    return path


@contextmanager
def _new_file(archive: Path, target: Path) -> Iterator[IO[bytes]]:
    """A new file to write; ValueError if ``archive`` held another of its name, or one called as a folder of it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(
            f"{archive} holds {target.name!r} or a folder around it twice: it was not unpacked. Fetch it again."
        ) from error
    with file:
        yield file


def _copy(chunks: Iterator[bytes], file: IO[bytes], budget: _Budget, report: Callable[[int], object]) -> None:
    for chunk in chunks:
        budget.take(len(chunk))
        file.write(chunk)
        report(len(chunk))


def _chunks(archive: Path, content: IO[bytes]) -> Iterator[bytes]:
    with _reading(archive):
        while chunk := content.read(CHUNK):
            yield chunk


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn whatever is wrong inside an archive into one ValueError.

    Nothing is written in this context, so that what the system says here is of reading.
    """
    try:
        yield
    except BROKEN as error:
        raise ValueError(f"{archive} cannot be unpacked ({error}): fetch it again.") from error
