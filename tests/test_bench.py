"""Sweeps: what is run when, what is shared and kept, what is said of it, and the table in the end."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from fakes import fake_loader
from reports import groups_of, write_run
from sats.bench.archive import Archive, portable
from sats.bench.bench_folder import BenchFolder, differences
from sats.bench.board import Board
from sats.bench.executor import Ended, Job
from sats.bench.gather import gather
from sats.bench.pace import Pace, Progress, progress_of
from sats.bench.process import RunningJob
from sats.bench.schedule import Listener, Sweep, work
from sats.bench.step0 import step0_of
from sats.bench.suite import Cell
from sats.cli import main
from sats.config import to_json
from sats.engine.run_folder import RunFolder
from sweeps import TINY, Inline, spanned, swept
from test_engine import run as train_alone
from test_engine import same_weights

EXAMPLE = Path(__file__).parent.parent / "benchmarks" / "suites" / "scenes.json"
THREE = {"finetune": {}, "frozen": {"method": {"name": "mib", "frozen_encoder": True}}, "sats": {}}


# --- real runs, in this process ---------------------------------------------------------------------------------------


def test_a_shared_step_0_is_trained_once_and_changes_nothing(tmp_path: Path) -> None:
    every = spanned(variants=THREE)
    sweep = swept(tmp_path / "bench", every, Inline())
    assert (sweep.num_done, sweep.failed, sweep.waiting) == (3, {}, [])
    runs = [sweep.folder.run(cell) for cell in every]
    assert [run.config().start_from for run in runs] == ["", *[str(runs[0].step(0))] * 2]
    logged = [run.metrics_path.read_text().splitlines() for run in runs]
    assert [{json.loads(line)["step"] for line in lines} for lines in logged] == [{0, 1}, {1}, {1}]
    alone = tmp_path / "alone"
    assert train_alone(alone, every[2].config) == runs[2].scores()
    assert all(same_weights(alone, runs[2].path, step) for step in (0, 1))


def test_a_failing_cell_is_noted_and_the_others_go_on(tmp_path: Path) -> None:
    diverging = {"method": {"name": "finetune"}, "optim": {"lr_later": 1e30, "clip": 0.0}}
    every = spanned(variants={"diverging": diverging, "joint": {}})
    sweep = swept(tmp_path, every, Inline())
    assert (sweep.num_done, set(sweep.failed)) == (1, {"diverging"})
    assert "no longer finite in step 1" in sweep.failed["diverging"]
    again = Inline(lambda _: None)
    swept(tmp_path, every, again)
    assert again.started == ["diverging"]


def test_the_example_suite_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variant of it, on tiny data and in the first of its class orders."""
    suite = json.loads(EXAMPLE.read_text())
    suite = {**suite, "base": TINY, "grid": {name: values[:1] for name, values in suite["grid"].items()}}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    monkeypatch.setattr("sats.commands.bench.LocalExecutor", lambda _: Inline())
    assert main(["bench", str(tmp_path / "suite.json"), "--out", str(tmp_path / "out")]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [cell["state"] for cell in results["cells"]] == ["done"] * len(suite["variants"])
    assert [row["finished"] for row in results["rows"]] == [1] * len(suite["variants"])


def test_scores_that_are_kept_need_no_run(tmp_path: Path) -> None:
    every = spanned(variants={"finetune": {}, "sats": {}})
    archive = Archive(tmp_path / "scores")
    sweep = Sweep(BenchFolder(tmp_path / "bench", archive), every)
    assert work(sweep, Inline(), Listener())
    results = gather(sweep.folder, every, {})
    assert [result.state for result in results] == ["done", "done"]
    elsewhere = BenchFolder(tmp_path / "elsewhere", archive)
    assert gather(elsewhere, every, {}) == results
    assert Sweep(elsewhere, every).waiting == []
    other = spanned(variants={"finetune": {"optim": {"lr_later": 0.5}}, "sats": {}})
    assert [elsewhere.state(cell) for cell in other] == ["new", "done"]
    assert list(elsewhere.changed(other)) == ["finetune"]
    assert "optim.lr_later" in elsewhere.changed(other)["finetune"]
    (tmp_path / "scores" / "sats.json").write_text('{"state": "done"}')
    with pytest.raises(ValueError, match=r"sats\.json does not hold a cell's scores"):
        elsewhere.state(every[1])


def test_kept_settings_name_no_places(tmp_path: Path) -> None:
    (cell,) = spanned(variants={"finetune": {}})
    placed = [
        dataclasses.replace(
            cell,
            config=dataclasses.replace(cell.config, data=dataclasses.replace(cell.config.data, root=str(root / "ccp"))),
        )
        for root in (tmp_path, tmp_path / "other")
    ]
    assert portable(placed[0]) == portable(placed[1])
    assert portable(placed[0])["data.root"] == "ccp"


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("sats: one\nstep 0\nsats: x is wrong:\n  - a\n\n  - b\n", "x is wrong: - a - b"),
        ("Traceback\nOSError: gone\n", "OSError: gone"),
        ("sats: a warning\nstep 0\nTraceback (most recent call last):\nOSError: gone\n", "OSError: gone"),
        ("sats: a warning\n" + "step 0\n" * 30, "step 0"),
        ("", "its process ended with code 3 and said nothing"),
    ],
)
def test_what_is_told_of_a_cell_that_failed(printed: str, told: str, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(f"sats: of the time before\n{printed}")
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"], stdin=subprocess.PIPE)
    offset = len("sats: of the time before\n")
    assert RunningJob(Job("cell", tmp_path, log), process, offset).ended() == Ended("cell", told)


# --- what is run when -------------------------------------------------------------------------------------------------


class Slow(Inline):
    """Two at a time; a job is over when the test says so, with its steps written by hand."""

    @property
    def slots(self) -> int:
        return 2

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Job] = {}

    def submit(self, job: Job) -> None:
        self.started.append(job.name)
        self.jobs[job.name] = job

    def finish(self, name: str, error: str = "") -> Ended:
        folder = self.jobs.pop(name).folder
        if not error:
            pretend(folder, steps=2)
        return Ended(name, error)


