"""One run shared by two processes: the same as one process that accumulates, stopped and resumed, told once."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
import torch.distributed.run
from safetensors.torch import load_file, save_file
from torch import Tensor

from pair import dropping_config, even_config
from sats.cli import main
from sats.engine import build, checkpoint, launch, memory, processes
from sats.engine.interrupt import deferred_interrupts
from sats.engine.log import Log
from sats.engine.run import Run
from sats.engine.run_folder import RunFolder, create_run
from sats.engine.sums import write_sums
from sats.engine.train import train
from sats.methods import METHODS
from sats.methods.pseudo_labelling import THRESHOLDS
from sats.methods.sats import Sats
from sats.models.segformer import SIZES
from test_engine import same_weights, weights
from test_resume import interrupted, same_runs

PAIR = Path(__file__).with_name("pair.py")
LARGEST_IMPORTANCE = 1.0
"""Of a tensor, except where the loss hangs on it by rounding alone: its importances are rounding too, and small."""
TIMEOUT = 300
"""Seconds; a pair that takes longer hangs."""


def start_pair(folder: Path, *words: str, number: int = 2) -> list[subprocess.Popen[str]]:
    """Two processes of pair.py, or another number, as a launcher starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    size = str(number)
    common = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = {**os.environ, **common, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return [
        subprocess.Popen(
            [sys.executable, str(PAIR), str(folder), *words],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]


def outputs(pair: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """What both said, once they ended."""
    try:
        return [process.communicate(timeout=TIMEOUT) for process in pair]
    finally:
        for process in pair:
            process.kill()


@pytest.fixture
def methods_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test change these two tables."""
    monkeypatch.setitem(METHODS, "sats", Sats)
    monkeypatch.setitem(SIZES, "segformer-tiny", dict(SIZES["segformer-tiny"]))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that a pair of processes leaves behind."""
    folder = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "segformer-tiny", dict(SIZES["segformer-tiny"]))
        config = dropping_config()
        interrupted(create_run(folder / "two processes go on", config), config, 3)
    pair = start_pair(folder)
    for rank, (_, stderr) in enumerate(outputs(pair)):
        assert "Traceback" not in stderr, stderr
        (folder / f"end-{rank}.json").write_text(json.dumps([pair[rank].returncode, stderr]))
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three processes leave behind; of the 9 batches of 17 images, the last one is of a single image."""
    folder = tmp_path_factory.mktemp("three")
    for _, stderr in outputs(start_pair(folder, "parts", number=3)):
        assert "Traceback" not in stderr, stderr
    return folder


@pytest.fixture(params=["two", pytest.param("three", marks=pytest.mark.slow)])
def together(request: pytest.FixtureRequest) -> Path:
    """What some processes leave behind that share what does not divide evenly."""
    folder: Path = request.getfixturevalue({"two": "shared"}.get(request.param, request.param))
    return folder


def same_but_for_rounding(found: Tensor, expected: Tensor, largest: float) -> bool:
    """Whether a mean over processes is that over as many micro-batches.

    Some gradients are 0 but for rounding, such as those of biases before batch norm: ``largest`` is that of all.
    """
    return float((found - expected).norm()) <= 1e-6 * max(float(expected.norm()), 1e-3 * largest)


def loaded(folder: Path, name: str) -> list[dict[str, Tensor]]:
    """The tensors that each process wrote."""
    return [load_file(file) for file in sorted(folder.glob(f"{name}-[0-9].safetensors"))]


def noted(folder: Path, name: str) -> list[dict[str, dict[str, object]]]:
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(2)]


# --- parts of a step --------------------------------------------------------------------------------------------------


def test_shared_gradients_are_those_of_accumulation(together: Path) -> None:
    (found, *others), (alone, *_) = loaded(together, "gradients"), loaded(together, "gradients-alone")
    assert others
    largest = max(float(gradient.abs().max()) for gradient in alone.values())
    for name, expected in alone.items():
        assert all(torch.equal(found[name], other[name]) for other in others), name
        assert same_but_for_rounding(found[name], expected, largest), name
    first, *others = loaded(together, "weights")
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)


@pytest.mark.parametrize("name", [name for name, kind in METHODS.items() if kind.data == "stream"])
def test_every_method_shares_an_update(name: str, together: Path) -> None:
    """What processes learn and remember is what one does that accumulates the same micro-batches."""
    first, *others = loaded(together, f"{name}-shared")
    alone, *_ = loaded(together, f"{name}-alone")
    assert first.keys() == alone.keys()
    largest = max(float(value.abs().max()) for key, value in alone.items() if key.startswith("moved"))
    assert largest > 0
    for key, expected in alone.items():
        assert all(torch.equal(first[key], other[key]) for other in others), key
        if key.startswith("moved"):
            assert same_but_for_rounding(first[key], expected, largest), key
        elif key == f"state {THRESHOLDS}":
            assert torch.equal(first[key], expected)
        else:
            torch.testing.assert_close(first[key], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["ewc", "pi", "rw"])
def test_importances_after_a_shared_step_are_those_of_one_process(name: str, together: Path) -> None:
    first, *others = loaded(together, f"importances-{name}-shared")
    alone, *_ = loaded(together, f"importances-{name}-alone")
    assert first.keys() == alone.keys()
    assert any(float(value.abs().max()) > 0 for value in alone.values())
    least = 0.0 if len(others) == 1 else LARGEST_IMPORTANCE
    for key, expected in alone.items():
        assert all(torch.equal(first[key], other[key]) for other in others), key
        assert float((first[key] - expected).norm()) <= 1e-3 * max(float(expected.norm()), least), key


def test_exemplars_are_exactly_those_that_one_process_chooses(together: Path, tmp_path: Path) -> None:
    """From the same models, whose answers decide which images are kept."""
    run = RunFolder(shutil.copytree(together / "remembering", tmp_path / "run"))
    found = run.memory_path.read_text()
    assert len(json.loads(found)["steps"][1]) == 7
    run.memory_path.unlink()
    config = run.config()
    memory.complete(
        Run(config, run, build.build_stream(config), processes.make_accelerator("no"), Log(run.metrics_path))
    )
    assert run.memory_path.read_text() == found


def test_new_rows_are_tuned_together(shared: Path) -> None:
    first, second = loaded(shared, "pretuned")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["started"], first["network.decode_head.classifier.weights.1"])


def test_running_statistics_are_the_mean_of_what_each_process_saw(shared: Path) -> None:
    first, second = loaded(shared, "statistics")
    for averaged in loaded(shared, "averaged"):
        assert any(not torch.equal(first[name], second[name]) for name in first)
        for name, found in averaged.items():
            if found.is_floating_point():
                mean = (first[name].double() + second[name].double()) / 2
                assert torch.equal(found, mean.to(found.dtype)), name
            else:
                assert torch.equal(found, first[name])
                assert int(found) == 1


@pytest.mark.parametrize("name", ["", "one ", "matrix 2 ", "matrix 16 "])
def test_counts_are_exactly_those_of_one_process(together: Path, name: str) -> None:
    for found in loaded(together, "counts"):
        assert found[f"{name}shared"].dtype == torch.int64
        assert int(found[f"{name}shared"].sum()) > 0
        assert torch.equal(found[f"{name}shared"], found[f"{name}alone"])


def test_a_model_can_be_trained_twice_with_another_part_frozen(shared: Path) -> None:
    assert noted(shared, "twice") == [{"frozen": True, "moved": True}] * 2


@pytest.mark.parametrize("when", ["twice", "finished"])
def test_after_learning_both_processes_have_the_same_model(shared: Path, when: str) -> None:
    """The running statistics, too: before a method looks back, and again before the model is measured and saved."""
    first, second = loaded(shared, when)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


# --- whole runs -------------------------------------------------------------------------------------------------------


def counted_by_one(step: Path, to: Path) -> Path:
    """A copy of a finished step of two processes, whose batch norms counted as one process does: twice as many batches.

    What they average over all batches then goes on with the same weight.
    """
    shutil.copytree(step, to)
    shutil.copy(step.parent / "config.json", to.parent)
    stored = load_file(to / "model" / "model.safetensors")
    counted = {name: value * (2 if name.endswith("num_batches_tracked") else 1) for name, value in stored.items()}
    assert any(name.endswith("num_batches_tracked") for name in counted)
    save_file(counted, to / "model" / "model.safetensors", {"format": "pt"})
    write_sums(to)
    return to


@pytest.mark.usefixtures("methods_and_sizes")
@pytest.mark.parametrize("step", [0, 1])
def test_a_shared_run_ends_where_accumulation_does(step: int, shared: Path, tmp_path: Path) -> None:
    """Step 1 from the same step 0: which of its pixels are learned hangs on a median, and that on rounding before."""
    config = even_config(accumulation=2)
    if step:
        start = counted_by_one(shared / "even" / "step-0", tmp_path / "start" / "step-0")
        config = dataclasses.replace(config, start_from=str(start))
    folder = create_run(tmp_path / "alone", config)
    expected = train(config, folder, Log(folder.metrics_path))[step]
    found = RunFolder(shared / "even").scores()[step]
    assert found.pixels == expected.pixels
    assert found.miou == pytest.approx(expected.miou, abs=1e-3)
    assert found.iou == pytest.approx(expected.iou, abs=1e-3)
    first, second = weights(tmp_path / "alone", step), weights(shared / "even", step)
    assert all(
        torch.allclose(first[name], second[name], rtol=1e-4, atol=1e-5)
        for name in first
        if first[name].is_floating_point()
    )
    lines = [
        [
            line
            for text in (run / "metrics.jsonl").read_text().splitlines()
            if (line := json.loads(text))["step"] == step
        ]
        for run in (tmp_path / "alone", shared / "even")
    ]
    assert lines[0]
    for expected_line, found_line in zip(*lines, strict=True):
        assert found_line["losses"] == pytest.approx(expected_line["losses"], rel=1e-4)
        assert found_line["iteration"] == expected_line["iteration"]


def test_a_signal_to_one_process_stops_both_after_the_same_iteration(shared: Path) -> None:
    first, second = (json.loads((shared / f"stops-{rank}.json").read_text()) for rank in range(2))
    assert first == second == [["step-0-iteration-00000003"], [*first[1]]]
    assert first[1][-1] > "step-0-iteration-00000003"


def test_a_cache_of_each_process_changes_nothing_when_the_run_stops(shared: Path) -> None:
    assert noted(shared, "cached") == [["step-1-iteration-00000002"]] * 2
    assert same_runs(shared / "cached", shared / "cached and stopped")


def test_a_stopped_and_resumed_run_ends_as_one_that_never_was(shared: Path) -> None:
    assert same_runs(shared / "whole", shared / "stopped")
    assert not RunFolder(shared / "stopped").checkpoints.exists()
    places = [
        (line["step"], line["iteration"])
        for line in map(json.loads, (shared / "stopped" / "metrics.jsonl").read_text().splitlines())
    ]
    assert places == sorted(set(places))


@pytest.mark.usefixtures("methods_and_sizes")
def test_another_number_of_processes_goes_on_and_says_what_changes(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(shared / "one process goes on")
    (checkpoint,) = folder.checkpoints.iterdir()
    states = load_file(checkpoint / "random.safetensors"), load_file(checkpoint / "process-1.safetensors")
    assert not torch.equal(states[0]["cpu"], states[1]["random.cpu"])  # dropout differs between processes
    assert len(train(dropping_config(), folder)) == 2
    assert "is of 2 process(es), now there are 1" in capsys.readouterr().err
    assert len(RunFolder(shared / "two processes go on").scores()) == 2


def test_the_statistics_of_all_processes_are_averaged_for_another_number_of_them() -> None:
    norms = [torch.nn.BatchNorm2d(2) for _ in range(3)]
    for number, norm in enumerate(norms):
        norm.train()(torch.full((1, 2, 2, 2), float(number)))
    others = tuple(checkpoint.own_state(norm) for norm in norms[1:])
    saved = checkpoint.Checkpoint("", 0, 1, norms[0].state_dict(), {}, {}, checkpoint.random_states(), others)
    assert saved.processes == 3
    checkpoint.share_anew(norms[0], saved)
    assert torch.allclose(norms[0].running_mean, torch.full((2,), 0.1))
    assert int(norms[0].num_batches_tracked) == 1


# --- the command ------------------------------------------------------------------------------------------------------


def test_what_the_command_says_is_said_once(shared: Path) -> None:
    first, second = noted(shared, "commands")
    for name, text in {"train": "run folder:", "resume": "is finished already", "help": "--method NAME"}.items():
        assert first[name]["code"] == 0
        assert text in str(first[name]["stdout"])
        assert second[name] == {"code": 0, "stdout": "", "stderr": ""}
    assert "mIoU, %" in str(first["train"]["stdout"])
    assert "Step 1: learning" in str(first["train"]["stderr"])
    assert RunFolder(shared / "by command").is_finished()
    environment = json.loads((shared / "by command" / "environment.json").read_text())
    assert environment["processes"] == 2


def test_an_error_of_one_process_is_told_by_it_and_ends_both(shared: Path) -> None:
    first, second = (json.loads((shared / f"end-{rank}.json").read_text()) for rank in range(2))
    assert second == [1, "sats: The second process has trouble of its own.\n"]
    assert first[0] == 1
    assert "sats:" not in first[1]


def test_without_a_launcher_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (launch.world_size(), launch.rank(), launch.is_main()) == (1, 0, True)
    monkeypatch.setenv("WORLD_SIZE", "4")  # as some clusters set it for what torchrun is to start
    monkeypatch.setenv("RANK", "1")
    assert (launch.world_size(), launch.is_main()) == (1, True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert (launch.world_size(), launch.rank(), launch.is_main()) == (4, 1, False)


def test_a_lone_process_of_accelerates_launcher_is_told_how_to_get_company(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `accelerate launch --cpu --num_processes 2` leaves in the environment of the one that it starts."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    launch.refuse_lone_process()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert main(["train", "scenes"]) == 2
    assert "--multi_gpu" in capsys.readouterr().err
    monkeypatch.setenv("LOCAL_RANK", "0")
    launch.refuse_lone_process()


def test_a_second_sigterm_is_the_launchers_echo_and_a_ctrl_c_is_not() -> None:
    with deferred_interrupts() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with deferred_interrupts() as stop:
        assert not stop.asked


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("train scenes --processes", "needs a number of processes"),
        ("train scenes --processes none", "needs a number of processes"),
        ("resume RUN --processes=0", "needs a number of processes"),
        ("runs --processes 2", "runs"),
    ],
)
def test_a_wrong_number_of_processes_is_told(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):  # `sats runs` knows no such flag
        assert main(words.split()) == 2
    assert told in capsys.readouterr().err


def test_processes_are_started_with_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(
        torch.distributed.run, "run", lambda asked: started.append([asked.nproc_per_node, *asked.words])
    )
    monkeypatch.setattr(torch.distributed.run, "parse_args", parsed)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(launch.LAUNCHER, "")  # what is written over it goes with the test
    monkeypatch.setattr(logging, "disable", lambda: None)
    for words in (["train", "scenes", "--processes", "3", "--epochs", "1"], ["resume", "--processes=2", "RUN"]):
        with pytest.raises(SystemExit) as done:
            main(words)
        assert done.value.code == 0
    assert started == [["3", "train", "scenes", "--epochs", "1"], ["2", "resume", "RUN"]]


def parsed(words: list[str]) -> SimpleNamespace:
    """The launcher's own arguments, and what comes after them."""
    standalone, flag, number, module, name, *rest = words
    assert (standalone, flag, module, name) == ("--standalone", "--nproc-per-node", "-m", "sats")
    return SimpleNamespace(nproc_per_node=number, words=rest)


@pytest.mark.slow
def test_sats_starts_the_processes_itself(tmp_path: Path) -> None:
    words = ["train", "scenes", *TINY.split(), "--processes", "2", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "sats", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert RunFolder(tmp_path / "run").is_finished()
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["processes"] == 2


@pytest.mark.slow
def test_a_mistake_and_an_interruption_of_processes_are_told_as_of_one(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sats", "train"]
    wrong = ["folder", "--data", str(tmp_path / "nowhere"), "--protocol", "1-1", "--processes", "2"]
    done = subprocess.run([*words, *wrong, "--out", str(tmp_path / "no")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("sats: ")
    assert len(done.stderr.strip().splitlines()) == 1
    long = ["scenes", *TINY.split(), "--epochs", "500", "--processes", "2", "--out", str(tmp_path / "run")]
    run = subprocess.Popen([*words, *long], stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + TIMEOUT
    while not (tmp_path / "run" / "metrics.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=TIMEOUT)
    assert run.returncode == 130
    assert f"Go on with: sats resume {tmp_path / 'run'} --processes 2\n" in said
    assert "Traceback" not in said
    assert list((tmp_path / "run" / "checkpoint").iterdir())


# --- under torchrun ---------------------------------------------------------------------------------------------------

TINY = (
    "--data.image-size 32 --images 40 --crop 32 --batch-size 8 --epochs 20 --epochs-later 4 --protocol 5-5 "
    "--workers 1 --train.log-every 1"
)


def torchrun(*words: str) -> subprocess.Popen[str]:
    """`torchrun --nproc-per-node 2 -m sats WORDS`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "sats", *words]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_processes_stop_when_their_launcher_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    parent = [7]
    monkeypatch.setattr(launch.os, "getppid", lambda: parent[0])
    monkeypatch.setattr(launch.os, "kill", lambda *words: told.append(words))
    monkeypatch.setattr(launch, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(launch, "PATIENCE", 0.05)
    monkeypatch.setenv(launch.LAUNCHER, "7")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    before = threading.active_count()
    launch.stop_with_launcher()  # not one of several: nothing watches
    assert threading.active_count() == before
    monkeypatch.setenv("LOCAL_RANK", "0")
    launch.stop_with_launcher()
    time.sleep(0.1)
    assert not told
    parent[0] = 1
    end = time.monotonic() + 10
    while len(told) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert told == [(os.getpid(), signal.SIGTERM), (os.getpid(), signal.SIGKILL)]


def wait_for_iteration(folder: RunFolder, iteration: int) -> None:
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if folder.metrics_path.is_file() and len(folder.metrics_path.read_text().splitlines()) >= iteration:
            return
        time.sleep(0.05)
    pytest.fail("The run does not get on.")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_and_resumed_under_torchrun(tmp_path: Path, number: signal.Signals) -> None:
    whole = torchrun("train", "scenes", *TINY.split(), "--out", str(tmp_path / "whole"))
    assert outputs([whole])[0][0].count("mIoU, %") == 1
    assert whole.returncode == 0
    stopped = torchrun("train", "scenes", *TINY.split(), "--out", str(tmp_path / "stopped"))
    wait_for_iteration(RunFolder(tmp_path / "stopped"), 3)
    stopped.send_signal(number)
    ((_, said),) = outputs([stopped])
    assert said.count(f"Go on with: sats resume {tmp_path / 'stopped'}") == 1
    assert "after this iteration" in said
    assert len(list(RunFolder(tmp_path / "stopped").checkpoints.iterdir())) == 1
    resumed = torchrun("resume", str(tmp_path / "stopped"))
    ((_, said),) = outputs([resumed])
    assert resumed.returncode == 0, said
    assert "Going on after iteration" in said
    assert same_weights(tmp_path / "whole", tmp_path / "stopped", 0)
    assert same_runs(tmp_path / "whole", tmp_path / "stopped")


def two_machines(*words: str) -> list[subprocess.Popen[str]]:
    """`torchrun` as on two machines, a process on each; both are this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{free.getsockname()[1]}"
    launcher = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-id", "1", "--rdzv-backend", "c10d"]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *launcher,
        "--rdzv-endpoint",
        meeting,
        "-m",
        "sats",
        *words,
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]


@pytest.mark.slow
def test_a_scheduler_that_signals_every_process_of_two_machines_loses_nothing(tmp_path: Path) -> None:
    """SIGTERM to launchers and workers alike, the launchers pass theirs on: as Slurm does before the time is over."""
    run = RunFolder(tmp_path / "run")
    started = two_machines("train", "scenes", *TINY.split(), "--epochs", "500", "--out", str(run.path))
    wait_for_iteration(run, 3)
    for launcher in started:
        everyone = [psutil.Process(launcher.pid), *psutil.Process(launcher.pid).children(recursive=True)]
        for process in everyone:
            process.terminate()
    said = "".join(stderr for _, stderr in outputs(started))
    assert said.count(f"Go on with: sats resume {run.path}") == 1, said
    (checkpoint_,) = run.checkpoints.iterdir()
    resumed = two_machines("resume", str(run.path))
    wait_for_iteration(run, int(checkpoint_.name.rpartition("-")[2]) + 2)
    for launcher in resumed:
        launcher.terminate()
    said = "".join(stderr for _, stderr in outputs(resumed))
    assert "Going on after iteration" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--batch-size 5", "cannot be shared evenly by 2 processes"),
        ("--epocs 5", "Perhaps you meant"),
        ("--protocol 5-7", "5 + k x 7 must be 10"),
        ("--from nothing", "is not a finished step"),
    ],
)
def test_a_mistake_is_told_once_under_torchrun(tmp_path: Path, words: str, message: str) -> None:
    run = torchrun("train", "scenes", *TINY.split(), *words.split(), "--out", str(tmp_path / "run"))
    ((_, said),) = outputs([run])
    assert run.returncode == 1  # torchrun's own
    assert said.count(message) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_killed_process_ends_the_run_under_torchrun(tmp_path: Path) -> None:
    run = torchrun("train", "scenes", *TINY.split(), "--epochs", "2000", "--out", str(tmp_path / "run"))
    wait_for_iteration(RunFolder(tmp_path / "run"), 3)
    psutil.Process(run.pid).children()[1].kill()
    ((_, said),) = outputs([run])
    assert run.returncode == 1
    assert said.count("sats:") <= 1  # torchrun may be faster
    assert "SIGKILL" in said


@pytest.mark.slow
def test_every_method_resumes_in_mid_step_under_two_processes(tmp_path: Path) -> None:
    pair = start_pair(tmp_path, "resumes")
    assert [stderr for _, stderr in outputs(pair) if "Traceback" in stderr] == []
    for name in (name for name, kind in METHODS.items() if kind.data == "stream"):
        stopped = noted(tmp_path / name, "stopped")
        assert [max(names)[:7] for names in stopped] == ["step-1-", "step-1-"], name
        assert same_runs(tmp_path / name / "whole", tmp_path / name / "cut"), name
