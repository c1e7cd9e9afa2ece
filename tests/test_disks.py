"""Disks that are full or read-only: one message that names the file, nothing half-written, and then it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from disks import FILLER, Disk, mounted
from faults.kills import differences
from sats.cli import main
from sats.engine.checkpoint import load_newest
from sats.engine.run_folder import RunFolder
from test_extend import make_data

TRAIN = (
    "train scenes --images 20 --data.image-size 32 --protocol 5-5 --model.name segformer-tiny --crop 32 --batch-size 6 "
    "--epochs 1 --epochs-later 1 --train.log-every 1 --method sats --memory.size 5 --memory.copy --out"
)
ROOMS = {".owner": 4, "metrics.jsonl": 12, "checkpoint": 2_000, "step-0": 4_450, "step-1": 1_900}
"""KiB that are free when the run is started, and each time it goes on, and what finds no room then."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk", 24) as found:
        yield found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that had room enough."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*TRAIN.split(), str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, which no format makes smaller."""
    path = tmp_path_factory.mktemp("picture") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)).save(path)
    return path


def told(capsys: pytest.CaptureFixture[str], *signs: str) -> str:
    """The one message, which has each of the ``signs``, and names no file that is only written beside."""
    shown = capsys.readouterr().err
    assert shown.count("sats: ") == 1
    assert "Traceback" not in shown
    assert "fault of sats" not in shown
    message = shown[shown.index("sats: ") :]
    for sign in signs:
        assert sign in message
    assert ".tmp" not in message
    return message


def files_on(disk: Disk) -> list[str]:
    return sorted(path.name for path in disk.path.rglob("*") if path.name != FILLER)


# --- full -------------------------------------------------------------------------------------------------------------


def test_a_run_that_fills_its_disk_goes_on_to_the_same_end(
    disk: Disk, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Again and again, with a little more room each time: wherever it runs out, all that was saved stays sound."""
    folder, words = RunFolder(disk.path / "run"), [*TRAIN.split(), str(disk.path / "run")]
    disk.leave(0)
    assert main(words) == 2
    told(capsys, "No space left on device", "Choose another folder with --out")
    for place, room in ROOMS.items():
        disk.leave(room)
        assert main(words) == 1, place
        message = told(capsys, "No space left on device", "sats resume")
        assert message.startswith(f"sats: {folder.path / place}"), message
        assert not load_newest(folder.checkpoints, folder.fingerprint(), len(folder.scores()))[1]
        assert not list(folder.path.rglob("*.tmp"))
        words = ["resume", str(folder.path)]
        disk.free()
    assert main(words) == 0
    assert not list(differences(whole, folder.path))


@pytest.mark.parametrize(
    "words",
    [
        "report {run} --images 1 --out {disk}/report.html",
        "report {run} --format csv --out {disk}/report.csv",
        "export {run} --format hf --out {disk}/model",
        pytest.param("export {run} --out {disk}/model.onnx", marks=pytest.mark.slow),
        pytest.param("export {run} --int8 --out {disk}/model.onnx", marks=pytest.mark.slow),
        "predict {run} {picture} --probabilities --out {disk}",
        "evaluate {run} --out {disk}/scores.json",
    ],
)
def test_what_does_not_fit_leaves_nothing(
    words: str, disk: Disk, whole: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [word.format(run=whole, disk=disk.path, picture=picture) for word in words.split()]
    disk.leave(0)
    assert main(asked) == 1
    told(capsys, "No space left on device", str(disk.path))
    assert files_on(disk) == []
    disk.free()
    assert main(asked) == 0
    assert files_on(disk) != []


def test_an_index_that_cannot_be_kept_is_made_again(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path / "data", ("background", "cat"))
    monkeypatch.setenv("SATS_CACHE", str(disk.path / "cache"))
    disk.leave(0)
    with pytest.warns(UserWarning, match="The index of masks is not kept.*No space left.*set SATS_CACHE"):
        assert main(["data", "check", str(data)]) == 0
    assert not [path for path in (disk.path / "cache").rglob("*") if path.is_file()]
    disk.free()
    assert main(["data", "check", str(data)]) == 0
    assert [path.suffix for path in (disk.path / "cache").rglob("*") if path.is_file()] == [".json"] * 2


# --- read-only --------------------------------------------------------------------------------------------------------


def test_what_only_reads_needs_no_permission_to_write(
    disk: Disk, whole: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = shutil.copytree(whole, disk.path / "run"), tmp_path / "out"
    data = make_data(disk.path / "data", ("background", "cat"))
    with disk.read_only():
        assert main(["evaluate", str(run)]) == 0
        assert main(["predict", str(run), str(picture), "--out", str(out)]) == 0
        assert main(["report", str(run), "--images", "1", "--out", str(out / "report.html")]) == 0
        assert main(["export", str(run), "--format", "hf", "--out", str(out / "model")]) == 0
        assert main(["runs", str(disk.path)]) == 0
        assert main(["data", "check", str(data)]) == 0
        assert main(["resume", str(run)]) == 0  # is finished
        assert main([*TRAIN.split(), str(out / "run"), "--from", str(run / "step-0")]) == 0
    assert capsys.readouterr().err.count("sats: ") == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("report {run} --images 0", "run/report.html"),
        ("evaluate {run} --out {disk}/scores.json", "scores.json"),
        ("predict {run} {picture} --out {disk}", ""),
        ("export {run} --format hf --out {disk}/model", "model"),
        ("resume {disk}/cut", "cut/.lock"),
    ],
)
def test_what_may_not_be_written_is_named(
    words: str, named: str, disk: Disk, whole: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, cut = (shutil.copytree(whole, disk.path / name) for name in ("run", "cut"))
    shutil.rmtree(cut / "step-1")
    before = files_on(disk)
    with disk.read_only():
        assert main([word.format(run=run, disk=disk.path, picture=picture) for word in words.split()]) == 1
    told(capsys, "Read-only file system", str(disk.path / named))
    assert files_on(disk) == before
