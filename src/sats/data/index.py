"""Pairs of image and mask files: reading them safely, and a cached index of what they hold.

The index knows each mask's size and the raw ids in it: what the ids mean is the business of whoever asks.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from platformdirs import user_cache_dir

from sats.files import write_text
from sats.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

    # Path below the folder scanned (POSIX), length in bytes, time of last change (ns). Not a named tuple: the
    # garbage collector walks those again and again, which doubles the time for 100,000 files.
    File = tuple[str, int, int]
    Rows = dict[str, "Row"]

VERSION: Final = 1  # of the cache's format; another version's file is ignored
FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
TAILS: Final = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
UNREADABLE: Final = (OSError, SyntaxError, ValueError, EOFError)  # what Pillow raises on broken files
IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
COLOUR_MODES: Final = ("RGB", "RGBA")
COLOURED: Final = "; of colours that stand for classes, `sats data convert colours` makes such masks"
SUFFIXES_SHOWN: Final = ", ".join(sorted(IMAGE_SUFFIXES))


class Pair(NamedTuple):
    """An image and its mask, by path. ``key`` names the pair within its index.

    ``stamp`` is the mask's length in bytes and time of last change (ns), then the image's: while it stays the
    same, so do the files.
    """

    key: str
    image: str
    mask: str
    stamp: tuple[int, int, int, int]


class Row(NamedTuple):
    """What the index knows of a pair: its stamp, its height and width in pixels, its mask's raw ids (hex)."""

    mask_size: int
    mask_mtime_ns: int
    image_size: int
    image_mtime_ns: int
    height: int
    width: int
    ids: str


@dataclass(frozen=True)
class Index:
    """What N pairs hold, as arrays. A pair with a problem has the size 0 x 0 and no ids.

    ``sizes`` [N, 2] are heights and widths. ``ids`` [M] are the raw ids of all masks, one mask after another;
    ``owners`` [M] are the positions of the pairs that hold them. ``problems`` has a sentence a bad pair.
    """

    sizes: NDArray[np.int32]
    ids: NDArray[np.uint8]
    owners: NDArray[np.int64]
    problems: tuple[str, ...]

    def only(self, kept: NDArray[np.bool_]) -> Index:
        """The index of those pairs alone that are ``kept`` [N]."""
        places = np.cumsum(kept) - 1
        held = kept[self.owners]
        return Index(self.sizes[kept], self.ids[held], places[self.owners[held]], self.problems)


def scan_files(folder: Path, suffixes: frozenset[str]) -> Iterator[File]:
    """List the files below ``folder`` with one of ``suffixes`` (lower case; any case matches), in no order.

    Names with a leading dot are left out, links followed. ValueError for a folder that can't be read, and for
    a link that goes nowhere or back to a folder above it.
    """
    try:
        yield from _scan(str(folder), "", suffixes)
    except OSError as error:
        cause = f"{error.filename} can't be read ({error.strerror})"
        raise ValueError(f"{cause}: fix its permissions or its link, or take it away.") from error


