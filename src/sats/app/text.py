"""HTML of the page's own templates: whatever a name holds, in it that is text."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from sats.errors import RunError
from sats.templates import templates_of

if TYPE_CHECKING:
    from collections.abc import Callable


_templates = cache(templates_of)


def rendered(template: str, **parts: object) -> str:
    """The template ``template``.html.j2 with ``parts`` in it, escaped."""
    return _templates("sats.app").get_template(f"{template}.html.j2").render(parts)


MISTAKES = (ValueError, RunError, OSError)
"""What is told to whoever uses the page."""


def told(*problems: str) -> str:
    """Problems as the page shows them, a paragraph each; nothing where there are none."""
    return rendered("problems", problems=problems)


def style() -> str:
    """The page's own style sheet."""
    return files("sats.app").joinpath("templates/style.css").read_text(encoding="utf-8")


def attempt(act: Callable[[], object]) -> str:
    """Do what ``act`` does; returns what the page says of it: nothing, or what went wrong."""
    try:
        act()
    except MISTAKES as error:
        return told(str(error))
    return ""
