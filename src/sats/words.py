"""Names, numbers and lists as a reader should see them, whatever they contain."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


LONGEST_NAME = 80
"""Characters of a name that are shown; a table is no place for more."""
MOST_LISTED = 12
"""Names that a sentence lists; of more it says how many."""
DIRECTING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Invisible marks that turn the direction of the text around them."""
MOST_MARKS = 3
"""Accents on one letter; stacks of more would cross the lines above."""
RIGHT_TO_LEFT = frozenset({"R", "AL"})
ISOLATE, END_ISOLATE = "\u2068", "\u2069"
NOTHING = "\N{EN DASH}"
"""Stands where a figure is not defined."""


def shown(name: object, limit: int = LONGEST_NAME) -> str:
    """``name`` on one line, at most ``limit`` characters, harmless to the text around it; escaping is not done here."""
    text = " ".join(_calmed(verbatim(str(name)[: 4 * limit])).split()) or "(no name)"
    if len(text) > limit:
        text = f"{text[: limit - 1]}…"
    turned = any(unicodedata.bidirectional(character) in RIGHT_TO_LEFT for character in text)
    return f"{ISOLATE}{text}{END_ISOLATE}" if turned else text


def verbatim(text: str) -> str:
    """``text`` with its line breaks, but a visible sign for what is invisible, no character, or turns the text."""
    return "".join(character if _is_plain(character) else "\N{REPLACEMENT CHARACTER}" for character in text)


def _calmed(text: str) -> str:
    """``text`` with at most MOST_MARKS accents on a letter."""
    stacked = [unicodedata.combining(character) > 0 for character in text]
    return "".join(
        character
        for place, character in enumerate(text)
        if place < MOST_MARKS or not all(stacked[place - MOST_MARKS : place + 1])
    )


def _is_plain(character: str) -> bool:
    if character in "\n\t\r":
        return True
    return character not in DIRECTING and unicodedata.category(character) not in ("Cc", "Cs")


def percent(value: float | None, sign: str = "") -> str:
    """A share as the terminal's tables have it, with the typographer's minus and dash."""
    return NOTHING if value is None else f"{100 * value:{sign}z.1f}".replace("-", "\N{MINUS SIGN}")


def count(number: int, one: str, many: str = "") -> str:
    """A number and its noun, as in "3 steps"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """A time as one would say it, in its two largest units: "48 s", "3 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def listed(parts: Sequence[str]) -> str:
    """An enumeration, as in "a, b and c"."""
    return " and ".join([*([", ".join(parts[:-1])] if parts[:-1] else []), *parts[-1:]])


def evenly(every: Sequence[int], most: int) -> list[int]:
    """All of ``every``, or ``most`` (two or more) if there are more: evenly spaced, with the first and the last."""
    if len(every) <= most:
        return list(every)
    return [every[round(place * (len(every) - 1) / (most - 1))] for place in range(most)]


def names(values: Iterable[object]) -> str:
    """The first names of ``values``, and how many more there are."""
    every = [shown(value, 40) for value in values]
    if len(every) <= MOST_LISTED:
        return listed(every)
    return f"{', '.join(every[:MOST_LISTED])} and {len(every) - MOST_LISTED} more"
