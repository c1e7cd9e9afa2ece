"""Sweeps in processes of their own, killed and interrupted, on this machine and on Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sats.bench.bench_folder import BenchFolder
from sats.bench.local import LocalExecutor
from sats.bench.on_ray import RayExecutor, room_for
from sats.bench.process import ENTRY
from sats.bench.schedule import Sweep
from sats.cli import main
from sats.engine.run_folder import RunFolder
from sats.holding import is_held
from sweeps import TINY, spanned, swept

LONG = {**TINY, "train": {**TINY["train"], "epochs": 40, "epochs_later": 40}}
TWO = {"finetune": {}, "sats": {}}
PATIENCE = 300.0


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def has_logged(run: RunFolder, lines: int = 5) -> bool:
    return run.metrics_path.is_file() and len(run.metrics_path.read_text().splitlines()) >= lines


def cells_below(process: int) -> list[psutil.Process]:
    """The processes of cells that ``process``, or one below it, has started."""
    found = []
    for child in psutil.Process(process).children(recursive=True):
        try:
            if ENTRY in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def results(folder: Path) -> list[object]:
    """The scores of every cell of a sweep after each step."""
    return [cell["steps"] for cell in json.loads((folder / "results.json").read_text())["cells"]]


@pytest.mark.slow
def test_killed_and_interrupted_a_sweep_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # under nohup it is ignored, here and so in the command
    suite = tmp_path / "suite.json"
    suite.write_text(json.dumps({"name": "test", "base": LONG, "variants": TWO}))
    out = tmp_path / "out"
    first, second = (RunFolder(out / name) for name in TWO)

    def start(folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sats", "bench", str(suite), "--out", str(folder), "--jobs", "2"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    with start(out) as bench:
        wait_for(lambda: has_logged(first))
        (cell,) = cells_below(bench.pid)
        bench.kill()
        cell.wait(PATIENCE)  # by itself: it notices
    assert list(first.checkpoints.iterdir())
    with start(out) as bench:
        wait_for(lambda: has_logged(second))
        bench.send_signal(signal.SIGINT)
        said = bench.communicate()[0]
        assert bench.returncode == 130
    assert "of 2 cells done: the same command goes on from here." in said
    assert list(second.checkpoints.iterdir())
    assert not is_held(second.path)
    for folder in (out, tmp_path / "whole"):
        with start(folder) as bench:
            said = bench.communicate()[0]
            assert bench.returncode == 0
    assert "2 of 2 done" in said
    assert "Going on after iteration" in (out / "logs" / "sats.txt").read_text()
    assert results(out) == results(tmp_path / "whole")


@pytest.mark.slow
def test_what_a_cell_died_of_is_told(tmp_path: Path) -> None:
    uneven = {"method": {"name": "finetune"}, "stream": {"protocol": "7-2"}}
    sweep = Sweep(BenchFolder(tmp_path), spanned(variants={"sats": {}, "uneven": uneven}))
    executor = LocalExecutor(2)

    def kill_one() -> bool:
        mine = [child for child in cells_below(os.getpid()) if child.cmdline()[-1].endswith("sats")]
        for child in mine:
            child.kill()
        return bool(mine)

    while sweep.start_one(executor):
        pass
    wait_for(kill_one)
    while sweep.running:
        for ended in executor.wait(1.0):
            sweep.note(ended)
    assert "SIGKILL" in sweep.failed["sats"]
    assert "Protocol 7-2 does not divide" in sweep.failed["uneven"]
    assert [path.name for path in tmp_path.iterdir() if path.name != "logs"] == ["sats"]


@pytest.mark.slow
def test_a_killed_worker_of_ray_leaves_its_run_to_another(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    every = spanned(base=LONG, variants=TWO)
    sweep = Sweep(BenchFolder(tmp_path / "ray"), every)
    executor = RayExecutor("", cpus=1, gpus=0, limit=2)
    assert executor.slots == 2
    first = sweep.folder.run(every[0])
    try:
        assert sweep.start_one(executor) is every[0]
        wait_for(lambda: has_logged(first))
        (cell,) = cells_below(os.getpid())
        worker = cell.parent()
        assert worker is not None
        worker.kill()
        while sweep.waiting or sweep.running:
            while len(sweep.running) < executor.slots and sweep.start_one(executor):
                pass
            for ended in executor.wait(1.0):
                sweep.note(ended)
    finally:
        executor.stop()
    assert sweep.failed == {}
    assert (tmp_path / "ray" / "logs" / "finetune.txt").read_text().count("Going on after iteration") == 1
    alone = swept(tmp_path / "local", every, LocalExecutor(2))
    for cell in every:
        assert sweep.folder.run(cell).scores() == alone.folder.run(cell).scores()


def test_room_on_a_cluster() -> None:
    assert room_for({"CPU": 1.0, "GPU": 0.0}, {"CPU": 8.0}) == 8
    assert room_for({"CPU": 2.0, "GPU": 0.5}, {"CPU": 16.0, "GPU": 3.0}) == 6
    assert room_for({"CPU": 1.0, "GPU": 1.0}, {"CPU": 8.0}) == 0


def test_ray_that_is_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sats.bench.on_ray.find_spec", lambda _: None)
    suite = tmp_path / "suite.json"
    suite.write_text(json.dumps({"name": "test", "variants": TWO}))
    assert main(["bench", str(suite), "--out", str(tmp_path / "out"), "--ray"]) == 2
    assert "Sweeps on Ray need one more package: pip install ray" in capsys.readouterr().err
