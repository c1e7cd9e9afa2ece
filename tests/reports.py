"""Run folders written by hand, and a report's page as a reader sees it."""

from __future__ import annotations

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from sats.config import RunConfig, to_json
from sats.evaluation.scores import Scores, compute_scores
from sats.methods import Method
from sats.report.html import make_report
from test_engine import small

HEBREW = "\u05e9\u05dc\u05d5\u05dd"
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(2)>",
    "line\nbreak\x00\x1b[31m",
    HEBREW,
    "\u202eturned",
    "👩‍👩‍👧‍👦",
    "x" * 10_000,
    "wide " * 2_000,
    "{{ 7 * 7 }}{% raw %}",
    "a" + "\u0301" * 50,
    "]]> --> </style></pre></svg>",
    "%s {0} {name}",
)
"""Names that are text, whatever they look like."""
VOID = {"meta", "img", "wbr", "path", "use", "circle", "rect", "br", "input"}


class Page(HTMLParser):
    """A page's tags, attributes, text and tables; complains about tags that do not match."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.script, self.tags, self.links = "", "", set[str](), list[str]()
        self.tables: list[tuple[str, list[list[str]]]] = []
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        style = dict(attrs).get("style") or ""
        self.links += [part.split(")")[0] for part in style.split("url(")[1:]]
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows = []
            self.tables.append((str(dict(attrs)["class"]), self._rows))
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td") and self._rows:
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            assert "url(" not in data
            assert "@import" not in data
            return
        if "script" in self._open:
            self.script += data
            return
        self.text += data
        if {"th", "td"} & set(self._open):
            self._rows[-1][-1] += data.strip()

    def pictures(self, mode: str) -> list[Image.Image]:
        """The embedded pictures of a mode of Pillow's, in order."""
        content = [base64.b64decode(link.split(",")[1]) for link in self.links if link.startswith("data:image/")]
        return [picture for one in content if (picture := Image.open(io.BytesIO(one))).mode == mode]

    def table(self, kind: str, place: int = 0) -> list[list[str]]:
        return [rows for name, rows in self.tables if name.startswith(kind)][place]


def write_run(
    folder: Path,
    groups: list[list[str]],
    config: RunConfig[Method] | None = None,
    done: int | None = None,
    seed: int = 0,
    matrices: list[list[list[int]]] | None = None,
) -> Path:
    """A run folder by hand: scores after each step by ``matrices``, else by random ones; no weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(to_json(config or small()), encoding="utf-8")
    (folder / "steps.json").write_text(json.dumps([{"learns": group, "images": 1} for group in groups]))
    rng, history = np.random.default_rng(seed), list[Scores]()
    names: list[str] = []
    for step, group in enumerate(groups[:done]):
        names += group
        matrix = rng.integers(0, rng.integers(2, 200, (len(names), 1)), (len(names), len(names)))
        matrix += np.diag(3000 - matrix.sum(axis=1))  # as many true pixels of each class in every run
        if matrices:
            matrix = np.array(matrices[step])
        history.append(compute_scores(matrix, names, step, len(groups[0]), history))
        (folder / f"step-{step}").mkdir()
        confusion = {"classes": names, "matrix": matrix.tolist()}
        (folder / f"step-{step}" / "confusion.json").write_text(json.dumps(confusion), encoding="utf-8")
        (folder / f"step-{step}" / "scores.json").write_text(history[-1].to_json(), encoding="utf-8")
    return folder


def groups_of(*sizes: int) -> list[list[str]]:
    names = iter(f"class {index}" for index in range(1, sum(sizes) + 1))
    groups = [[next(names) for _ in range(size)] for size in sizes]
    return [["background", *groups[0]], *groups[1:]]


def report(folder: Path, *runs: Path, images: int = 0) -> Page:
    return Page(make_report(runs, folder / "report.html", images))
