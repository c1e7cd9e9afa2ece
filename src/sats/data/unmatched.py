"""Class names on which data and a model differ, said before anybody trusts what was measured by them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from sats.words import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def unmatched(where: str, labelled: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    """A sentence on the classes that the data ``where`` has ``labelled`` and nobody knows, and on the reverse.

    ``known`` are the foreground classes that could be measured there. Case does not count.
    """
    strange = _without(labelled, known)
    missing = _without(known, labelled)
    if strange:
        guesses = {
            name: difflib.get_close_matches(name.casefold(), map(str.casefold, missing), n=1) for name in strange
        }
        hint = ", ".join(f"is {name} {near[0]}?" for name, near in guesses.items() if near)
        asked = f" ({hint[0].upper()}{hint[1:]})" if hint else ""
        yield f"{where} labels {names(strange)}, which the model does not know.{asked}"
    if missing:
        yield f"{where} does not label {names(missing)}: not measured there."


def _without(some: Sequence[str], others: Sequence[str]) -> list[str]:
    folded = {name.casefold() for name in others}
    return [name for name in some if name.casefold() not in folded]
