"""Runs with a memory: every method learns from it; no interruption and no copy changes what is learned."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from sats.cli import main
from sats.config import DataConfig, MemoryConfig, RunConfig, StreamConfig
from sats.data.memory import Exemplar, select
from sats.data.scenes import ScenesSource
from sats.data.stream import Joined
from sats.data.transforms import TestTransform
from sats.engine import build, launch, memory, processes
from sats.engine.log import Log
from sats.engine.run import Run, finished_model
from sats.engine.run_folder import RunFolder, create_run
from sats.engine.train import train
from sats.errors import RunError
from sats.methods import METHODS, Method
from sats.types import BACKGROUND
from test_engine import run, same_weights, small
from test_resume import interrupted

THREE_STEPS = StreamConfig(protocol="4-3")
STREAM_METHODS = [name for name, kind in METHODS.items() if kind.data == "stream"]


def remembering(method: str = "finetune", size: int = 6, **settings_of_memory: object) -> RunConfig[Method]:
    """Three steps with a memory of six."""
    return small(method, stream=THREE_STEPS, memory=MemoryConfig(size=size, **settings_of_memory))


def opened(folder: Path, config: RunConfig[Method]) -> Run:
    """The run in ``folder``, to look inside."""
    log = Log(folder / "metrics.jsonl", quiet=True)
    return Run(config, RunFolder(folder), build.build_stream(config), Accelerator(cpu=True), log)


def same_runs(first: Path, second: Path, steps: int = 3) -> bool:
    """Whether both runs are finished, and ended with the same weights, scores and exemplars."""
    one, two = RunFolder(first), RunFolder(second)
    return (
        len(one.scores()) == steps
        and one.scores() == two.scores()
        and all(same_weights(first, second, step) for step in range(steps))
        and keys(one) == keys(two)
    )


def keys(folder: RunFolder) -> list[list[tuple[str, int]]]:
    """Which exemplars of which steps are in memory after each step."""
    return [[(exemplar.key, exemplar.step) for exemplar in kept] for kept in memory.read(folder)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted; its models take part in the choice of exemplars."""
    folder = tmp_path_factory.mktemp("memory") / "whole"
    run(folder, remembering(selection="ssul"))
    return folder


# --- every method -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known() -> dict[str, Path]:
    """Steps 0 that were trained already, by their key: methods share them, to save time."""
    return {}


