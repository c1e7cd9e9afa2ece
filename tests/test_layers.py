"""Imports go down only, as docs/architecture.md says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import sats

ROOT = Path(sats.__file__).parent
LAYERS = (
    ("types", "errors", "words", "files", "documents", "dotted", "markdown", "templates", "progress", "holding"),
    ("losses", "models", "data"),
    ("methods",),
    ("config", "config_checks", "published", "recipes"),
    ("evaluation",),
    ("engine",),
    ("api", "runs"),
    ("report", "bench"),
    ("app",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
STARTS = "bench/cell.py"
"""A process of its own, which begins at the top."""


def imported(file: Path) -> Iterator[str]:
    """The rooms that ``file`` imports from, for types and within functions as well."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "sats":
            yield from (alias.name for alias in node.names if alias.name in LEVEL)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sats."):
            yield node.module.split(".")[1]


def test_imports_go_down_only() -> None:
    upward = {
        (file.relative_to(ROOT).as_posix(), other)
        for file in ROOT.rglob("*.py")
        for other in imported(file)
        if LEVEL[other] > LEVEL[file.relative_to(ROOT).with_suffix("").parts[0]]
    }
    assert upward == {(STARTS, "cli")}
