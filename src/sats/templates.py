"""Templates of HTML in which every part is escaped, whatever it holds."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from sats.words import shown


def templates_of(package: str) -> Environment:
    """The templates in ``package``; a part that is missing is an error, and ``shown`` makes a name fit for readers."""
    found = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["shown"] = shown
    return found