def pretend(folder: Path, steps: int) -> None:
    """Let a run that was prepared have finished so many of its two steps."""
    config = RunFolder(folder).config()
    (folder / "config.json").unlink()
    folder.rmdir()
    write_run(folder, groups_of(5, 5), config, done=steps)
    (folder / "metrics.jsonl").touch()


def start_all(sweep: Sweep, executor: Slow) -> list[str]:
    """Start what can be, and return what is running."""
    while len(sweep.running) < executor.slots and sweep.start_one(executor):
        pass
    return list(sweep.running)


def test_those_that_share_a_step_0_wait_for_it(tmp_path: Path) -> None:
    every = spanned(variants={**THREE, "joint": {}}, grid={"seed": [0, 1]})
    sweep, executor = Sweep(BenchFolder(tmp_path), every), Slow()
    assert start_all(sweep, executor) == ["finetune,seed=0", "joint,seed=0"]
    sweep.note(executor.finish("joint,seed=0"))
    assert start_all(sweep, executor) == ["finetune,seed=0", "finetune,seed=1"]
    pretend(executor.jobs["finetune,seed=1"].folder, steps=1)
    sweep.note(executor.finish("finetune,seed=0", error="lost"))
    assert start_all(sweep, executor)[-1] == "frozen,seed=0"  # trains what the failed one did not
    sweep.note(executor.finish("frozen,seed=0"))
    assert start_all(sweep, executor)[-1] == "sats,seed=0"
    sweep.note(executor.finish("sats,seed=0"))
    assert start_all(sweep, executor)[-1] == "frozen,seed=1"  # the step 0 of one that is still running
    starts = {
        cell.name: sweep.folder.run(cell).config().start_from for cell in every if sweep.folder.state(cell) != "new"
    }
    assert starts["sats,seed=0"] == str(tmp_path.resolve() / "frozen,seed=0" / "step-0")
    assert (starts["finetune,seed=1"], starts["frozen,seed=0"]) == ("", "")
    prepared = RunFolder(tmp_path / "frozen,seed=1").config()
    assert prepared.start_from == str(tmp_path.resolve() / "finetune,seed=1" / "step-0")


