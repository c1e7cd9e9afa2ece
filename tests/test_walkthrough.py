"""A new method by following CONTRIBUTING.md, word for word: one file and one import."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sats.cli import main
from sats.config import read_config
from sats.engine.run_folder import RunFolder
from sats.methods import METHODS, method_name
from sats.methods.attention_transfer import AttentionTransfer
from steps import STEP_1, batch, step1, terms_of, update

PAGE = Path(__file__).parent.parent / "CONTRIBUTING.md"


@pytest.fixture
def smoothed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's example as a file, imported; afterwards as if it had never been."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "smoothed.py").write_text(code, encoding="utf-8")
    assert len(code.splitlines()) < 100
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("smoothed")
    yield "smoothed"
    del METHODS["smoothed"], sys.modules["smoothed"]


def test_the_example_is_a_method_like_any_other(smoothed: str) -> None:
    method = METHODS[smoothed](smoothing=0.3)
    where = step1(method)
    before = where.model.classifier.weights[-1].clone()
    assert terms_of(method, where)["smoothed"].isfinite()
    update(method, where, batch(STEP_1), rate=0.1)
    assert not torch.equal(before, where.model.classifier.weights[-1])


def test_the_example_carries_the_parts_that_all_methods_carry(smoothed: str) -> None:
    carried = METHODS[smoothed](attention_transfer=AttentionTransfer(weight=20.0))
    assert terms_of(carried, step1(carried))["attention"] > 0
    frozen = METHODS[smoothed](frozen_encoder=True)
    assert not step1(frozen).model.encoder.training
    for init in ("background", "random", "zero", "nest"):
        assert terms_of(METHODS[smoothed](init=init), step1(METHODS[smoothed](init=init)))["smoothed"].isfinite()


def test_the_example_shares_its_step_0_with_no_other_method(smoothed: str) -> None:
    keys = {name: kind().step0_key() for name, kind in METHODS.items() if name != smoothed}
    assert METHODS[smoothed]().step0_key() not in keys.values()


def test_the_example_trains_from_the_command_line(
    smoothed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "train scenes --method smoothed --method.smoothing 0.2 --images 12 --data.image-size 32 --crop 32"
    out = tmp_path / "run"
    assert main([*words.split(), "--epochs", "1", "--epochs-later", "1", "--batch-size", "6", "--out", str(out)]) == 0
    assert "mIoU" in capsys.readouterr().out
    method = read_config(out / "config.json").method
    assert method_name(method) == smoothed
    assert vars(method)["smoothing"] == 0.2
    assert RunFolder(out).is_finished()
    assert (out / "metrics.jsonl").read_text().count('"smoothed"') > 0
