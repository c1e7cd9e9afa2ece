"""Settings nested as in a run's config.json, and by their dotted names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Settings = dict[str, Any]
"""Nested as in a run's config.json, or by dotted names."""


def merged(below: Settings, above: Settings) -> Settings:
    """``below`` with the settings of ``above`` in their place; neither is changed."""
    both = dict(below)
    for name, value in above.items():
        inner = both.get(name)
        both[name] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return both


def nested(name: str, value: Any) -> Settings:
    """The setting with a dotted ``name``, alone."""
    first, _, rest = name.partition(".")
    return {first: nested(rest, value) if rest else value}


def flat(settings: Mapping[str, Any], prefix: str = "") -> Settings:
    """Every setting by its dotted name."""
    found: Settings = {}
    for name, value in settings.items():
        dotted = f"{prefix}{name}"
        found |= flat(value, f"{dotted}.") if isinstance(value, dict) else {dotted: value}
    return found
