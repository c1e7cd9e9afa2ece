"""The demo: three runs that share what can be shared, compared in words and on a page."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sats.cli import main
from sats.commands.demo import METHODS, DemoArguments, prepared, settings, trained_beside
from sats.engine.run_folder import RunFolder
from sats.errors import RunError
from sats.evaluation.table import percent
from sats.holding import wait_until_free
from sats.recipes import recipe

TINY = ["--images", "24", "--epochs", "1", "--epochs-later", "1"]


def test_the_demo_is_the_recipe_for_scenes_with_three_methods() -> None:
    for method in METHODS:
        assert settings(DemoArguments(), method, "") == recipe("scenes", method)
    changed = settings(DemoArguments(seed=3, protocol="5-1", images=7, epochs=2, epochs_later=1), "sats", "from")
    assert (changed.seed, changed.stream.protocol, changed.data.images, changed.start_from) == (3, "5-1", 7, "from")
    assert (changed.train.epochs, changed.train.epochs_later) == (2, 1)


def test_a_small_demo_from_start_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ["demo", "--seed", "4", *TINY, "--out", str(tmp_path)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    runs = {method: RunFolder(tmp_path / f"seed-4-{method}") for method in METHODS}
    assert [len(run.scores()) for run in runs.values()] == [2, 2, 1]
    weights = [(runs[name].step(0) / "model" / "model.safetensors").read_bytes() for name in ("finetune", "sats")]
    assert weights[0] == weights[1]
    for method, run in runs.items():
        line = next(line for line in shown.splitlines() if line.startswith(f"│ {method}"))
        figures = run.scores()[-1].miou
        cells = [cell.strip() for cell in line.split("│")[2:6]]
        assert cells == [percent(figures[name]) for name in ("all", "old", "new", "hiou")]
    page = tmp_path / "report.html"
    assert shown.splitlines()[-1] == f"report: {page}"
    assert all(f"seed-4-{method}" in page.read_text(encoding="utf-8") for method in METHODS)

    before = runs["sats"].step(1).stat().st_mtime_ns
    assert main(words) == 0
    again = capsys.readouterr().out
    assert again.count("taken as it is") == 3
    assert again.splitlines()[-2:] == shown.splitlines()[-2:]
    assert runs["sats"].step(1).stat().st_mtime_ns == before


def test_a_run_with_other_settings_is_put_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = prepared(DemoArguments(images=24), "joint", tmp_path)
    (old.path / "mine.txt").write_text("kept")
    assert prepared(DemoArguments(images=24), "joint", tmp_path) == old
    assert (old.path / "mine.txt").exists()
    new = prepared(DemoArguments(images=25), "joint", tmp_path)
    assert (new.path, new.config().data.images) == (old.path, 25)
    assert (tmp_path / "seed-0-joint-before" / "mine.txt").exists()
    assert "is now" in capsys.readouterr().out


def test_a_run_beside_that_fails_says_why_and_where_to_look(tmp_path: Path) -> None:
    folder = prepared(DemoArguments(images=24, protocol="9-2"), "joint", tmp_path)
    cause = r"output is in .*seed-0-joint\.txt: Protocol 9-2 does not divide"
    with pytest.raises(RunError, match=cause), trained_beside(folder):
        pass
    assert "Protocol 9-2 does not divide" in (tmp_path / "seed-0-joint.txt").read_text()


ALONE = """
import sys, time
from pathlib import Path
from sats.commands.demo import DemoArguments, prepared, trained_beside
with trained_beside(prepared(DemoArguments(images=24, epochs=10**6), "joint", Path(sys.argv[1]))):
    time.sleep(600)
"""


def test_the_run_beside_stops_when_the_demo_is_killed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "seed-0-joint")
    with subprocess.Popen([sys.executable, "-c", ALONE, str(tmp_path)]) as demo:
        while not folder.metrics_path.is_file():
            assert demo.poll() is None
            time.sleep(0.1)
        demo.kill()
    wait_until_free(folder.path, 120)
    assert folder.state() == "interrupted, 0 of 1 steps"


def test_stopping_stops_the_run_beside(tmp_path: Path) -> None:
    folder = prepared(DemoArguments(images=24, epochs=10**6), "joint", tmp_path)

    def interrupted() -> None:
        with trained_beside(folder):
            while not folder.metrics_path.is_file():
                time.sleep(0.1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert folder.state() == "interrupted, 0 of 1 steps"
    assert "sats resume" in (tmp_path / "seed-0-joint.txt").read_text()