def test_what_is_done_is_skipped_and_what_is_begun_comes_first(tmp_path: Path) -> None:
    every = spanned(variants=THREE)
    write_run(tmp_path / "finetune", groups_of(5, 5), every[0].config)
    write_run(tmp_path / "sats", groups_of(5, 5), every[2].config, done=1)
    executor = Slow()
    sweep = Sweep(BenchFolder(tmp_path), every)
    assert start_all(sweep, executor) == ["sats", "frozen"]
    assert sweep.num_done == 1


def test_a_run_that_never_began_takes_the_step_0_that_is_there_now(tmp_path: Path) -> None:
    every = spanned(variants=THREE)
    folder = BenchFolder(tmp_path)
    folder.prepare(every[1], tmp_path / "gone" / "step-0")
    write_run(tmp_path / "finetune", groups_of(5, 5), every[0].config)
    start_all(Sweep(folder, every), Slow())
    assert folder.run(every[1]).config().start_from == str(tmp_path.resolve() / "finetune" / "step-0")


def test_runs_that_the_suite_no_longer_names_lend_their_step_0(tmp_path: Path) -> None:
    before = spanned(variants=THREE)
    write_run(tmp_path / "finetune", groups_of(5, 5), before[0].config, done=1)
    folder = BenchFolder(tmp_path)
    after = spanned(variants={"sats": {}, "joint": {}})
    assert folder.strays(after) == ["finetune"]
    assert [Sweep(folder, after).source(cell) for cell in after] == ["from finetune", "none to share"]
    again = Sweep(folder, before)
    assert [again.source(cell) for cell in before] == ["its own", *["from finetune"] * 2]
    aside = folder.put_aside("finetune")
    assert aside
    sweep, executor = Sweep(folder, after), Slow()
    assert sweep.source(after[0]) == "from replaced/finetune"
    assert [Sweep(folder, before).source(cell) for cell in before] == ["from replaced/finetune"] * 3
    start_all(sweep, executor)
    assert folder.run(after[0]).config().start_from == str(aside.resolve() / "step-0")
    other = spanned(variants=THREE, grid={"seed": [7]})
    assert Sweep(folder, other).donor(other[0]) is None
    shutil.rmtree(aside / "step-0")
    assert Sweep(folder, after).donor(after[0]) is None
    (aside / "config.json").write_text('{"recipe": "scenes", "of": "another version"}')
    assert Sweep(folder, after).donor(after[0]) is None


def test_time_that_is_up_stops_the_cells(tmp_path: Path) -> None:
    executor = Slow()
    sweep = Sweep(BenchFolder(tmp_path), spanned(variants=THREE))
    assert not work(sweep, executor, Listener(), seconds=0.0)
    assert executor.stopped
    assert executor.started == []


def test_an_interruption_stops_the_cells(tmp_path: Path) -> None:
    def interrupted(_: RunFolder) -> None:
        raise KeyboardInterrupt

    executor = Inline(interrupted)
    with pytest.raises(KeyboardInterrupt):
        swept(tmp_path, spanned(variants=THREE), executor)
    assert executor.stopped


# --- the command ------------------------------------------------------------------------------------------------------


def suite_file(folder: Path, **values: object) -> str:
    path = folder / "suite.json"
    path.write_text(json.dumps({"name": "test", "base": TINY, "variants": THREE, **values}))
    return str(path)


def test_a_dry_run_lists_the_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = spanned(variants={**THREE, "joint": {}})
    write_run(tmp_path / "out" / "sats", groups_of(5, 5), every[2].config, done=1)
    write_run(tmp_path / "out" / "joint", groups_of(10), every[3].config)
    write_run(tmp_path / "out" / "other", groups_of(5, 5), every[3].config)
    words = [
        "bench",
        suite_file(tmp_path, variants={**THREE, "joint": {}}),
        "--out",
        str(tmp_path / "out"),
        "--dry-run",
    ]
    assert main(words) == 0
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line.startswith("│")]
    assert rows == [
        ["finetune", "new", "from sats"],
        ["frozen", "new", "from sats"],
        ["sats", "begun", "its own"],
        ["joint", "done", "none to share"],
    ]
    assert "4 cells, 1 done" in shown
    assert "1 run here that the suite does not name, left out of the table: other" in shown
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["joint", "other", "sats"]