def _scan(folder: str, prefix: str, suffixes: frozenset[str]) -> Iterator[File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if entry.is_dir():
                _check_link(entry)
                yield from _scan(entry.path, f"{prefix}{name}/", suffixes)
            elif name[name.rfind(".") :].lower() in suffixes:
                stat = entry.stat()
                yield prefix + name, stat.st_size, stat.st_mtime_ns
            elif entry.is_symlink():
                entry.stat()  # raises if the link, perhaps one to a folder, goes nowhere


def _check_link(folder: os.DirEntry[str]) -> None:
    path = Path(folder.path)
    if folder.is_symlink() and path.parent.resolve().is_relative_to(path.resolve()):
        raise ValueError(f"{path} links back to a folder that holds it: take the link away.")


@contextmanager
def opened(path: str, content: bytes | None = None) -> Iterator[ImageFile]:
    """Open an image file; whatever goes wrong with it inside becomes one ValueError.

    With ``content`` that is opened, and ``path`` only names it.
    """
    try:
        with Image.open(path if content is None else BytesIO(content), formats=FORMATS) as image:
            _refuse_bomb(image)
            yield image
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise ValueError(f"{path} is not an image of a known format ({known}): save it anew.") from error
    except FileNotFoundError as error:
        raise ValueError(f"{path} is gone: put it back.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path} has too many pixels ({error}): cut it and its partner into tiles.") from error
    except UNREADABLE as error:
        cause = str(error).rstrip(".") or type(error).__name__
        raise ValueError(f"{path} can't be read ({cause}): save or fetch it anew.") from error


def _refuse_bomb(image: ImageFile) -> None:
    """DecompressionBombError for more pixels than Pillow warns of; by itself it goes on up to twice as many."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise Image.DecompressionBombError(f"{image.width} x {image.height}, and at most {most} in all are read")


def read_image(path: str, scale: float = 1.0, content: bytes | None = None) -> Image.Image:
    """Read an image in RGB, upright as its EXIF orientation says; ValueError if it can't be read.

    Greyscale is repeated, alpha is dropped, of 16-bit greyscale the upper 8 bits are kept. A JPEG is decoded to a half,
    a quarter or an eighth of its size where that is not below ``scale`` times its size: much faster. With ``content``
    that is read, and ``path`` only names it.
    """
    with opened(path, content) as image:
        fault = _image_fault(image)
        if not fault:
            if scale <= 1 / 2:
                image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
            ImageOps.exif_transpose(image, in_place=True)
    if fault:
        raise ValueError(f"{path} {fault}")
    return to_rgb(image)


def _image_fault(image: Image.Image) -> str:
    if image.mode in {"I", "F"}:
        return "has 32-bit pixels, whose range is unknown: save it with 8 or 16 bits."
    return ""


def to_rgb(image: Image.Image) -> Image.Image:
    """An image in RGB: greyscale repeated, alpha dropped, of 16-bit greyscale the upper 8 bits; ValueError for 32."""
    if fault := _image_fault(image):
        raise ValueError(f"The image {fault}")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns
    return image.convert("RGB")


def image_size(path: str, content: bytes | None = None) -> tuple[int, int]:
    """Read the height and width of an image, once upright, from its header; ValueError if it can't be read.

    A file that looks cut short is decoded to make sure. With ``content`` that is read, and ``path`` only names it.
    """
    with opened(path, content) as image:
        fault = _image_fault(image)
        if not fault and not _ends_well(path, content, image.format or ""):
            image.load()
        width, height = image.size
        # A PNG's own getexif decodes its pixels, to find EXIF data behind them.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    if fault:
        raise ValueError(f"{path} {fault}")
    return (width, height) if orientation in {5, 6, 7, 8} else (height, width)


def _ends_well(path: str, content: bytes | None, format_: str) -> bool:
    tail = TAILS.get(format_)
    if tail is None:
        return False
    if content is not None:
        return content.endswith(tail)
    with Path(path).open("rb") as file:
        file.seek(-len(tail), os.SEEK_END)
        return file.read() == tail


def read_mask(path: str, content: bytes | None = None) -> Image.Image:
    """Read a mask as it is stored: a PNG of mode L, P or 1; ValueError for any other.

    With ``content`` that is read, and ``path`` only names it.
    """
    with opened(path, content) as mask:
        fault = _mask_fault(mask)
        if not fault:
            mask.load()
    if fault:
        fix = "save the mask as a PNG with one 8-bit class index a pixel (255 = ignore)"
        raise ValueError(f"{path} {fault}: {fix}{COLOURED if mask.mode in COLOUR_MODES else ''}.")
    return mask


def _mask_fault(mask: ImageFile) -> str:
    if mask.format != "PNG":
        return f"is a {mask.format} file, not a PNG"
    if mask.mode not in {"L", "P", "1"}:
        return f"has pixels of mode {mask.mode}, not class indices"
    return fault_of_scale(mask)


def fault_of_scale(mask: ImageFile) -> str:
    """What is wrong with an opened mask's values, empty if nothing is: those of few bits are scaled to 0..255."""
    raw_mode = str(mask.tile[0].args) if mask.tile else ""
    return f"is greyscale of {raw_mode[-1]} bits" if raw_mode in {"L;2", "L;4"} else ""


def ids_in(mask: Image.Image) -> list[int]:
    """List the raw ids that a mask from ``read_mask`` holds, ascending. A 1-bit mask holds 0 and 1."""
    ids = [value for value, count in enumerate(mask.histogram()) if count]
    return [min(value, 1) for value in ids] if mask.mode == "1" else ids


def cache_folder() -> Path:
    """Where what was found out about data is kept: SATS_CACHE, or else the user's cache folder."""
    return Path(os.environ.get("SATS_CACHE") or user_cache_dir("sats"))


def cache_path(root: Path, split: str) -> Path:
    """Name the file for the index of a data root's split, below the cache folder."""
    resolved = root.resolve()
    digest = hashlib.sha256(os.fsencode(resolved / split)).hexdigest()[:16]
    stem = re.sub(r"[^\w.-]+", "_", f"{resolved.name}-{split}", flags=re.ASCII)[:80]
    return cache_folder() / "index" / f"{stem}-{digest}.json"


def index_pairs(pairs: Sequence[Pair], cache: Path, rebuild: bool = False) -> Index:
    """Index what the pairs hold: as ``cache`` says where that is still true, else found and kept there.

    ``rebuild`` looks at every pair again. A pair that can't be used is in the index's ``problems``, and is
    looked at again the next time.
    """
    kept = {} if rebuild else _load(cache)
    rows = {pair.key: row for pair in pairs if (row := kept.get(pair.key)) and row[:4] == pair.stamp}
    problems = []
    try:
        for pair, found in _probe_all([pair for pair in pairs if pair.key not in rows]):
            if isinstance(found, str):
                problems.append(found)
            else:
                rows[pair.key] = found
    finally:  # what an interrupted run has found is not lost
        if rows != kept:
            _save(cache, rows)
    return _as_arrays([rows.get(pair.key) for pair in pairs], tuple(problems))


def _as_arrays(rows: Sequence[Row | None], problems: tuple[str, ...]) -> Index:
    sizes = np.array([(row.height, row.width) if row else (0, 0) for row in rows], dtype=np.int32)
    ids = [row.ids if row else "" for row in rows]
    counts = np.array([len(digits) // 2 for digits in ids], dtype=np.int64)
    flat = np.frombuffer(bytes.fromhex("".join(ids)), dtype=np.uint8)
    return Index(sizes.reshape(-1, 2), flat, np.repeat(np.arange(len(ids)), counts), problems)


def _probe_all(pairs: list[Pair]) -> Iterator[tuple[Pair, Row | str]]:
    if not pairs:
        return
    pool = ThreadPoolExecutor()
    try:
        found = zip(pairs, pool.map(_probe, pairs), strict=True)
        yield from progress_bar(found, "reading masks, once", len(pairs))
    finally:
        pool.shutdown(cancel_futures=True)


def _probe(pair: Pair) -> Row | str:
    """Make a pair's row, or a sentence on what is wrong with it."""
    try:
        mask = read_mask(pair.mask)
        height, width = image_size(pair.image)
    except ValueError as error:
        return str(error)
    if mask.size != (width, height):
        sizes = f"{mask.width} x {mask.height} pixels, its image {pair.image} {width} x {height}"
        return f"{pair.mask} has {sizes}: give both the same size (the image after its EXIF rotation)."
    return Row(*pair.stamp, height, width, bytes(ids_in(mask)).hex())


def _load(cache: Path) -> Rows:
    """Read the rows kept in a cache file; none if it is absent, broken or of another version."""
    try:
        kept = json.loads(cache.read_bytes())
        if kept["version"] != VERSION:
            return {}
        rows = map(Row._make, zip(*(kept[field] for field in Row._fields), strict=True))
        return dict(zip(kept["key"], rows, strict=True))
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _save(cache: Path, rows: Rows) -> None:
    """Write the rows beside the cache file and rename them into place; a folder that refuses only warns."""
    columns = dict(zip(Row._fields, zip(*rows.values(), strict=True), strict=bool(rows)))  # faster than rows
    text = json.dumps({"version": VERSION, "key": list(rows), **columns}, separators=(",", ":"))
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_text(cache, text)
    except OSError as error:
        effect = "is not kept, so the next start reads them all again"
        warnings.warn(f"The index of masks {effect} ({error}): set SATS_CACHE to a folder.", stacklevel=3)
