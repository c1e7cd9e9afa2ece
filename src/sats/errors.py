"""What is said of a wrong name, and failures that are nobody's mistake in the settings."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class RunError(RuntimeError):
    """A run cannot go on; the message names where it stopped, why, and what to try. Exit code 1."""


class StoppedElsewhereError(RunError):
    """Another process of the run failed and told the user why: this one has nothing to add."""


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> str:
    """A sentence about a name that is none of the ``known``, with the nearest of them."""
    names = list(known)
    by_lower = {other.casefold(): other for other in names}
    near = difflib.get_close_matches(name.casefold(), by_lower, n=1)
    hint = f"did you mean {by_lower[near[0]]!r}?" if near else f"choose from {', '.join(names)}."
    return f"There is no {kind} {name!r}{f' in {where}' if where else ''}; {hint}"


def repeated(names: Sequence[str]) -> str:
    """The names that occur more than once, quoted; empty if there are none."""
    return ", ".join(repr(name) for name in dict.fromkeys(names) if names.count(name) > 1)
