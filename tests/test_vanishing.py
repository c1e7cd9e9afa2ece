"""What vanishes in the middle of things, as a network drive does: one message that names it; back again, it goes on."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from faults.kills import differences
from sats import api
from sats.cli import main
from sats.commands import predict
from sats.data import loader
from sats.engine import remeasure
from sats.engine.log import Log
from sats.engine.run_folder import RunFolder
from sats.errors import RunError
from sats.report import gallery
from sats.types import Batch
from test_extend import make_data

TRAIN = (
    "train folder --protocol 1-1 --model.name segformer-tiny --crop 32 --batch-size 2 --epochs 2 --epochs-later 2 "
    "--method sats --memory.size 3 --train.checkpoint-minutes 0 --train.log-every 1"
)
FIRST, MEASURING, SECOND = 2, 9, 14
"""How often the progress bar has moved: within step 0, while that is measured, and within step 1."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("own") / "data", ("background", "cat", "dog"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from which nothing vanished."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*TRAIN.split(), "--data", str(data), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def when_moved(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Do something once the progress bar has moved so often."""

    def arrange(at: int, do: Callable[[], object]) -> None:
        moved, advance = [], Log.advance

        def watched(log: Log) -> None:
            advance(log)
            moved.append(1)
            if len(moved) == at:
                do()

        monkeypatch.setattr(Log, "advance", watched)

    return arrange


def hide(path: Path) -> None:
    path.rename(path.with_name(f"{path.name} (hidden)"))


def put_back(path: Path) -> None:
    assert not path.exists()  # nobody made another in its place
    path.with_name(f"{path.name} (hidden)").rename(path)


def told(capsys: pytest.CaptureFixture[str], *signs: str) -> None:
    """One message, which has each of the ``signs``."""
    shown = capsys.readouterr().err
    assert shown.count("sats: ") == 1
    assert "Traceback" not in shown
    assert "fault of sats" not in shown
    for sign in signs:
        assert sign in shown, shown


def again(whole: Path, folder: Path) -> list[str]:
    """The words that train the ``whole`` run once more."""
    return ["train", "--config", str(whole / "config.json"), "--out", str(folder)]


# --- in the middle of training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [FIRST, MEASURING, SECOND])
def test_a_run_whose_folder_vanishes_goes_on_when_it_is_back(
    at: int,
    whole: Path,
    tmp_path: Path,
    when_moved: Callable[[int, Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    when_moved(at, lambda: hide(folder))
    assert main(again(whole, folder)) == 1
    told(capsys, f"The run's folder {folder} is gone", "put it back", f"sats resume {folder}")
    put_back(folder)
    assert main(["resume", str(folder)]) == 0
    assert not list(differences(whole, folder))


@pytest.mark.parametrize("at", [FIRST, MEASURING, SECOND])
def test_a_run_whose_data_vanish_goes_on_when_they_are_back(
    at: int,
    whole: Path,
    data: Path,
    tmp_path: Path,
    when_moved: Callable[[int, Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    when_moved(at, lambda: hide(data))
    assert main(again(whole, folder)) == 2
    told(capsys, f"sats: {data}/", "is gone: put it back", f"sats resume {folder}")
    assert main(["resume", str(folder)]) == 2  # too early
    told(capsys, f"{data} is not a folder", f"sats resume {folder}")
    put_back(data)
    assert main(["resume", str(folder)]) == 0
    assert not list(differences(whole, folder))


@pytest.mark.parametrize("flags", [[], ["--memory.copy"]])
def test_an_exemplar_that_vanishes_is_named_and_the_run_goes_on_when_it_is_back(
    flags: list[str],
    data: Path,
    tmp_path: Path,
    when_moved: Callable[[int, Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its copy, or where there is none its image in the data."""
    whole, folder, hidden = tmp_path / "whole", tmp_path / "run", []
    assert main([*TRAIN.split(), "--data", str(data), "--out", str(whole), *flags]) == 0
    capsys.readouterr()

    def hide_exemplars() -> None:
        for exemplar in json.loads((folder / "memory.json").read_text())["steps"][0]:
            copied = exemplar.get("image")
            hidden.append(folder / "memory" / copied if copied else next(data.glob(f"images/{exemplar['key']}.*")))
            hide(hidden[-1])

    when_moved(SECOND, hide_exemplars)
    assert main(again(whole, folder)) == 2
    told(capsys, f"{hidden[0].parent}/", "is gone: put it back", f"sats resume {folder}")
    assert main(["resume", str(folder)]) == 2  # too early
    told(capsys, f"sats resume {folder}")
    for path in hidden:
        put_back(path)
    assert main(["resume", str(folder)]) == 0
    assert not list(differences(whole, folder))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores: on purpose
@pytest.mark.parametrize("at", [FIRST, SECOND])
def test_a_run_whose_loader_process_is_killed_goes_on_to_the_same_end(
    at: int,
    whole: Path,
    tmp_path: Path,
    when_moved: Callable[[int, Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As the system does that has no memory left."""
    folder = tmp_path / "run"

    def kill_one() -> None:
        multiprocessing.active_children()[0].kill()

    when_moved(at, kill_one)
    assert main([*again(whole, folder), "--workers", "2"]) == 1
    told(capsys, "A process that loads images was killed", "--workers", f"sats resume {folder}")
    assert not multiprocessing.active_children()
    assert main(["resume", str(folder)]) == 0
    assert not list(differences(whole, folder))


# --- under the other commands -----------------------------------------------------------------------------------------


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "finished")


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_an_evaluation_whose_loader_process_is_killed_says_so(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killing(batches: Iterable[Batch], *_: object) -> Iterator[Batch]:
        for batch in batches:
            for process in multiprocessing.active_children():
                process.kill()
            yield batch

    monkeypatch.setattr(remeasure, "progress_bar", killing)
    monkeypatch.setattr(loader, "sensible_workers", lambda _: 2)
    assert main(["evaluate", str(run), "--batch-size", "1"]) == 1
    told(capsys, "A process that loads images was killed", "--batch-size")
    assert not multiprocessing.active_children()


def test_a_loader_process_that_is_killed_while_it_hands_a_batch_over_is_known() -> None:
    here, there = multiprocessing.Pipe()
    there.close()
    with pytest.raises(RunError, match="A process that loads images was killed"), loader.watched_workers("fix"):
        here.recv()  # EOFError, from within multiprocessing
    with pytest.raises(ConnectionResetError), loader.watched_workers("fix"):
        raise ConnectionResetError  # of somebody else's connection


def before(monkeypatch: pytest.MonkeyPatch, module: object, name: str, do: Callable[[], object], at: int = 1) -> None:
    """Do something right before the ``at``-th call of a function."""
    function, calls = getattr(module, name), []

    def watched(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == at:
            do()
        return function(*arguments)

    monkeypatch.setattr(module, name, watched)


@pytest.mark.parametrize("command", ["report", "evaluate", "predict", "export", "resume"])
def test_a_run_that_is_gone_is_named(
    command: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"predict": [str(data)], "export": [], "report": [], "evaluate": [], "resume": []}[command]
    out = [] if command in ("resume", "evaluate") else ["--out", str(tmp_path / "out")]
    assert main([command, str(tmp_path / "gone"), *more, *out]) == 2
    told(capsys, str(tmp_path / "gone"))
    assert not (tmp_path / "out").exists()


def test_a_run_that_vanishes_under_a_report(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before(monkeypatch, gallery, "load", lambda: hide(run), at=2)
    assert main(["report", str(run), "--images", "1"]) == 2
    told(capsys, str(run))
    put_back(run)
    assert not (run / "report.html").exists()
    monkeypatch.undo()
    assert main(["report", str(run), "--images", "1"]) == 0


def test_data_that_vanish_leave_a_report_without_pictures(run: Path, data: Path) -> None:
    hide(data)
    try:
        assert main(["report", str(run), "--images", "1"]) == 0
    finally:
        put_back(data)
    assert "There are no pictures, as the test data cannot be read" in (run / "report.html").read_text()


def test_a_model_that_vanishes_under_an_evaluation(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before(monkeypatch, api, "find_model", lambda: hide(run / "step-1"))
    assert main(["evaluate", str(run / "step-1")]) == 2
    told(capsys, str(run / "step-1"))


def test_data_that_vanish_under_an_evaluation(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before(monkeypatch, remeasure, "measure_on", lambda: hide(data))
    try:
        assert main(["evaluate", str(run), "--out", str(tmp_path / "scores.json")]) == 2
    finally:
        put_back(data)
    told(capsys, f"sats: {data}/", "is gone: put it back")
    assert not (tmp_path / "scores.json").exists()


def test_pictures_that_vanish_under_a_prediction(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before(monkeypatch, predict, "read_image", lambda: hide(data), at=2)
    words = ["predict", str(run), str(data / "images" / "val"), "--out", str(tmp_path / "out")]
    try:
        assert main(words) == 2
    finally:
        put_back(data)
    told(capsys, f"sats: {data}/images/val/", "is gone: put it back")
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"0.png", "0-overlay.png", "classes.txt"}  # of the first, and what its indices mean
    monkeypatch.undo()
    assert main(words) == 0


def test_a_folder_to_write_to_that_vanishes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sats.report import output

    (tmp_path / "out").mkdir()
    before(monkeypatch, output, "write_text", lambda: hide(tmp_path / "out"))
    assert main(["report", str(run), "--images", "0", "--out", str(tmp_path / "out" / "report.html")]) == 1
    told(capsys, f"{tmp_path / 'out' / 'report.html'}: No such file or directory")
    assert RunFolder(run).is_finished()
