"""Which digits each built-in scene holds, kept from run to run: to lay thousands out takes most of a second."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL

from sats.data.index import cache_folder
from sats.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Table = NDArray[np.bool_]


def kept(name: str, shape: tuple[int, int], code: str, make: Callable[[], Table]) -> Table:
    """The table of ``shape`` that ``make`` gives, from the cache's file ``name`` where it was made before.

    ``code`` is the Python file that lays scenes out: another text of it, or another NumPy or Pillow, makes another
    table. A cache that cannot be read or written only costs time.
    """
    try:
        made_by = [Path(code).read_bytes(), np.__version__.encode(), PIL.__version__.encode()]
    except OSError:  # only compiled, so nobody knows whether it changed
        return make()
    digest = hashlib.sha256(b"\n".join(made_by)).hexdigest()[:16]
    file = cache_folder() / "scenes" / f"{name}-{digest}.npy"
    table = _read(file, shape)
    if table is None:
        table = make()
        _write(file, table)
    return table


def _read(file: Path, shape: tuple[int, int]) -> Table | None:
    with suppress(OSError, ValueError, EOFError):
        table = np.load(file, allow_pickle=False)
        if table.shape == shape and table.dtype == np.bool_:
            found: Table = table
            return found
    return None


def _write(file: Path, table: Table) -> None:
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as beside, beside.open("wb") as stream:
            np.save(stream, table)
