"""``.. exported:: MODULE``: everything that a module's ``__all__`` lists, functions first, from its docstrings."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.addnodes import desc_annotation
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SETTINGS = "sats.config"
ANNOTATED = "Annotated["


class Exported(SphinxDirective):
    """A module's public names; new ones need no word in the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The descriptions."""
        module = self.arguments[0]
        public = importlib.import_module(module)
        names = [name for name in public.__all__ if not name.startswith("_")]
        objects = {name: getattr(public, name) for name in names}
        functions = [f".. autofunction:: {module}.{name}" for name in names if inspect.isfunction(objects[name])]
        classes = [f".. autoclass:: {module}.{name}\n   :members:" for name in names if inspect.isclass(objects[name])]
        return self.parse_text_to_nodes("\n\n".join([*functions, *classes]))


def without_settings(_app: Sphinx, kind: str, _name: str, described: object, *_: object) -> tuple[str, None] | None:
    """No signature for settings: their fields are listed, and a constructor says nothing more."""
    is_settings = kind == "class" and getattr(described, "__module__", "") == SETTINGS
    return ("", None) if is_settings else None


def without_flags(_app: Sphinx, document: nodes.document) -> None:
    """Types alone of settings: ``Annotated`` says as well how a flag is called, which is the command's business."""
    for annotation in document.findall(desc_annotation):
        if ANNOTATED in annotation.astext():
            annotation.children = [nodes.Text(plain(annotation.astext()))]


def plain(text: str) -> str:
    """``text`` with "X" in place of each "Annotated[X, ...]"."""
    while ANNOTATED in text:
        before, _, rest = text.partition(ANNOTATED)
        text = before + rest[: end(rest, ",")] + rest[end(rest, "]") + 1 :]
    return text


def end(text: str, mark: str) -> int:
    """The first place of ``mark`` in ``text`` outside of brackets that open in it."""
    depth = 0
    for place, letter in enumerate(text):
        if letter == mark and depth == 0:
            return place
        depth += (letter in "[(") - (letter in "])")
    return len(text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the directive known."""
    app.add_directive("exported", Exported)
    app.connect("autodoc-process-signature", without_settings)
    app.connect("doctree-read", without_flags)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