@pytest.mark.parametrize("method", STREAM_METHODS)
def test_every_method_learns_from_a_memory(
    method: str, known: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(method, memory=MemoryConfig(size=4))
    start = known.setdefault(config.method.step0_key(), tmp_path / "run" / "step-0")
    run(tmp_path / "run", dataclasses.replace(config, start_from=str(start) if start.exists() else ""))
    assert [len(kept) for kept in keys(RunFolder(tmp_path / "run"))] == [4, 4]
    assert "images and 4 exemplars (4 of step 0)" in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    later = [line for line in lines if line["step"] == 1]
    new = json.loads((tmp_path / "run" / "steps.json").read_text())[1]["images"]
    assert len(later) == new // 3  # half of a batch of six are exemplars


# --- resume -----------------------------------------------------------------------------------------------------------


def test_interrupted_in_steps_that_have_a_memory(whole: Path, tmp_path: Path) -> None:
    config = remembering(selection="ssul")
    folder = create_run(tmp_path / "run", config)
    for at, finished in ((5, 1), (6, 2)):
        interrupted(folder, config, at)
        assert len(folder.scores()) == finished
        assert list(folder.checkpoints.iterdir())
    train(config, folder, Log(folder.metrics_path))
    assert same_runs(whole, folder.path)


def test_killed_before_the_memory_was_written(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is chosen right after a step or at the start of the next one: the same."""
    config = remembering(selection="ssul")
    folder = create_run(tmp_path / "run", config)
    with monkeypatch.context() as patch:
        patch.setattr("sats.engine.memory._store", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder, Log(folder.metrics_path))
    assert len(folder.scores()) == 1
    assert not folder.memory_path.exists()
    train(config, folder, Log(folder.metrics_path))
    assert same_runs(whole, folder.path)


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_memory_that_was_removed_is_chosen_again(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    folder.memory_path.unlink()
    memory.complete(opened(folder.path, remembering(selection="ssul")))
    assert same_runs(whole, folder.path)


def test_a_step_that_was_removed_is_remembered_anew(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    folder, config = RunFolder(tmp_path / "run"), remembering(selection="ssul")
    shutil.rmtree(folder.step(2))
    kept = memory.read(folder)
    memory._write(folder, [*kept[:2], [Exemplar("scenes/of another life", 2)]])
    train(config, folder, Log(folder.metrics_path))
    assert same_runs(whole, folder.path)


def test_the_command_takes_a_memory_and_a_step_0(whole: Path, tmp_path: Path) -> None:
    words = "train scenes --method finetune --images 20 --data.image-size 32 --protocol 4-3 --epochs 1 --crop 32"
    flags = ["--epochs-later", "1", "--batch-size", "6", "--train.log-every", "1", "--memory.size", "6"]
    start = ["--memory.selection", "ssul", "--from", str(whole / "step-0"), "--out", str(tmp_path / "run")]
    assert main([*words.split(), *flags, *start]) == 0
    assert same_runs(whole, tmp_path / "run")


# --- the model's part in the choice -----------------------------------------------------------------------------------


def candidates_after_step_1(inside: Run) -> Joined:
    """The images that the memory after step 1 is chosen from, with their own labels."""
    step = inside.stream.steps[1]
    return Joined((*memory.exemplars(inside, step).parts, inside.stream.train_samples(step)))


def test_ssul_counts_what_the_steps_model_sees(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(whole, tmp_path / "run")
    config = remembering(selection="ssul")
    inside = opened(tmp_path / "run", config)
    shutil.rmtree(inside.folder.step(2))
    first = memory.read(inside.folder)[0]
    memory._write(inside.folder, [first])
    labelled = candidates_after_step_1(inside)
    seen = np.random.default_rng(0).random((len(labelled), 8)) < 0.2
    monkeypatch.setattr("sats.engine.memory.seen_by_model", lambda *_: seen.copy())
    memory.complete(inside)

    new = labelled.parts[-1]
    images = [*first, *(Exemplar(new.source.key(int(index)), 1) for index in new.indices)]
    own = np.array([[channel in labelled[place][1] for channel in range(8)] for place in range(len(labelled))])
    expected = select("balanced", images, own | seen, 6, config.seed, 1)
    assert memory.read(inside.folder)[1] == expected != select("balanced", images, own, 6, config.seed, 1)


def test_what_a_model_sees_is_shared_by_processes(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(whole, tmp_path / "run")
    model = tmp_path / "run" / "step-1" / "model" / "model.safetensors"
    weights = load_file(model)
    name = "decode_head.classifier.weight"  # a model that is sure of something, whatever it has learned
    weights[name] = torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(0)) * 2
    save_file(weights, model, metadata={"format": "pt"})
    config = remembering(selection="ssul")
    config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, batch_size=4))
    inside = opened(tmp_path / "run", config)
    labelled, step = candidates_after_step_1(inside), inside.stream.steps[1]
    by_hand = np.array([seen_in(inside, labelled, place) for place in range(len(labelled))])[:, 1:]
    assert by_hand.any()
    assert not by_hand.all()
    assert np.array_equal(memory.seen_by_model(inside, step, labelled)[:, 1:], by_hand)
    parts = []
    for process in range(2):
        monkeypatch.setattr(launch, "world_size", lambda: 2)
        monkeypatch.setattr(launch, "rank", lambda rank=process: rank)
        monkeypatch.setattr(processes, "total", lambda counts: counts)
        parts.append(memory.seen_by_model(inside, step, labelled)[:, 1:])
    assert all(part.any() for part in parts)
    assert not np.array_equal(parts[0], parts[1])
    assert np.array_equal(parts[0] | parts[1], by_hand)


@torch.no_grad()
def seen_in(inside: Run, samples: Joined, place: int) -> NDArray[np.bool_]:
    """Which of the eight channels the model of step 1 sees in one image: by hand."""
    model = finished_model(inside, inside.stream.steps[1]).eval()
    image, labels = samples[place]
    pixels, _ = TestTransform()(image, labels)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normal = torch.from_numpy((pixels / 255 - mean) / std).float().permute(2, 0, 1)[None]
    probabilities = model(normal).logits_at((32, 32)).softmax(dim=1)[0].numpy()
    free = np.asarray(labels) == BACKGROUND
    return np.array([bool((free & (one >= 0.7)).any()) for one in probabilities])


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenes as a folder of files: three steps of images that hold no class of a later step."""
    root = tmp_path_factory.mktemp("digits")
    for split, count in (("train", 60), ("val", 4)):
        scenes = ScenesSource(split, count, 32)
        for index in range(count):
            for kind, picture in (("images", scenes.image(index)), ("masks", scenes.mask(index))):
                path = root / kind / split / f"{index:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.asarray(picture)).save(path)
    (root / "classes.txt").write_text("\n".join(scenes.classes) + "\n")
    return root


def from_files(root: Path, setting: str = "disjoint", **settings_of_memory: object) -> RunConfig[Method]:
    config = remembering(**settings_of_memory)
    data = DataConfig(source="folder", root=str(root))
    return dataclasses.replace(config, data=data, stream=dataclasses.replace(THREE_STEPS, setting=setting))


@pytest.fixture(scope="module")
def read_from_files(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the files that keeps no copies."""
    folder = tmp_path_factory.mktemp("memory") / "files"
    run(folder, from_files(digits))
    return folder


def test_with_copies_the_old_data_may_be_gone(digits: Path, read_from_files: Path, tmp_path: Path) -> None:
    shutil.copytree(digits, tmp_path / "data")
    config = from_files(tmp_path / "data", copy=True)
    folder = create_run(tmp_path / "run", config)
    for finished in (1, 2):
        stop_after(folder, config, finished)
        forget_old_files(config, finished)
    train(config, folder, Log(folder.metrics_path))
    assert same_runs(read_from_files, folder.path)
    counts = [(path / "steps.json").read_text() for path in (read_from_files, folder.path)]
    assert counts[0] == counts[1]  # what was learned from, not what is left


def stop_after(folder: RunFolder, config: RunConfig[Method], steps: int) -> None:
    """Train until ``steps`` steps are finished and the next one has begun."""
    log = Log(folder.metrics_path)

    def say_and_stop(text: str) -> None:
        if text.startswith(f"Step {steps}:"):
            raise KeyboardInterrupt

    log.say = say_and_stop  # type: ignore[method-assign]  # only here
    with pytest.raises(KeyboardInterrupt):
        train(config, folder, log)
    assert len(folder.scores()) == len(memory.read(folder)) == steps


def forget_old_files(config: RunConfig[Method], steps: int) -> None:
    """Remove the files that no step from ``steps`` on learns from."""
    stream = build.build_stream(config, learned=steps)
    wanted = {
        stream.train_source.key(int(index))
        for step in stream.steps[steps:]
        for index in stream.train_samples(step).indices
    }
    for kind in ("images", "masks"):
        for path in (Path(config.data.root) / kind / "train").iterdir():
            if f"train/{path.stem}" not in wanted:
                path.unlink()
    left = build.build_stream(config, learned=steps)
    assert not any(len(left.train_samples(step)) for step in left.steps[:steps])


@pytest.fixture
def copied(digits: Path, read_from_files: Path, tmp_path: Path) -> Run:
    """A finished run whose memory was removed, to be chosen again with copies."""
    shutil.copytree(read_from_files, tmp_path / "run")
    (tmp_path / "run" / "memory.json").unlink()
    return opened(tmp_path / "run", from_files(digits, copy=True))


def names(kept: list[Exemplar]) -> set[str]:
    """The files of some exemplars' copies."""
    return {name for exemplar in kept for name in (exemplar.image, exemplar.mask)}


def there(folder: RunFolder) -> set[str]:
    """The files that are kept as copies."""
    return {path.name for path in folder.copies.iterdir()}


def test_copies_change_nothing_in_the_choice(copied: Run, read_from_files: Path) -> None:
    memory.complete(copied)
    assert keys(copied.folder) == keys(RunFolder(read_from_files))
    assert there(copied.folder) == names(memory.read(copied.folder)[-1])


def test_dropped_copies_are_removed_after_the_memory_is_written(
    copied: Run, read_from_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while the second memory is written: the first one is still whole, and the run goes on."""
    write = memory._write

    def full(folder: RunFolder, memories: list[list[Exemplar]]) -> None:
        if len(memories) > 1:
            raise OSError(28, "No space left on device")
        write(folder, memories)

    with monkeypatch.context() as patch:
        patch.setattr("sats.engine.memory._write", full)
        with pytest.raises(RunError, match=r"memory\.json cannot be written .*No space left"):
            memory.complete(copied)
    (first,) = memory.read(copied.folder)
    assert names(first) < there(copied.folder)
    memory.complete(copied)
    last = memory.read(copied.folder)[-1]
    assert keys(copied.folder) == keys(RunFolder(read_from_files))
    assert there(copied.folder) == names(last)
    assert names(first) - names(last)


def test_a_copy_that_is_gone_is_named(copied: Run) -> None:
    memory.complete(copied)
    victim = memory.read(copied.folder)[1][0]
    (copied.folder.copies / victim.mask).unlink(missing_ok=True)
    with pytest.raises(ValueError, match=rf"{victim.mask}.*{victim.key}.*put it back"):
        memory.exemplars(copied, copied.stream.steps[2])


def test_copies_may_be_switched_on_and_off(copied: Run, digits: Path, read_from_files: Path) -> None:
    """Whoever has a copy is read from it, whoever has none from the data."""
    without = opened(read_from_files, from_files(digits))
    kept, step = memory.read(without.folder), without.stream.steps[2]
    shutil.rmtree(copied.folder.step(2))
    memory._write(copied.folder, kept[:1])
    memory.complete(copied)
    (_, files) = memory.read(copied.folder)
    assert there(copied.folder) == names(files)  # copied now, wherever they were before
    memory._write(copied.folder, [kept[0], [*files[:2], *kept[1][2:4], *files[4:]]])
    mixed, plain = memory.exemplars(copied, step), memory.exemplars(without, step)
    assert [len(part) for part in mixed.parts] != [len(part) for part in plain.parts]
    for place in range(6):
        for one, other in zip(mixed[place], plain[place], strict=True):
            assert np.array_equal(np.asarray(one), np.asarray(other))
