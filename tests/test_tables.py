"""The tables of the documentation show the scores that are kept, and nothing else."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "real" / "tables.py"))


@pytest.mark.parametrize("page", ["results.md", "ablations.md"])
def test_tables_are_those_of_the_kept_scores(page: str) -> None:
    """Else run: python benchmarks/real/tables.py docs/results.md docs/ablations.md."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert text.count("<!-- scores: ") > 2
    assert SCRIPT["filled"](text) == text


def test_a_figure_that_was_not_measured_is_replaced() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    first = text.index("| `sats` | ", text.index("<!-- scores: "))
    end = text.index("\n", first)
    wrong = f"{text[:first]}| `sats` | 2 | 99.9 |{text[end:]}"
    assert SCRIPT["filled"](wrong) == text


def test_a_row_without_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="No scores are kept of nobody"):
        SCRIPT["filled"]("<!-- scores: ccp/scores n\nnobody | `nobody`\n-->\n\n| method | n |\n")
