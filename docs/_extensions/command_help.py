"""``{help}``: a block that shows a command and what its ``--help`` says; on GitHub the command alone is seen."""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from sats.cli import main

if TYPE_CHECKING:
    from sphinx.application import Sphinx


class CommandHelp(SphinxDirective):
    """One command a line, each shown with its help."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The blocks; what a command says depends on more than the page, so the page is read at every build."""
        self.env.note_reread()
        return [nodes.literal_block("", f"$ {line}\n\n{help_of(line)}", language="none") for line in self.content]


def help_of(line: str) -> str:
    """What a command that ends in ``--help`` prints, 80 columns wide."""
    said = io.StringIO()
    os.environ["COLUMNS"] = "80"
    program, *words = line.split()
    if program != "sats" or words[-1] != "--help":
        raise ValueError(f"{line!r}: a help block takes lines `sats ... --help`.")
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        if main(words):
            raise ValueError(f"{line!r} fails.")
    return "\n".join(text.rstrip() for text in said.getvalue().splitlines()).strip()


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the block known."""
    app.add_directive("help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
