"""Files above ``docs/`` that are pages of the site as well, with their links turned to where they are there.

``docs/contributing.md`` points readers on GitHub to ``CONTRIBUTING.md``; on the site it *is* that file. Links go the
same way: what names a page from above, or names such a file from a page, names the page on the site.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PAGES = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "examples": "examples/README.md",
    "security": "SECURITY.md",
}
FRONT = "README.md"
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?=[)#])")


def read(app: Sphinx, docname: str, content: list[str]) -> None:
    """Put the file's text in place of the page that points to it, and turn links."""
    docs = Path(app.srcdir)
    home = (docs / docname).parent
    if docname in PAGES:
        outside = docs.parent / PAGES[docname]
        app.env.note_dependency(str(outside))
        content[0] = outside.read_text(encoding="utf-8")
        home = outside.parent
    content[0] = LINK.sub(lambda link: turned(link["path"], home, docs, docname), content[0])


def turned(path: str, home: Path, docs: Path, docname: str) -> str:
    """``path``, which a file in ``home`` names, as the page ``docname`` must name it."""
    target = Path(os.path.normpath(home / path))
    pages = {docs.parent / name: docs / f"{page}.md" for page, name in PAGES.items()}
    target = {docs.parent / FRONT: docs / "index.md", **pages}.get(target, target)
    return Path(os.path.relpath(target, (docs / docname).parent)).as_posix()


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at every page when it is read."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
