"""Trackers: what TensorBoard, MLflow and W&B are told of a run, and that none of them can end or change a training."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

import sats
from reports import HOSTILE
from sats.cli import main
from sats.engine import followers, tracking
from sats.engine.followers import figures_of, iterations_before
from sats.engine.run_folder import RunFolder, create_run
from sats.engine.trackers import Subject, Tracker
from sats.engine.tracking import Tracking, check_trackers, followed, read_tracking
from sats.evaluation.scores import compute_scores
from sweeps import Inline, spanned, swept
from test_engine import same_weights, small
from test_resume import interrupted


class Recorder(Tracker):
    """A tracker that keeps what it is told; one that fails at what ``fails_at`` names."""

    known_runs: ClassVar[dict[str, Recorder]] = {}
    fails_at = ""

    def start(self, subject: Subject, known: str, after: int) -> tuple[str, str]:
        self._may_fail("start")
        self.subject, self.known, self.after = subject, known, after
        self.values: list[tuple[int, dict[str, float]]] = []
        self.pictures: list[tuple[int, tuple[int, int]]] = []
        self.ends: list[bool] = []
        Recorder.known_runs[subject.name] = self
        return f"id of {subject.name}", "here"

    def log(self, values: Mapping[str, float], at: int) -> None:
        self._may_fail("log")
        self.values.append((at, dict(values)))

    def show(self, picture: Image.Image, at: int) -> None:
        self._may_fail("show")
        self.pictures.append((at, picture.size))

    def finish(self, *, is_complete: bool) -> None:
        self._may_fail("finish")
        self.ends.append(is_complete)

    def _may_fail(self, what: str) -> None:
        if self.fails_at == what:
            raise ConnectionError(f"no network for {what}\nand more")

    def of(self, name: str) -> list[tuple[int, float]]:
        return [(at, values[name]) for at, values in self.values if name in values]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorder]:
    """Runs by name, as a tracker called "memory" was told of them; it needs no package."""
    monkeypatch.setattr(Recorder, "known_runs", {})
    monkeypatch.setattr(Recorder, "fails_at", "")
    monkeypatch.setitem(followers.KINDS, "memory", Recorder)
    monkeypatch.setitem(tracking.TRACKERS, "memory", {})
    return Recorder.known_runs


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> sats.Run:
    return sats.train(small("sats"), tmp_path_factory.mktemp("untracked") / "whole")


def same(first: sats.Run, second: sats.Run) -> bool:
    return first.scores == second.scores and all(same_weights(first.path, second.path, step) for step in (0, 1))


# --- what a tracker is told -------------------------------------------------------------------------------------------


def test_a_tracker_is_told_all_and_nothing_that_is_learned_changes(
    untracked: sats.Run, recorded: dict[str, Recorder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sats.train(small("sats"), tmp_path / "whole", tracker="memory")
    assert same(run, untracked)
    assert "memory: here" in capsys.readouterr().err
    told, lines, scores = recorded["whole"], run.metrics, run.scores
    first = sum(line["step"] == 0 for line in lines)
    places = [line["iteration"] + (first if line["step"] else 0) for line in lines]
    assert told.of("loss/total") == list(zip(places, (line["total"] for line in lines), strict=True))
    assert [value for _, value in told.of("loss/attention")] == [
        line["losses"]["attention"] for line in lines if line["step"]
    ]
    assert len(told.of("lr/encoder")) == len(lines)
    assert told.of("miou/all") == [(first, scores[0].miou["all"]), (len(lines), scores[1].miou["all"])]
    assert told.of("iou/three") == [(first, scores[0].iou["three"]), (len(lines), scores[1].iou["three"])]
    assert told.of("forgetting/three") == [(len(lines), scores[1].forgetting["three"])]
    assert [at for at, _ in told.pictures] == [first, len(lines)]
    assert told.ends == [True]
    assert told.subject.settings["train.batch_size"] == 6
    assert read_tracking(RunFolder(run.path).tracking_path) == Tracking(("memory",), {"memory": "id of whole"})


def test_an_interrupted_run_goes_on_under_the_same_name(
    untracked: sats.Run, recorded: dict[str, Recorder], tmp_path: Path
) -> None:
    folder = followed(create_run(tmp_path / "run", small("sats")), "memory")
    interrupted(folder, folder.config(), 1)
    assert recorded["run"].ends == [False]
    assert (recorded["run"].known, recorded["run"].after) == ("", 0)
    run = sats.resume(folder.path)
    assert same(run, untracked)
    assert (recorded["run"].known, recorded["run"].after) == ("id of run", 1)
    assert recorded["run"].of("loss/total")[0][0] == 2  # what was told before is not told again
    assert recorded["run"].ends == [True]


def test_a_tracker_that_comes_later_is_told_what_was_before(
    untracked: sats.Run, recorded: dict[str, Recorder], tmp_path: Path
) -> None:
    folder = create_run(tmp_path / "run", small("sats"))
    interrupted(folder, folder.config(), len(untracked.metrics) - 1)
    assert not folder.tracking_path.exists()
    run = sats.resume(folder.path, tracker=["memory"])
    assert same(run, untracked)
    told = recorded["run"]
    assert [value for _, value in told.of("loss/total")] == [line["total"] for line in run.metrics]
    assert [at for at, _ in told.of("loss/total")] == list(range(1, len(run.metrics) + 1))
    assert [value for _, value in told.of("miou/all")] == [scores.miou["all"] for scores in run.scores]


def test_a_run_is_resumed_with_another_tracker_or_none(recorded: dict[str, Recorder], tmp_path: Path) -> None:
    folder = followed(create_run(tmp_path / "run", small()), "memory")
    before = folder.fingerprint()
    assert read_tracking(followed(folder, ()).tracking_path).trackers == ("memory",)
    assert read_tracking(followed(folder, "none").tracking_path).trackers == ()
    interrupted(folder, folder.config(), 1)
    assert recorded == {}
    assert main(["resume", str(folder.path), "--tracker", "memory"]) == 0
    assert folder.fingerprint() == before
    assert recorded["run"].ends == [True]


def test_numbers_of_a_reached_iteration_are_not_noted_twice(recorded: dict[str, Recorder], tmp_path: Path) -> None:
    folder = followed(create_run(tmp_path / "run", small()), "memory")
    interrupted(folder, folder.config(), 1)

    class Reached(Recorder):
        reached = 2

    followers.KINDS["memory"] = Reached
    run = sats.resume(folder.path)
    assert [at for at, _ in recorded["run"].of("loss/total")] == list(range(3, len(run.metrics) + 1))
    assert len(recorded["run"].of("miou/all")) == 2


def test_iterations_are_counted_over_the_steps() -> None:
    lines = [{"step": step, "iteration": at} for step, at in ((0, 1), (0, 10), (0, 12), (1, 1), (1, 5), (2, 1))]
    assert [iterations_before(lines, step) for step in range(4)] == [0, 12, 17, 18]
    assert iterations_before([{}, {"step": "0", "iteration": 3}], 2) == 0


def test_names_of_classes_are_told_apart_and_fit_every_tracker() -> None:
    rules = pytest.importorskip("mlflow.utils.validation")

    names = ("background", *HOSTILE, "a/b", "a?b", "..")
    matrix = [[5 * (row == column) + 1 for column in range(len(names))] for row in range(len(names))]
    first = compute_scores(np.array(matrix), names, 0, len(names))
    values = figures_of(compute_scores(np.array(matrix), names, 1, len(names), [first]))
    assert len([name for name in values if name.startswith("iou/")]) == len(names)
    assert len([name for name in values if name.startswith("forgetting/")]) == len(names)
    for name in values:
        rules._validate_metric_name(name)


# --- when a tracker fails ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("place", ["start", "log", "show", "finish"])
def test_a_tracker_that_fails_is_left_behind_with_one_sentence(
    place: str,
    untracked: sats.Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Recorder, "fails_at", place)
    run = sats.train(small("sats"), tmp_path / "run", tracker="memory")
    assert same(run, untracked)
    said = [line for line in capsys.readouterr().err.splitlines() if "memory" in line and "here" not in line]
    assert said == [
        f"memory no longer follows the run, which goes on without it: ConnectionError: no network for {place}"
    ]


def test_a_picture_that_cannot_be_drawn_is_left_out(
    recorded: dict[str, Recorder], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Image.Image:
        raise ValueError("scene.png is cut off")

    monkeypatch.setattr("sats.engine.train.draw_panel", broken)
    run = sats.train(small(), tmp_path / "run", tracker="memory")
    assert "No picture of step 1 for the trackers: ValueError: scene.png is cut off" in capsys.readouterr().err
    assert recorded["run"].pictures == []
    assert len(recorded["run"].of("miou/all")) == len(run.scores) == 2


def test_a_missing_package_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None if name in ("mlflow", "alembic") else object())
    out = tmp_path / "run"
    assert main(["train", "scenes", "--out", str(out), "--tracker", "tensorboard,mlflow"]) == 2
    error = capsys.readouterr().err
    assert "Tracking with mlflow needs more packages: pip install mlflow-skinny alembic" in error
    assert error.count("\n") == 1
    assert not out.exists()
    folder = create_run(tmp_path / "other", small())
    folder.tracking_path.write_text('{"trackers": ["mlflow"], "ids": {}}')
    assert main(["resume", str(folder.path)]) == 2
    assert "--tracker none" in capsys.readouterr().err


def test_wrong_words_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_trackers(" tensorboard, ,tensorboard") == ("tensorboard",)
    assert check_trackers(["none"]) == ("none",)
    with pytest.raises(ValueError, match="did you mean 'tensorboard'"):
        check_trackers("tensorbord")
    assert main(["bench", "nowhere.json", "--tracker", "wandbb"]) == 2
    capsys.readouterr()
    folder = create_run(tmp_path / "run", small())
    for text in ("[]", '{"trackers": "wandb"}', "{"):
        folder.tracking_path.write_text(text)
        with pytest.raises(ValueError, match=r"tracking\.json"):
            sats.resume(folder.path)


def test_a_sweep_is_followed_and_its_runs_stay_those_of_the_suite(
    recorded: dict[str, Recorder], tmp_path: Path
) -> None:
    every = spanned(variants={"finetune": {}})
    sweep = swept(tmp_path, every, Inline(lambda _: None))
    folder = sweep.folder
    again = type(folder)(tmp_path, folder.archive, ("memory",))
    run = again.prepare(every[0], None)
    assert read_tracking(run.tracking_path).trackers == ("memory",)
    assert again.changed(every) == {}
    assert recorded == {}


# --- the real ones ----------------------------------------------------------------------------------------------------


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("mlflow", "wandb")]


@pytest.fixture(scope="module", params=["tensorboard", *SLOW])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, sats.Run]]:
    """A run that was interrupted in step 0 and gone on with, and the tracker that followed it."""
    tracker = pytest.importorskip(request.param)
    if request.param == "wandb":
        tracker.teardown()  # else it keeps what the process's environment said when it was first used
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "MLFLOW_RUN_ID"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_MODE", "offline")
        folder = followed(create_run(tmp_path_factory.mktemp("real") / "run", small()), request.param)
        interrupted(folder, folder.config(), 2)
        yield request.param, sats.resume(folder.path)


def totals(run: sats.Run) -> dict[int, float]:
    """The losses by their place among all iterations."""
    return {place: line["total"] for place, line in enumerate(run.metrics, 1)}


def test_the_tracker_has_the_run(real: tuple[str, sats.Run]) -> None:
    name, run = real
    {"tensorboard": has_tensorboard, "mlflow": has_mlflow, "wandb": has_wandb}[name](run)


def has_tensorboard(run: sats.Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    read = {scalar.step: scalar.value for scalar in events.Scalars("loss/total")}
    assert len(events.Scalars("loss/total")) == len(read)
    assert read == pytest.approx(totals(run))
    assert [scalar.value for scalar in events.Scalars("miou/all")] == pytest.approx(
        [scores.miou["all"] for scores in run.scores]
    )
    assert "lr/encoder" in events.Tags()["scalars"]
    steps = [scalar.step for scalar in events.Scalars("miou/all")]
    assert [image.step for image in events.Images("predictions")] == steps
    assert "settings/text_summary" in events.Tags()["tensors"]


def has_mlflow(run: sats.Run) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.path.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sats")
    (stored,) = client.search_runs([experiment.experiment_id])
    assert stored.info.run_id == json.loads((run.path / "tracking.json").read_text())["ids"]["mlflow"]
    assert (stored.info.status, stored.info.run_name) == ("FINISHED", "run")
    history = client.get_metric_history(stored.info.run_id, "loss/total")
    assert [metric.step for metric in history] == list(range(1, len(run.metrics) + 1))
    assert {metric.step: metric.value for metric in history} == pytest.approx(totals(run))
    assert stored.data.metrics["miou/all"] == pytest.approx(run.scores[-1].miou["all"])
    assert stored.data.params["train.batch_size"] == "6"
    assert len(client.list_artifacts(stored.info.run_id, "predictions")) == 2


def has_wandb(run: sats.Run) -> None:
    folders = sorted((run.path / "wandb").glob("offline-run-*"))
    called = json.loads((run.path / "tracking.json").read_text())["ids"]["wandb"]
    assert [folder.name.endswith(called) for folder in folders] == [True, True]  # before and after
    rows = [row for folder in folders for row in history_of(next(folder.glob("*.wandb")))]
    read = {row["_step"]: row["loss/total"] for row in rows if "loss/total" in row}
    assert read == pytest.approx(totals(run))
    scored = [row["miou/all"] for row in rows if "miou/all" in row]
    assert scored == pytest.approx([scores.miou["all"] for scores in run.scores])
    assert len(list(folders[1].glob("files/media/images/predictions_*.png"))) == 2


def history_of(path: Path) -> Iterator[dict[str, Any]]:
    """The logged rows in a file of Weights & Biases: records in blocks, each a message of protobuf."""
    from wandb.proto import wandb_internal_pb2

    content, place, record = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if (left := 2**15 - place % 2**15) < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind not in (1, 4):  # whole, or the last part
            continue
        message, record = wandb_internal_pb2.Record.FromString(record), b""
        if message.WhichOneof("record_type") == "history":
            items = message.history.item
            yield {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items} | {
                "_step": message.history.step.num
            }


@pytest.mark.slow
def test_mlflow_begins_anew_where_its_database_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("first", "second"):  # in one process, each beside its own database
        folder = followed(create_run(tmp_path / name / "run", small()), "mlflow")
        folder.tracking_path.write_text(f'{{"trackers": ["mlflow"], "ids": {{"mlflow": "{"0123456789abcdef" * 2}"}}}}')
        sats.resume(folder.path)
        known = read_tracking(folder.tracking_path).ids["mlflow"]
        client = mlflow.MlflowClient(f"sqlite:///{folder.path.parent / 'mlflow.db'}")
        assert client.get_run(known).info.status == "FINISHED"
