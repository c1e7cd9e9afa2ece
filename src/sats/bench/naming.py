"""What cells are called: names that say what they are, are safe for a folder, and do not meet."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from sats.documents import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST_VALUE = 24
"""Characters of a value that are shown."""
UNSAFE = re.compile(r"[^a-z0-9.+-]+")
DIGITS = 8
"""Of the sum that tells values apart whose text is not all shown: one in 4 billion meet."""


def short_names(names: Iterable[str]) -> dict[str, str]:
    """For each dotted name of a setting its last part, or all of it where two would be called the same."""
    distinct = dict.fromkeys(names)
    ends = Counter(name.rpartition(".")[2] for name in distinct)
    return {name: end if ends[end := name.rpartition(".")[2]] == 1 else name for name in distinct}


def cell_name(variant: str, values: Mapping[str, Any]) -> str:
    """The variant and its values, as in "mib,order_seed=0,seed=1"."""
    return ",".join([variant, *(f"{_safe(name)}={value_text(value)}" for name, value in values.items())])


def value_text(value: Any) -> str:
    """A value of JSON as a part of a file's name; where that cannot show all of it, a sum of it stands behind."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    safe = UNSAFE.sub("-", text)[:LONGEST_VALUE]
    if safe == text and not (isinstance(value, str) and _is_json(text)):
        return safe
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:DIGITS]
    return f"{safe}~{digest}"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def _is_json(text: str) -> bool:
    """Whether a string looks like a number, true, false or null, or like nothing at all."""
    try:
        parse_json(text, "a setting")
    except ValueError:
        return not text
    return True
