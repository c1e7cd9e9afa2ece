"""Which classes, or which domains, arrive when: a protocol and an order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sats.errors import unknown
from sats.types import ALL, BACKGROUND
from sats.words import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.types import Increment

ONE: Final[dict[Increment, str]] = {"classes": "class", "domains": "domain"}


def class_groups(
    names: Sequence[str],
    protocol: str,
    steps: Sequence[Sequence[str]],
    order: Sequence[str],
    order_seed: int | None,
) -> tuple[tuple[int, ...], ...]:
    """The source's class indices that each step learns, without the background; see `cut`.

    ``names`` are the source's classes, background first.
    """
    groups = cut(names[BACKGROUND + 1 :], "classes", protocol, steps, order, order_seed)
    return tuple(tuple(place + BACKGROUND + 1 for place in group) for group in groups)


def cut(
    names: Sequence[str],
    of: Increment,
    protocol: str,
    steps: Sequence[Sequence[str]],
    order: Sequence[str],
    order_seed: int | None,
) -> tuple[tuple[int, ...], ...]:
    """The places among ``names`` that each step brings; ``of`` says what they name.

    ``steps`` lists them by name and overrides the rest; otherwise ``protocol`` cuts them in their own order, in
    ``order`` (each once), or shuffled by ``order_seed``.
    """
    if steps:
        return tuple(tuple(_places(group, names, of)) for group in _without_repeats(steps, of))
    ordered = _ordered(names, of, order, order_seed)
    ends = np.cumsum(parse_protocol(protocol, len(ordered), of))
    return tuple(tuple(ordered[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True))


def parse_protocol(protocol: str, number: int, of: Increment = "classes") -> tuple[int, ...]:
    """How many of a ``number`` of classes, or domains, each step of an "A-B" protocol brings: A, then B; or all.

    ValueError where it is not a protocol, or does not divide them into whole steps.
    """
    if protocol == ALL:
        return (number,)
    start, size = _first_and_later(protocol, number, of)
    steps, rest = divmod(number - start, size)
    if steps < 1 or rest:
        aside = " (not counting the background)" if of == "classes" else ""
        raise ValueError(
            f"Protocol {protocol} does not divide {number} {of}{aside} into whole steps: "
            f"{start} + k x {size} must be {number}. {_nearest_protocols(start, size, number)}"
            "or list the steps yourself with --stream.steps."
        )
    return (start, *[size] * steps)


def _first_and_later(protocol: str, number: int, of: Increment) -> tuple[int, int]:
    """A and B."""
    if not protocol:
        raise ValueError(
            f"Which of the {number} {of} arrive when? Give --protocol A-B (A {of}, then B a step; all: at once), "
            "or list the steps with --stream.steps."
        )
    first, dash, later = protocol.partition("-")
    if not (dash and first.isdecimal() and later.isdecimal() and int(first) and int(later)):
        raise ValueError(f"{protocol!r} is not a protocol: write A-B, for example 15-1 (15 {of}, then 1 a step).")
    return int(first), int(later)


def _nearest_protocols(start: int, size: int, number: int) -> str:
    """A suggestion with the nearest A that fits B, where there is one."""
    if number == 1:
        return f"Use {ALL} to learn it at once, "
    fitting = range(number % size or size, number, size)
    if not fitting:
        return "Choose a smaller B, "
    return f"Use for example {min(fitting, key=lambda other: abs(other - start))}-{size}, "


def _ordered(names: Sequence[str], of: Increment, order: Sequence[str], order_seed: int | None) -> list[int]:
    """The places of all ``names`` in the order in which they arrive."""
    if order:
        once = f"The order must name every {ONE[of]} once"
        if repeated := _repeated(order):
            raise ValueError(f"{once}; named again: {', '.join(repeated)}.")
        if missing := sorted(set(names) - set(order)):
            raise ValueError(f"{once}; missing: {', '.join(missing)}.")
        return _places(order, names, of)
    if order_seed is not None:
        return [int(place) for place in np.random.default_rng(order_seed).permutation(len(names))]
    return list(range(len(names)))


def _without_repeats(steps: Sequence[Sequence[str]], of: Increment) -> Sequence[Sequence[str]]:
    if repeated := _repeated([name for group in steps for name in group]):
        raise ValueError(f"A {ONE[of]} can be learned once only; listed twice in the steps: {', '.join(repeated)}.")
    return steps


def _repeated(names: Sequence[str]) -> list[str]:
    return [shown(name) for name in sorted({name for name in names if names.count(name) > 1})]


def _places(wanted: Sequence[str], names: Sequence[str], of: Increment) -> list[int]:
    places = []
    for name in wanted:
        if name not in names:
            raise ValueError(unknown(ONE[of], name, names, "the data"))
        places.append(names.index(name))
    return places
