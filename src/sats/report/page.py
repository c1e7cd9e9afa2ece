"""The page itself: templates, style, and the one script that may run in it."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING

from sats.templates import templates_of

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

PARTS = {
    "figures": "Figures",
    "curves": "Step by step",
    "classes": "Every class",
    "forgetting": "Forgetting",
    "flows": "What became of the old",
    "pictures": "Pictures",
    "losses": "Training",
    "settings": "Settings",
}
"""The parts of a page that its head links to, by their ids."""


def page_of(parts: Mapping[str, object], absent: Container[str]) -> str:
    """The page with ``parts`` in it, escaped, without links to those of `PARTS` that are ``absent``.

    The script is named in the content security policy by its sum, so that nothing else runs, whatever the parts hold.
    """
    script = files("sats.report").joinpath("templates/script.js").read_text(encoding="utf-8")
    return (
        templates_of("sats.report")
        .get_template("report.html.j2")
        .render(
            parts,
            script=script,
            script_sum=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
            links=[(name, title) for name, title in PARTS.items() if name not in absent],
        )
    )
