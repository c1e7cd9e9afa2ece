"""The suites of the paper's tables: every published cell has one, and the page shows them all."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks" / "paper"
PAGE = FOLDER.parent.parent / "docs" / "paper.md"


@pytest.fixture(scope="module")
def paper() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paper", FOLDER / "paper.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_every_published_cell_can_be_run(paper: ModuleType) -> None:
    expected = json.loads((FOLDER / "expected.json").read_text())["cells"]
    cells = paper.every_cell()
    named = {f"{variant},recipe={recipe}" for variant, recipes in expected.items() for recipe in recipes}
    assert {cell.name for cell in cells} == named
    planned = {cell["cell"] for cell in json.loads((FOLDER / "dry_run.json").read_text())["cells"]}
    assert planned == named
    for cell in cells:
        assert cell.config.model.name == "segformer-b2"
        assert (cell.config.memory.size > 0) == cell.variant.endswith("-m")


def test_the_page_is_what_the_files_say(paper: ModuleType, tmp_path: Path) -> None:
    paper.page([], tmp_path / "paper.md")
    assert (tmp_path / "paper.md").read_text() == PAGE.read_text()


def test_measured_figures_are_judged(paper: ModuleType, tmp_path: Path) -> None:
    figures = {"old": 0.78, "new": 0.61, "all": 0.74}
    far = {"old": 0.1, "new": 0.1, "all": 0.1}
    cells = [
        {"name": "sats,recipe=voc-15-1", "figures": figures},
        {"name": "mib,recipe=voc-15-1", "figures": far},
        {"name": "ilt,recipe=voc-15-1", "figures": None},
    ]
    (tmp_path / "results.json").write_text(json.dumps({"cells": cells}))
    paper.page([tmp_path / "results.json"], tmp_path / "paper.md")
    lines = (tmp_path / "paper.md").read_text().splitlines()
    (ours,) = (line for line in lines if line.startswith("| `sats,recipe=voc-15-1`"))
    assert "| 78.0 / 61.0 / 74.0 | yes |" in ours
    (other,) = (line for line in lines if line.startswith("| `mib,recipe=voc-15-1`"))
    assert "| no |" in other
    (missing,) = (line for line in lines if line.startswith("| `ilt,recipe=voc-15-1`"))
    assert "| - / - / - | open |" in missing