def test_a_second_sweep_on_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with BenchFolder(tmp_path / "out").held():
        assert main(["bench", suite_file(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert f"is being worked on by process {os.getpid()}" in capsys.readouterr().err


def test_changed_settings_are_told_and_put_aside_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = Inline(lambda folder: pretend(folder.path, steps=2))
    monkeypatch.setattr("sats.commands.bench.LocalExecutor", lambda _: executor)
    words = ["bench", suite_file(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    slower = {"method": {"name": "sats"}, "optim": {"lr_later": 0.5}}
    suite_file(tmp_path, variants={"finetune": {}, "frozen": THREE["frozen"], "sats": slower})
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "1 cell with other settings than the suite has now:\n- sats: optim.lr_later 0.01, now 0.5\n" in said
    assert "--replace" in said
    assert main([*words, "--replace"]) == 0
    assert executor.started == ["finetune", "frozen", "sats", "sats"]
    assert RunFolder(tmp_path / "out" / "replaced" / "sats").config().optim.lr_later == 0.01
    assert RunFolder(tmp_path / "out" / "sats").config().optim.lr_later == 0.5
    assert "its settings have changed" in capsys.readouterr().out


def test_a_cell_that_failed_is_reported_in_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_on(folder: RunFolder) -> None:
        if folder.path.name == "frozen":
            raise RuntimeError("it_is <broken>")
        pretend(folder.path, steps=2)

    monkeypatch.setattr("sats.commands.bench.LocalExecutor", lambda _: Inline(go_on))
    assert main(["bench", suite_file(tmp_path), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "sats: 1 cell failed:\n- frozen: it_is <broken>\nTheir output is in" in said.err
    assert "2 of 3 done, 1 failed" in said.err
    table = (tmp_path / "out" / "results.md").read_text()
    assert "- frozen: failed: it\\_is &lt;broken&gt;" in table
    assert "| frozen | 0 of 1 |" in table


def test_numbers_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", suite_file(tmp_path), "--jobs", "-1"]) == 2
    assert "--jobs, --minutes and --gpus are 0 or more" in capsys.readouterr().err


def test_differences_between_settings() -> None:
    (one,), (other,) = (spanned(variants={name: {}}) for name in ("sats", "mib"))
    assert differences(one.config, dataclasses.replace(one.config, start_from="x")) == ""
    said = differences(one.config, other.config)
    assert said.startswith('method.name "sats", now "mib"; ')
    (third,) = spanned(variants={"plop": {}}, recipe="voc-15-1", base={"data": {"source": "scenes"}})
    assert differences(one.config, third.config).endswith(" more")


# --- what is said meanwhile -------------------------------------------------------------------------------------------


def begun(folder: Path, cell: Cell, iteration: int, images: int = 60) -> None:
    """A run that is in step 1, of 1 image as `write_run` has it."""
    write_run(folder / cell.name, groups_of(5, 5), cell.config, done=1)
    steps = [{"learns": group, "images": images} for group in groups_of(5, 5)]
    (folder / cell.name / "steps.json").write_text(json.dumps(steps))
    line = json.dumps({"step": 1, "iteration": iteration, "images_per_second": 2.0})
    (folder / cell.name / "metrics.jsonl").write_text(f"{line}\n")


@pytest.mark.parametrize(("images", "size", "memory"), [(4, 8, 0), (12, 8, 0), (30, 8, 0), (30, 8, 20), (30, 7, 20)])
def test_a_step_is_done_when_its_last_update_is(tmp_path: Path, images: int, size: int, memory: int) -> None:
    """Whatever fits no batch is left out, a small step is repeated, and exemplars share the batch."""
    train = {"epochs": 20, "epochs_later": 20, "batch_size": size}
    (cell,) = spanned(variants={"sats": {"train": train, "memory": {"size": memory}}})
    updates = 20 * fake_loader(images, size, memory).iterations_per_epoch
    begun(tmp_path, cell, iteration=updates // 2, images=images)
    half = progress_of(RunFolder(tmp_path / "sats"))
    assert half is not None
    assert (half.done - half.first, half.total - half.first) == (updates * size // 2, updates * size)


def test_how_far_a_run_is(tmp_path: Path) -> None:
    (cell,) = spanned(variants={"sats": {}})
    run = RunFolder(tmp_path / "sats")
    assert progress_of(run) is None
    begun(tmp_path, cell, iteration=5)
    assert progress_of(run) == Progress(step=1, steps=2, done=90, total=120, first=60)
    (run.path / "config.json").write_text(to_json(dataclasses.replace(cell.config, start_from="/x")))
    assert progress_of(run) == Progress(step=1, steps=2, done=30, total=60, first=0)
    (run.path / "metrics.jsonl").write_text("{broken")
    assert progress_of(run) == Progress(step=1, steps=2, done=0, total=60, first=0)


def test_what_is_shown_in_a_terminal_and_in_a_pipe(tmp_path: Path) -> None:
    every = spanned(variants=THREE)
    begun(tmp_path, every[0], iteration=5)
    sweep, pipe = Sweep(BenchFolder(tmp_path), every), io.StringIO()
    board = Board(sweep, Console(file=pipe, width=80))
    executor = Slow()
    with board.listening() as listener:
        for _ in range(2):
            cell = sweep.start_one(executor)
            assert cell is not None
            listener.started(cell)
        listener.passed()
        assert str(board.lines()) == (
            "  finetune  step 1 of 1  75%\n  frozen  starting\n0 of 3 done, 2 running, 1 waiting"
        )
        listener.ended(sweep.note(Ended("frozen", "broken")))
        listener.stopping()
    assert pipe.getvalue().splitlines() == [
        "finetune: started",
        "frozen: started",
        "frozen: failed after 0 s; 0 of 3 done, 1 failed, 1 running, 1 waiting",
        "Stopping 1 run, with a checkpoint each.",
    ]


def test_the_time_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """12 images in 15 s; 12 are left of the first, and 60 for each of the others, whose step 0 is taken over."""
    every = spanned(variants=THREE)
    begun(tmp_path, every[0], iteration=5)
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    sweep = Sweep(BenchFolder(tmp_path), every)
    board = Board(sweep, Console(file=io.StringIO()))
    assert sweep.start_one(Slow()) is every[0]
    said = []
    for iteration, now[0] in ((5, 30.0), (6, 60.0), (8, 75.0)):  # until 60, its process started
        line = json.dumps({"step": 1, "iteration": iteration, "images_per_second": 2.0})
        (tmp_path / "finetune" / "metrics.jsonl").write_text(f"{line}\n")
        board.look()
        said.append(board.counts())
    started = "0 of 3 done, 1 running, 2 waiting"
    assert said == [started, started, f"{started}, about 2 min 45 s left"]  # 132 * 15 / 12 s


def test_a_terminal_is_drawn_while_more_becomes_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a thread of its own."""
    (cell,) = spanned(variants={"sats": {}})
    pace = Pace(Sweep(BenchFolder(tmp_path), [cell]))
    known = pace._known

    @dataclasses.dataclass(frozen=True)
    class Growing:
        """Another run becomes known whenever somebody counts this one."""

        total: int = 2

        @property
        def done(self) -> int:
            known[f"run {len(known)}"] = Growing()  # type: ignore[assignment]  # as a Progress
            return 1

    known["first"] = Growing()  # type: ignore[assignment]  # the same
    monkeypatch.setattr("time.monotonic", lambda: 1e9)
    left = pace.seconds_left()
    assert left is not None
    assert left > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "setting"), [("finetune", "overlapped"), ("mib", "disjoint"), ("dft", "sequential")]
)
def test_protocols_that_share_a_step_0_would_train_the_same(method: str, setting: str, tmp_path: Path) -> None:
    base = {**TINY, "data": {"images": 100, "image_size": 32}, "stream": {"setting": setting}}
    coarse, fine = spanned(base=base, variants={method: {}}, grid={"stream.protocol": ["5-5", "5-1"]})
    assert step0_of(coarse.config) == step0_of(fine.config)
    scores = [train_alone(tmp_path / cell.name, cell.config)[0] for cell in (coarse, fine)]
    assert same_weights(tmp_path / coarse.name, tmp_path / fine.name, 0)
    assert scores[0] == scores[1]
