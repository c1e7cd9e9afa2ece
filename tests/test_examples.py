"""The scripts in examples/ run, and come to what they say."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sats
from sats.methods import METHODS

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a script by its name, as running it would; afterwards it is gone again."""
    monkeypatch.syspath_prepend(FOLDER)
    known = set(METHODS)
    yield importlib.import_module
    for name in SCRIPTS:
        sys.modules.pop(name, None)
    for name in set(METHODS) - known:
        del METHODS[name]


def test_quickstart(example: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = example("quickstart").main(tmp_path / "run", quick=True)
    assert run.state == "finished"
    assert (tmp_path / "run" / "picture.png").is_file()
    shown = capsys.readouterr().out
    assert "IoU of each class" in shown
    assert f"{run.scores[1].miou['old']:.3f} after" in shown
    assert "{'" in shown.splitlines()[-1]  # the shares of the classes


def test_own_data(example: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = example("own_data").main(tmp_path / "run", quick=True)
    assert run.scores[-1].classes == ("background", "circle", "square", "triangle")
    assert "step 1 learned triangle from" in capsys.readouterr().out
    with pytest.raises(ValueError, match="does not divide 3 classes"):
        example("own_data").main(tmp_path / "other", data=tmp_path / "run-shapes", protocol="3-3", quick=True)


def test_the_shapes_are_drawn_where_their_masks_say(example: Callable[[str], Any], tmp_path: Path) -> None:
    folder = example("shapes").main(tmp_path / "shapes", images=8, classes=("background", "triangle"))
    masks = [np.asarray(Image.open(path)) for path in sorted((folder / "masks" / "train").iterdir())]
    images = [np.asarray(Image.open(path)) for path in sorted((folder / "images" / "train").iterdir())]
    assert {int(value) for mask in masks for value in np.unique(mask)} == {0, 1}
    assert all(image[mask == 1].min() >= 140 for image, mask in zip(images, masks, strict=True) if (mask == 1).any())


def test_extend_a_checkpoint(example: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = example("extend_a_checkpoint").main(tmp_path / "new", quick=True)
    assert sats.load(tmp_path / "new").classes == run.scores[-1].classes
    shown = capsys.readouterr().out
    assert "it knows background, circle, square, triangle" in shown
    assert "circle: 1.000 before" in shown  # its own answers are the truth


def test_new_method(example: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = example("new_method").main(tmp_path, quick=True)
    assert runs["feature-drift"].config.method.drift == 20
    assert "drift" in runs["feature-drift"].metrics[-1]["losses"]
    assert runs["finetune"].scores[0] == runs["feature-drift"].scores[0]
    assert "feature-drift: old" in capsys.readouterr().out


def test_dinov2_at_random(example: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = example("dinov2").main(tmp_path / "run", quick=True)
    assert run.metrics[-1]["losses"]["attention"] >= 0
    assert "attention" in capsys.readouterr().out


@pytest.mark.slow
def test_dinov2_with_its_weights(example: Callable[[str], Any], tmp_path: Path, shared: Path) -> None:
    weights = shared / "weights" / "dinov2-small-derived"
    if not weights.is_dir():
        pytest.skip(f"no weights at {weights}")
    run = example("dinov2").main(tmp_path / "run", weights=str(weights), quick=True)
    assert run.metrics[-1]["losses"]["attention"] > 0


def test_ablation(example: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("ablation")
    found = module.main(tmp_path, seeds=(0,), quick=True)
    assert list(found) == list(module.VARIANTS)
    first = [sats.read_run(folder).scores[0] for folder in tmp_path.iterdir()]
    assert len(first) == 3
    assert all(scores == first[0] for scores in first)
    assert capsys.readouterr().out.count("mean of 1 seeds") == 3


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_says_what_it_shows_and_is_listed(script: str) -> None:
    text = (FOLDER / f"{script}.py").read_text()
    said = ast.get_docstring(ast.parse(text)) or ""
    assert f"python examples/{script}.py" in said
    assert f"[{script}.py]({script}.py)" in (FOLDER / "README.md").read_text()
    assert len(text.splitlines()) < 100
    assert not re.search(r"from sats\.engine|from sats\.commands", text)  # public names only
