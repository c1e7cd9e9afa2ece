"""What a suite's file says, and the cells that it spans: one for each run. Read before torch is loaded."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sats.bench.naming import cell_name, short_names
from sats.bench.settings import Places, configuration
from sats.documents import read_json
from sats.dotted import Settings, merged, nested
from sats.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sats.config import RunConfig
    from sats.methods import Method

KEYS = ("name", "recipe", "base", "variants", "grid", "parts")
PART_KEYS = ("variants", "grid")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*")
"""What a suite or a variant may be called: it becomes part of a folder's name."""


@dataclass(frozen=True)
class Part:
    """Some ``variants``, and the ``grid`` that each of them runs on: values by the dotted name of a setting."""

    variants: tuple[str, ...]
    grid: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Suite:
    """A sweep: settings ``base`` over a ``recipe``, ``variants`` over these, each at every point of its part's grid."""

    name: str
    recipe: str
    base: Settings
    variants: Mapping[str, Settings]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Cell:
    """One run of a suite: a variant at one point of the grid, ``values`` by dotted name."""

    name: str
    variant: str
    values: Mapping[str, Any]
    config: RunConfig[Method]


def read_suite(path: Path) -> Suite:
    """The suite in the file ``path``; ValueError says what is wrong with it."""
    return parse_suite(read_json(path), str(path))


def parse_suite(values: object, where: str = "the suite") -> Suite:
    """The suite that the JSON ``values`` describe; ``where`` says in messages which that is."""
    values = _keys(values, KEYS, where)
    if not values.get("variants"):
        raise ValueError(f'{where}: it needs "variants", for example {{"finetune": {{}}, "sats": {{}}}}.')
    variants = _keys(values["variants"], None, f"{where}: variants")
    named = {name: _keys(settings, None, f"{where}: {name}") for name, settings in variants.items()}
    for name in (str(values.get("name", "")), *named):
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{where}: {name!r} becomes a part of folders' names: use letters, digits and . + _ - in it."
            )
    if len({name.casefold() for name in named}) < len(named):
        raise ValueError(f"{where}: two variants differ in capitals only, which some file systems do not tell apart.")
    grid = _grid(values.get("grid", {}), where)
    parts = values.get("parts", [{}])
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"{where}: parts is a list of objects with variants and grid, not {parts!r}.")
    return Suite(
        name=str(values["name"]),
        recipe=str(values.get("recipe", "scenes")),
        base=_keys(values.get("base", {}), None, f"{where}: base"),
        variants=named,
        parts=tuple(_part(part, tuple(named), grid, where) for part in parts),
    )


def _part(values: object, variants: tuple[str, ...], grid: Mapping[str, tuple[Any, ...]], where: str) -> Part:
    """A part: all variants unless it names some, and the suite's grid with its own over it."""
    values = _keys(values, PART_KEYS, f"{where}: parts")
    chosen = values.get("variants", variants)
    if not isinstance(chosen, list | tuple) or not chosen:
        raise ValueError(f"{where}: a part's variants are a list of names, not {chosen!r}.")
    for name in chosen:
        if name not in variants:
            raise ValueError(f"{where}: {unknown('variant', str(name), variants)}")
    return Part(tuple(chosen), {**grid, **_grid(values.get("grid", {}), where)})


def _grid(values: object, where: str) -> dict[str, tuple[Any, ...]]:
    """Values by the dotted name of a setting; each a list without repeats."""
    grid = _keys(values, None, f"{where}: grid")
    for name, choices in grid.items():
        if not isinstance(choices, list) or not choices:
            raise ValueError(f"{where}: {name} in a grid is a list of values, not {choices!r}.")
        texts = [json.dumps(choice, sort_keys=True) for choice in choices]
        if len(set(texts)) < len(texts):
            raise ValueError(f"{where}: {name} in a grid lists a value twice: {choices!r}.")
    return {name: tuple(choices) for name, choices in grid.items()}


def _keys(values: object, known: tuple[str, ...] | None, where: str) -> dict[str, Any]:
    """``values`` as an object of JSON, whose keys are among the ``known``, if those are given."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected an object in braces, got {values!r}.")
    for name in values:
        if known is not None and name not in known:
            raise ValueError(f"{where}: {unknown('key', name, known)}")
    return values


def cells(suite: Suite, places: Places, where: str = "the suite") -> tuple[Cell, ...]:
    """Every run of the suite, once: all variants at one point of the grid, then at the next.

    ValueError for settings that do not fit, naming the cell.
    """
    names = list(dict.fromkeys(name for part in suite.parts for name in part.grid))
    short = short_names(names)
    found: dict[str, Cell] = {}
    for variant, point in _points(suite):
        values = {key: point[key] for key in names if key in point}  # in one order, whatever its part has
        name = cell_name(variant, {short[key]: value for key, value in values.items()})
        settings = merged(suite.base, suite.variants[variant])
        for key, value in values.items():
            settings = merged(settings, nested(key, value))
        config = configuration(suite.recipe, variant, settings, places, f"{where}: {name}")
        found.setdefault(name, Cell(name, variant, values, config))
    return tuple(found.values())


def _points(suite: Suite) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each variant with each point of its grid, in the order to run them."""
    for part in suite.parts:
        for choice in itertools.product(*part.grid.values()):
            for variant in part.variants:
                yield variant, dict(zip(part.grid, choice, strict=True))
