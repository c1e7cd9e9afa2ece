"""A run that is interrupted anywhere ends as one that never was: the same weights and scores, bit for bit."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import sats
from sats.config import RunConfig, to_json
from sats.engine import checkpoint
from sats.engine.log import Log
from sats.engine.run_folder import RunFolder, create_run
from sats.engine.train import train
from sats.errors import RunError
from sats.methods import METHODS as KNOWN
from sats.methods import Method
from test_engine import run, same_weights, small

METHODS = ("finetune", "sats")
SAME_THREADS = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
"""Sums are split by thread, so a process of its own must have as many as this one."""
STREAMED = {name: kind for name, kind in KNOWN.items() if kind.data == "stream"}


def settings(method: str, **train_settings: object) -> RunConfig[Method]:
    config = small(method)
    changed = {"epochs": 2, "epochs_later": 3, **train_settings}
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **changed))


@pytest.fixture(scope="module", params=METHODS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A run that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole") / request.param
    run(folder, settings(request.param))
    return request.param, folder


class Interrupting(Log):
    """A log that presses Ctrl-C when the bar moves for the ``at``-th time."""

    at: int = 0
    moved: int = 0

    def advance(self) -> None:
        super().advance()
        self.moved += 1
        if self.moved == self.at:
            signal.raise_signal(signal.SIGINT)


def interrupted(folder: RunFolder, config: RunConfig[Method], at: int) -> None:
    log = Interrupting(folder.metrics_path)
    log.at = at
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, log)


def same_runs(first: Path, second: Path) -> bool:
    steps = len(RunFolder(first).scores())
    return (
        steps == 2
        and RunFolder(first).scores() == RunFolder(second).scores()
        and all(same_weights(first, second, step) for step in range(steps))
    )


def test_interrupted_at_many_places(whole: tuple[str, Path], tmp_path: Path) -> None:
    """Within step 0, while measuring it, while gathering thresholds or early in step 1, and late in it."""
    method, expected = whole
    config = settings(method)
    for at in (2, 5, 7, 9, 12):
        folder = create_run(tmp_path / str(at), config)
        interrupted(folder, config, at)
        train(config, folder, Log(folder.metrics_path))
        assert same_runs(expected, folder.path), at


OTHERS = sorted(name for name, kind in STREAMED.items() if name not in METHODS)


@pytest.mark.parametrize("method", OTHERS)
def test_every_method_resumes_in_mid_step(method: str, tmp_path: Path) -> None:
    """Interrupted within step 1, with whatever state the method has by then."""
    config = settings(method, epochs=1)
    run(tmp_path / "whole", config)
    folder = create_run(tmp_path / "cut", config)
    interrupted(folder, config, moves_until(tmp_path / "whole", method) + 2)
    (saved,) = folder.checkpoints.glob("step-1-*")
    assert not saved.name.endswith("-00000000")
    train(config, folder, Log(folder.metrics_path))
    assert same_runs(tmp_path / "whole", folder.path)
    first, second = (load_state(path) for path in (tmp_path / "whole", folder.path))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def moves_until(whole: Path, method: str) -> int:
    """How often the bar moves before the first update of step 1: updates, test batches, looks at the data."""
    lines = [json.loads(line) for line in RunFolder(whole).metrics_path.read_text().splitlines()]
    updates = max(line["iteration"] for line in lines if line["step"] == 0)
    first, second = (-(-step["images"] // 6) for step in json.loads((whole / "steps.json").read_text()))
    settled = STREAMED[method]()
    thresholds = settled.learns_pseudo_labels() or settled.attention_transfer.weight > 0
    looks = second * (thresholds + (settled.init == "teacher"))
    if settled.feature_replay.weight:
        looks += first + second
    return updates + 1 + looks


def load_state(folder: Path) -> dict[str, torch.Tensor]:
    """What the method kept after the last step."""
    path = folder / "step-1" / "state.safetensors"
    return load_file(path) if path.is_file() else {}


def test_interrupted_again_and_again(whole: tuple[str, Path], tmp_path: Path) -> None:
    method, expected = whole
    config = settings(method)
    folder = create_run(tmp_path / "run", config)
    for at in (3, 2, 4):
        interrupted(folder, config, at)
    train(config, folder, Log(folder.metrics_path))
    assert same_runs(expected, folder.path)
    lines = [json.loads(line) for line in folder.metrics_path.read_text().splitlines()]
    places = [(line["step"], line["iteration"]) for line in lines]
    assert places == sorted(set(places))  # nothing logged twice
    original = [json.loads(line) for line in (expected / "metrics.jsonl").read_text().splitlines()]
    assert [line["losses"] for line in lines] == [line["losses"] for line in original]
    assert not folder.checkpoints.exists()


def test_a_broken_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, whole: tuple[str, Path]) -> None:
    method, expected = whole
    config = settings(method, checkpoint_minutes=0)
    for damage in ("truncate", "flip", "remove", "manifest"):
        folder = create_run(tmp_path / damage, config)
        interrupted(folder, config, 4)
        newest = max(folder.checkpoints.iterdir())
        assert len(list(folder.checkpoints.iterdir())) == 2
        broken = newest / ("checkpoint.json" if damage == "manifest" else "model.safetensors")
        data = bytearray(broken.read_bytes())
        data[len(data) // 2] ^= 1
        if damage == "remove":
            broken.unlink()
        else:
            broken.write_bytes(data[: len(data) // 2] if damage in ("truncate", "manifest") else data)
        saved, problems = checkpoint.load_newest(folder.checkpoints, folder.fingerprint(), 0)
        assert saved is not None
        assert saved.iteration == 3
        assert str(newest) in problems[0]
        train(config, folder, Log(folder.metrics_path))
        assert same_runs(expected, folder.path)


def test_a_step_trained_anew_keeps_its_checkpoints_and_not_those_of_later_steps(tmp_path: Path) -> None:
    """As when a damaged step was removed while the next was half learned."""
    for step, iteration in ((2, 10), (2, 20), (1, 100), (1, 200), (1, 300)):
        made = checkpoint.Checkpoint("run", step, iteration, {}, {}, {}, {})
        checkpoint.save(made, tmp_path)
    saved, problems = checkpoint.load_newest(tmp_path, "run", 1)
    assert saved is not None
    assert (saved.iteration, problems) == (300, [])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"step-1-iteration-00000200", "step-1-iteration-00000300"}


def test_only_broken_checkpoints_mean_the_step_starts_again(tmp_path: Path, whole: tuple[str, Path]) -> None:
    method, expected = whole
    config = settings(method)
    folder = create_run(tmp_path / "run", config)
    interrupted(folder, config, 3)
    for path in folder.checkpoints.rglob("optimizer.pt"):
        path.write_bytes(b"")
    train(config, folder, Log(folder.metrics_path))
    assert same_runs(expected, folder.path)


def test_a_checkpoint_of_another_format_is_refused_and_kept(tmp_path: Path) -> None:
    config = settings("finetune")
    folder = create_run(tmp_path / "run", config)
    interrupted(folder, config, 3)
    (manifest,) = folder.checkpoints.rglob("checkpoint.json")
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "version": 99}))
    with pytest.raises(ValueError, match="has format 99, and this version of sats reads 1: resume with the version"):
        checkpoint.load_newest(folder.checkpoints, folder.fingerprint(), 0)
    assert manifest.exists()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "can't allocate memory"),
    ],
)
def test_a_checkpoint_that_is_only_out_of_reach_is_kept(
    error: Exception, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings("finetune")
    folder = create_run(tmp_path / "run", config)
    interrupted(folder, config, 3)

    def failing(_path: Path) -> None:
        raise error

    monkeypatch.setattr(checkpoint, "sha256", failing)
    with pytest.raises(RunError, match=f"{cause}.*Try again; if it stays so, remove that folder"):
        checkpoint.load_newest(folder.checkpoints, folder.fingerprint(), 0)
    monkeypatch.undo()
    saved, problems = checkpoint.load_newest(folder.checkpoints, folder.fingerprint(), 0)
    assert saved is not None
    assert not problems


def test_a_checkpoint_whose_method_has_other_tensors_is_passed_over(tmp_path: Path) -> None:
    """Though its sums are right."""
    config = settings("ewc")
    folder = create_run(tmp_path / "run", config)
    interrupted(folder, config, 3)
    (manifest,) = folder.checkpoints.rglob("checkpoint.json")
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "state": [*values["state"], "fisher/one.more"]}))
    saved, problems = checkpoint.load_newest(folder.checkpoints, folder.fingerprint(), 0)
    assert saved is None
    assert "other tensors" in problems[0]


def test_a_checkpoint_of_other_settings_is_refused_and_kept(tmp_path: Path) -> None:
    config = settings("finetune")
    folder = create_run(tmp_path / "run", config)
    interrupted(folder, config, 3)
    folder.write("config.json", to_json(dataclasses.replace(config, seed=1)))
    with pytest.raises(ValueError, match=r"config\.json.*remove"):
        sats.resume(folder.path)
    folder.write("config.json", to_json(config))
    assert len(sats.resume(folder.path).scores) == 2


def kill_and_resume(folder: Path, config: RunConfig[Method], kills: int, seed: int) -> int:
    """Run the command, kill it at random moments, resume; returns how many kills hit a run that was learning."""
    rng = random.Random(seed)
    (folder.parent / "config.json").write_text(to_json(config))
    words = ["train", "--config", str(folder.parent / "config.json"), "--out", str(folder)]
    hits = 0
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-m", "sats", *words], stderr=subprocess.DEVNULL, env=SAME_THREADS)
        wait_for_progress(process, RunFolder(folder))
        time.sleep(rng.uniform(0, 0.4))
        hits += process.poll() is None
        process.kill()
        process.wait()
        words = ["resume", str(folder)]
    assert subprocess.run([sys.executable, "-m", "sats", *words], check=False, env=SAME_THREADS).returncode == 0
    return hits


def wait_for_progress(process: subprocess.Popen[bytes], folder: RunFolder) -> None:
    """Wait until the run logs one more iteration, or ends."""
    before = folder.metrics_path.read_bytes() if folder.metrics_path.is_file() else b""
    while process.poll() is None:
        if folder.metrics_path.is_file() and len(folder.metrics_path.read_bytes()) > len(before):
            return
        time.sleep(0.02)


@pytest.mark.parametrize(("kills", "seed"), [(3, 0), pytest.param(10, 1, marks=pytest.mark.slow)])
def test_a_killed_process_resumes_to_the_same_end(
    whole: tuple[str, Path], tmp_path: Path, kills: int, seed: int
) -> None:
    method, expected = whole
    assert kill_and_resume(tmp_path / "run", settings(method, checkpoint_minutes=0), kills, seed) >= 1
    assert same_runs(expected, tmp_path / "run")
