"""Hugging Face datasets: columns of images and masks in Parquet, Arrow, or a folder of images; no code in them is run.

Only what lies in the rows is used: a path in them is followed nowhere but below the folder, or the cache, of the data.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from logging import ERROR, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sats.data.formats.colours import Palette, read_palette
from sats.data.formats.labelled import Embedded, Item, Labelled, arrange, check_size
from sats.data.formats.tables import in_order, read_names
from sats.data.index import fault_of_scale, opened, read_image
from sats.files import at_home
from sats.types import BACKGROUND, IGNORE, Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

SAVED: Final = ("state.json", "dataset_dict.json")
"""Either is in a folder that `save_to_disk` made."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which rows of which data set: a folder here or a name on the hub, one of its splits, and two of its columns.

    ``stream`` fetches the rows of a data set on the hub one after the other, instead of all before the first.
    """

    data: str
    split: str
    image_column: str = "image"
    mask_column: str = "label"
    stream: bool = False


@dataclass(frozen=True)
class Ids:
    """The class index of each id in masks; ``unknown`` says what becomes of others, but for IGNORE, which stays."""

    indices: Mapping[int, int]
    unknown: Unknown
    where: str

    def decode(self, ids: NDArray[Any], mask: str) -> NDArray[np.uint8]:
        """The class of every pixel [H, W] of ``mask``; ValueError for ids that may not be there."""
        values, inverse = np.unique(ids, return_inverse=True)
        known = {IGNORE: IGNORE, **self.indices}
        strange = [int(value) for value in values if int(value) not in known]
        if strange and self.unknown == "refuse":
            shown = ", ".join(map(str, strange[:10]))
            fix = "name them, or say --unknown ignore or --unknown background"
            raise ValueError(f"{mask} holds ids that {self.where} does not name ({shown}): {fix}.")
        other = IGNORE if self.unknown == "ignore" else BACKGROUND
        table = np.array([known.get(int(value), other) for value in values], dtype=np.uint8)
        return table[inverse.reshape(ids.shape)]


def read(
    source: Rows,
    table: Path | None = None,
    names: Path | None = None,
    classes: Sequence[str] = (),
    unknown: Unknown = "refuse",
) -> Labelled:
    """The rows of ``source``.

    What their masks hold is said by a ``table`` of colours, by ``names`` (a file) or ``classes`` of the ids, or by the
    mask column itself.
    """
    if find_spec("datasets") is None:
        raise ValueError("Hugging Face datasets need one more package: pip install datasets")
    if sum(map(bool, (table, names, classes))) > 1:
        raise ValueError(
            "Only one of --table, --names and --classes can say what the masks hold: leave the others out."
        )
    with _reading(source.data):
        rows, count = _rows(source)
        _check_columns(rows, source)
        feature = rows.features[source.mask_column]
        rows = _undecoded(rows, source)
    meaning, known = _meaning(source, feature, table, names, classes, unknown)
    return Labelled(known, _items(rows, source, meaning), count)


@contextmanager
def _reading(data: str) -> Iterator[None]:
    """Turn whatever the library stumbles over into one ValueError, and do not show the hub's retries."""
    from datasets.exceptions import DatasetsError

    hub = getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(ERROR)
    try:
        yield
    except (DatasetsError, OSError, RuntimeError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{data} can't be read as a data set ({cause}): fix --data, or fetch it anew.") from error
    finally:
        hub.setLevel(level)


def _rows(source: Rows) -> tuple[Any, int | None]:
    """The rows, and their number if that is known."""
    from datasets import DatasetDict, load_from_disk

    folder = at_home(source.data)
    if any((folder / name).is_file() for name in SAVED):
        saved = load_from_disk(str(folder))
        if isinstance(saved, DatasetDict):
            _check_split(source, [str(split) for split in saved])
            saved = saved[source.split]
        return saved, len(saved)
    if not folder.is_dir() and (source.data.count("/") != 1 or source.data[0] in "./~"):
        raise ValueError("there is no such folder, and a name on the hub looks like owner/data")
    return _built(source, folder)


def _built(source: Rows, folder: Path) -> tuple[Any, int | None]:
    """The rows of files in a folder or on the hub; those of a folder are never copied to a cache."""
    from datasets import load_dataset_builder
    from datasets.packaged_modules.arrow.arrow import Arrow
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder
    from datasets.packaged_modules.parquet.parquet import Parquet

    is_here = folder.is_dir()
    if is_here:
        with tempfile.TemporaryDirectory() as cache:  # for a lock that is held meanwhile
            builder = load_dataset_builder(str(folder.absolute()), cache_dir=cache)
    else:
        builder = load_dataset_builder(source.data)
    if not isinstance(builder, Parquet | Arrow | ImageFolder):
        raise ValueError("its files are neither Parquet nor Arrow nor a folder of images, which is all that is read")
    files = builder.config.data_files or {}
    _check_split(source, [str(split) for split in files])
    if is_here or source.stream:
        is_counted = is_here and isinstance(builder, Parquet)
        return builder.as_streaming_dataset(source.split), _count(files[source.split]) if is_counted else None
    builder.download_and_prepare()
    rows = builder.as_dataset(source.split)
    return rows, len(rows)


def _count(files: Sequence[str]) -> int:
    """The rows of Parquet files, which their ends tell."""
    from pyarrow.parquet import read_metadata

    return sum(int(read_metadata(file).num_rows) for file in files)


def _check_split(source: Rows, splits: Sequence[str]) -> None:
    if source.split not in splits:
        raise ValueError(f"it has no split {source.split!r}: name one of {', '.join(splits)} with --from-split")


def _check_columns(rows: Any, source: Rows) -> None:
    for column, flag in ((source.image_column, "--image-column"), (source.mask_column, "--mask-column")):
        if column not in (rows.features or {}):
            there = ", ".join(rows.features or {})
            raise ValueError(f"it has no column {column!r}: name one of {there} with {flag}")


def _undecoded(rows: Any, source: Rows) -> Any:
    """The two columns, images as they are stored: copied byte for byte, and no path in them is opened unseen."""
    from datasets import Image

    columns = [source.image_column, source.mask_column]
    rows = rows.select_columns(columns)
    for column in columns:
        if isinstance(rows.features[column], Image):
            rows = rows.cast_column(column, Image(decode=False))
    return rows


def _meaning(
    source: Rows, feature: Any, table: Path | None, names: Path | None, classes: Sequence[str], unknown: Unknown
) -> tuple[Palette | Ids, tuple[str, ...]]:
    """What masks hold, and the classes."""
    if table is not None:
        palette = read_palette(table, unknown)
        return palette, palette.classes
    where = f"the column {source.mask_column!r} of {source.data}"
    if names is not None:
        by_number, where = read_names(names), str(names)
    elif classes:
        by_number, where = dict(enumerate(classes)), "--classes"
    else:
        by_number = dict(enumerate(_label_names(feature)))
    if not by_number:
        raise ValueError(f"{where} does not name its classes: do so with --names id2label.json, --classes or --table.")
    numbers, given = in_order({number: name for number, name in by_number.items() if number != IGNORE})
    known, indices = arrange(given, where)
    return Ids(dict(zip(numbers, indices, strict=True)), unknown, where), known


def _label_names(feature: Any) -> list[object]:
    """The names of a column of class labels, however deep they are nested; none for any other."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    return list(getattr(feature, "names", None) or [])


def _items(rows: Any, source: Rows, meaning: Palette | Ids) -> Iterator[Item]:
    with _reading(source.data):
        for number, row in enumerate(rows):
            where = f"{source.data}, {source.split}, row {number},"
            image = Embedded(f"{where} image", partial(_content, row[source.image_column], source, f"{where} image"))
            draw = partial(_draw, row[source.mask_column], source, meaning, f"{where} mask")
            yield Item(f"{number:06}", image, draw)


def _content(cell: object, source: Rows, where: str) -> bytes:
    """The image file in a cell of the table; ValueError if there is none, or it lies outside of the data."""
    content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if isinstance(content, bytes):
        return content
    if not isinstance(path, str):
        raise ValueError(f"{where} is missing: fix --image-column or --mask-column.")
    file = Path(os.path.normpath(Path(path).absolute()))
    if not any(file.is_relative_to(folder) for folder in _folders(source)):
        raise ValueError(f"{where} is a path out of the data ({path}): it was not followed. Fetch the data anew.")
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"{where} can't be read ({error}): fetch the data anew.") from error


def _folders(source: Rows) -> list[Path]:
    """Where files of the data set may be."""
    from datasets import config
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = at_home(source.data)
    if folder.is_dir():
        return [folder.absolute(), folder.resolve()]
    return [Path(config.HF_DATASETS_CACHE).absolute(), Path(HF_HUB_CACHE).absolute()]


def _draw(cell: object, source: Rows, meaning: Palette | Ids, where: str, height: int, width: int) -> NDArray[np.uint8]:
    ids = np.asarray(cell) if isinstance(cell, list) else _pixels(_content(cell, source, where), meaning, where)
    if ids.ndim != (3 if isinstance(meaning, Palette) else 2) or ids.dtype.kind not in "iu":
        raise ValueError(f"{where} has no class ids: fix --mask-column, or say what its colours are with --table.")
    drawn = meaning.decode(ids, where)
    check_size(where, (drawn.shape[0], drawn.shape[1]), where.replace(" mask", " image"), height, width)
    return drawn


def _pixels(content: bytes, meaning: Palette | Ids, where: str) -> NDArray[Any]:
    """Colours [H, W, 3] or ids [H, W] of a mask's file."""
    with opened(where, content) as mask:
        if mask.format == "JPEG":
            raise ValueError("JPEG blurs masks")
        if not isinstance(meaning, Palette) and (fault := fault_of_scale(mask)):
            raise ValueError(f"it {fault}, which readers scale: save 8")
        mask.load()
    if isinstance(meaning, Palette):
        return np.asarray(read_image(where, content=content))
    pixels = np.asarray(mask)
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels
