"""A report's numbers in other formats: the same numbers, and names that stay text."""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from reports import groups_of, write_run
from sats.commands.report import main
from sats.engine.run_folder import RunFolder
from sats.report.formats import latex, text_cell
from sats.words import percent
from test_engine import small

HOSTILE = (
    "a|b",
    "<b>&amp;</b>",
    "snake_case",
    "=1+1",
    "@SUM(A1)",
    "-x",
    "two\nlines",
    "50% \\ {x} $y$ #1 ~^",
    "[x]",
    'x,"y"',
)


def tables(folder: Path, kind: str, *runs: Path) -> str:
    main([*map(str, runs), "--format", kind, "--out", str(folder / f"out.{kind}")])
    return (folder / f"out.{kind}").read_text(encoding="utf-8")


@pytest.fixture
def seeds(tmp_path: Path) -> list[Path]:
    folders = [
        write_run(tmp_path / f"sats-seed{seed}", groups_of(3, 1), small("sats", seed=seed), seed=seed)
        for seed in (0, 1)
    ]
    return [*folders, write_run(tmp_path / "mib", groups_of(3, 1), small("mib"), seed=2)]


def test_the_file_lies_beside_where_the_page_would(seeds: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("md", "csv", "tex"):
        main([*map(str, seeds), "--format", kind])
        assert capsys.readouterr().out == f"report: {seeds[0].parent / f'report.{kind}'}\n"
    main([str(seeds[0]), "--format", "md"])
    assert (seeds[0] / "report.md").is_file()


def test_numbers_alone_have_no_images(seeds: list[Path]) -> None:
    with pytest.raises(ValueError, match="--images is for a page, and csv has none: leave out --images or --format"):
        main([*map(str, seeds), "--format", "csv", "--images", "4"])


def test_csv_has_every_value_and_means_over_seeds(tmp_path: Path, seeds: list[Path]) -> None:
    rows = list(csv.DictReader(tables(tmp_path, "csv", *seeds).splitlines()))
    histories = {folder.name: RunFolder(folder).scores() for folder in seeds}
    of_runs = [row for row in rows if row["of"] == "run"]
    for name, history in histories.items():
        for scores in history:
            mine = [row for row in of_runs if (row["run"], row["step"]) == (name, str(scores.step))]
            ious = {row["class"]: row["value"] for row in mine if row["figure"] == "iou"}
            assert ious == {name: str(value) for name, value in scores.iou.items()}
            lost = {row["class"]: row["value"] for row in mine if row["figure"] == "forgetting"}
            assert lost == {name: str(value) for name, value in scores.forgetting.items()}
            means = {row["figure"]: row["value"] for row in mine if not row["class"]}
            assert means == {f"miou_{key}": "" if v is None else str(v) for key, v in scores.miou.items()}
    values = [histories[f"sats-seed{seed}"][1].iou["class 2"] for seed in (0, 1)]
    (mean,) = [
        row
        for row in rows
        if [row[key] for key in ("of", "run", "step", "class", "figure")] == ["mean", "sats", "1", "class 2", "iou"]
    ]
    assert float(mean["value"]) == pytest.approx(np.mean(values))
    assert float(mean["deviation"]) == pytest.approx(np.std(values, ddof=1))
    assert mean["n"] == "2"


def test_markdown_and_latex_have_the_figures_of_the_page(tmp_path: Path, seeds: list[Path]) -> None:
    new = [RunFolder(folder).scores()[-1].miou["new"] or 0 for folder in seeds]
    mean, deviation = percent(float(np.mean(new[:2]))), percent(float(np.std(new[:2], ddof=1)))
    markdown = tables(tmp_path, "md", *seeds)
    assert re.search(rf"^\| sats \| 2 \|.* (\*\*)?{mean} ±{deviation}(\*\*)? \|", markdown, re.MULTILINE)
    assert "## sats-seed0: IoU after each step, %" in markdown
    assert markdown.count("**") >= 4
    text = tables(tmp_path, "tex", *seeds)
    assert re.search(rf"^sats & 2 &.*{mean}\$\\,\\pm\\,\${deviation}", text, re.MULTILINE)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\midrule") == 2 + 2 * 3
    for block in re.findall(r"\\begin\{tabular\}\{(l[r]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in block[1].splitlines() if line.endswith(r"\\")]
        assert len(rows) > 1
        assert {row.count(" & ") for row in rows} == {len(block[0]) - 1}


def test_names_stay_names_in_every_format(tmp_path: Path) -> None:
    groups = [["background", *HOSTILE[:5]], list(HOSTILE[5:])]
    run = write_run(tmp_path / "=run|_%", groups, dataclasses.replace(small(), seed=3))
    markdown = tables(tmp_path, "md", run)
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 1 + 2 + 3 + 2 + 1 + len(HOSTILE)
    for name in (r"a\|b", r"&lt;b&gt;&amp;amp;&lt;/b&gt;", r"snake\_case", "two lines", r"\[x\]"):
        assert f"| {name} |" in markdown
    cells = {row["class"] for row in csv.DictReader(tables(tmp_path, "csv", run).splitlines(keepends=True))}
    assert {"'=1+1", "'@SUM(A1)", "'-x", "two\nlines", "a|b", 'x,"y"', "snake_case"} <= cells
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    text = tables(tmp_path, "tex", run)
    for name in (
        r"a\textbar{}b &",
        r"snake\_case &",
        "two lines &",
        "{[}x] &",
        r"50\% \textbackslash{} \{x\} \$y\$ \#1",
    ):
        assert name in text
    body = re.sub(r"\\[{}$&#_%]", "", "\n".join(line for line in text.splitlines() if not line.startswith("%")))
    assert not set("#_%^~") & set(body.replace("$\\,\\pm\\,$", ""))


def test_single_names() -> None:
    assert text_cell("plain") == "plain"
    assert text_cell("\uff1dwide") == "'\uff1dwide"
    assert text_cell("a\x00\ud800") == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    assert latex("t-shirt") == "t-shirt"
    assert latex("a---b''") == "a-{}-{}-b'{}'"
    assert latex('5"') == r"5\symbol{34}"  # \textquotedbl is no letter of LaTeX's default encoding
    assert latex("\u05e9*") == "\u05e9{*}"
    assert latex("x" * 99).endswith("…")
