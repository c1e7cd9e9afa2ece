"""Every method takes one short step on real photographs: street fashion, 10 classes and then one more."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sats.cli import main
from sats.engine.run_folder import RunFolder
from sats.evaluation.scores import Scores
from sats.methods import METHODS

OLD = "skin,hair,shoes,bag,pants,sunglasses,dress,purse,coat,accessories"
SMALL = "--train.resize 96 --crop 96 --batch-size 8 --epochs 1 --epochs-later 1 --lr 2e-4 --lr-later 5e-5"
STREAMED = sorted(name for name, kind in METHODS.items() if kind.data == "stream")


@pytest.fixture(scope="module")
def steps0() -> dict[str, Path]:
    """The trained step 0 of every kind of step 0, filled as they come."""
    return {}


def train(shared: Path, method: str, out: Path, *more: str) -> list[Scores]:
    weights = shared / "weights" / "mit-b0-distilled"
    start = ["--model.weights", str(weights)] if weights.is_dir() else []
    words = ["train", "folder", "--data", str(shared / "data" / "ccp"), "--method", method, "--out", str(out)]
    assert main([*words, *SMALL.split(), *start, "--stream.steps", OLD, "blouse", *more]) == 0
    return RunFolder(out).scores()


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMED)
def test_one_short_real_step(
    name: str, shared: Path, steps0: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = METHODS[name]().step0_key()
    start = ["--from", str(steps0[key])] if key in steps0 else []
    out = tmp_path_factory.mktemp(name) / "run"
    scores = train(shared, name, out, *start)
    steps0.setdefault(key, out / "step-0")
    assert [len(each.classes) for each in scores] == [11, 12]
    assert scores[1].classes[-1] == "blouse"
    assert all(0 <= value <= 1 for value in scores[1].iou.values() if value is not None)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(value) for line in lines for value in line["losses"].values())
    assert {line["step"] for line in lines} >= {1}
    if name == "sats":  # fine-tuning came before, from the same step 0
        assert scores[1].miou["old"] > 0.5 * scores[0].miou["old"]
