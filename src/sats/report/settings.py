"""What runs were made with: their settings and surroundings as text, and where their settings differ."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.report.groups import flat_settings
from sats.words import NOTHING, shown, verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.report.gather import RunRecord


@dataclass(frozen=True)
class Record:
    """A run's config.json, and what it ran on, as text."""

    name: str
    config: str
    environment: tuple[tuple[str, str], ...]


def record(run: RunRecord) -> Record:
    """What ``run`` was made with."""
    config = verbatim(run.folder.config_path.read_text(encoding="utf-8"))
    facts = tuple((shown(name), shown(_plain(value), 400)) for name, value in run.environment.items())
    return Record(shown(run.name), config, facts)


def _plain(value: object) -> str:
    """A value of environment.json in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def differences(runs: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """The settings in which ``runs`` differ: the dotted name, and each run's value."""
    flat = [{name: _setting(value) for name, value in flat_settings(run).items()} for run in runs]
    every = dict.fromkeys(name for settings in flat for name in settings)
    rows = [(name, [settings.get(name, NOTHING) for settings in flat]) for name in every]
    return [(shown(name), [shown(value) for value in values]) for name, values in rows if len(set(values)) > 1]


def _setting(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
