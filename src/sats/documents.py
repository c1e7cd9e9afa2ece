"""JSON that others may have written: read, or refused with the cause. Used before torch is loaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

MOST_BYTES = 256 * 2**20
"""Of a file that is read whole; sats writes none of a hundredth of that."""


def read_json(path: Path) -> Any:
    """What the file ``path`` says; ValueError if it cannot be read, is not JSON, or is out of all proportion."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path} is larger than {MOST_BYTES >> 20} MiB: it is not what sats expects there.")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    return parse_json(content, str(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """What ``text`` says; ValueError, which calls it ``where``, if it is not JSON or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply: it is not what sats expects there.") from error
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}.") from error


def checked(value: Any, kind: Any) -> Any:
    """``value``, if it is of the type ``kind`` down to the last item; else TypeCheckError."""
    return check_type(value, kind, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)


def is_a(value: Any, kind: Any) -> bool:
    """Whether ``value`` is of the type ``kind``, down to the last item."""
    try:
        checked(value, kind)
    except TypeCheckError:
        return False
    return True
