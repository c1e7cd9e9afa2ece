"""Commands killed while they write: the short form of tests/faults/mid_write.py and kills.py, in one process more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faults import mid_write
from faults.leavings import half_written, strays, whole_files
from sats import files
from sats.files import building, replacing, write_text

SCRIPT = Path(mid_write.__file__)
STRAY = ".report.html.4194305@elsewhere.tmp"


@pytest.mark.parametrize("flags", [[], pytest.param(["--onnx"], marks=pytest.mark.slow)])
def test_whatever_is_killed_while_it_writes_leaves_nothing_half_written(flags: list[str], tmp_path: Path) -> None:
    """An index of data, reports and exports, before each change that they make to a file, and then once more."""
    out = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", str(out), *flags], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert len(found) == len(mid_write.COMMANDS) + (len(mid_write.ONNX) if flags else 0)
    assert all(one["kills"] >= 2 for one in found), found


# --- else the test above would prove nothing --------------------------------------------------------------------------


def test_what_is_half_written_or_left_is_found(tmp_path: Path) -> None:
    expected = {"report.html": b"a page", "model/a": b"1", "model/b": b"2", "cache/x": b"3", "cache/y": b"4"}
    assert not list(half_written(tmp_path, expected))
    (tmp_path / "report.html").write_bytes(b"a pa")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_bytes(b"1")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "x").write_bytes(b"3")
    assert list(half_written(tmp_path, expected)) == ["report.html", "model/b (lacks)"]
    (tmp_path / STRAY).mkdir()
    (tmp_path / STRAY / "part").touch()
    assert strays(tmp_path) == [tmp_path / STRAY]
    assert list(half_written(tmp_path, expected)) == ["report.html", "model/b (lacks)"]
    assert set(whole_files(tmp_path)) == {"report.html", "model/a", "cache/x"}


# --- what killed processes leave --------------------------------------------------------------------------------------


@pytest.fixture
def dead() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_dead_process_had_begun_is_removed_and_nothing_else(tmp_path: Path, dead: int) -> None:
    machine = files.platform.node()
    gone = [tmp_path / f".{name}.{dead}@{machine}.tmp" for name in ("a.txt", "model", "other")]
    old = tmp_path / ".a.txt.7@elsewhere.tmp"
    kept = [tmp_path / f".a.txt.{process}" for process in (f"{os.getppid()}@{machine}.tmp", "8@elsewhere.tmp", "tmp")]
    gone[1].mkdir()
    for path in (gone[0], gone[1] / "weights", gone[2], old, *kept):
        path.touch()
    long_ago = time.time() - 2 * files.LONG_AGO
    for path in (old, kept[0]):  # a process that is still there may take its time
        os.utime(path, (long_ago, long_ago))
    write_text(tmp_path / "a.txt", "text")
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "a.txt"])


def test_what_a_process_of_the_same_number_had_begun_is_in_nobodys_way(tmp_path: Path) -> None:
    own = tmp_path / f".model.{os.getpid()}@{files.platform.node()}.tmp"
    own.mkdir()
    (own / "half").touch()
    with building(tmp_path / "model") as beside:
        (beside / "whole").touch()
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["whole"]
    assert not own.exists()


@pytest.mark.parametrize("length", [1, 100, 250])
def test_any_name_that_a_file_may_have_can_be_written(length: int, tmp_path: Path) -> None:
    write_text(tmp_path / ("x" * length), "text")
    assert [path.name for path in tmp_path.iterdir()] == ["x" * length]


@pytest.mark.parametrize("name", ["model", "m" * 250])
def test_what_was_set_aside_by_a_dead_process_is_put_back(
    name: str, tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two renames, or before the first, or after the second."""
    final = tmp_path / name
    for content in ("old", "new"):
        (tmp_path / content).mkdir()
        (tmp_path / content / content).touch()
    (tmp_path / "old").rename(final)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "getpid", lambda: dead)
        patch.setattr(files, "_remove", lambda _: None)  # what is set aside stays
        files.into_place(tmp_path / "new", final)
    assert [path.name for path in final.iterdir()] == ["new"]
    (aside,) = strays(tmp_path)
    shutil.rmtree(final)  # as if the second rename had not been
    files._discard_strays.cache_clear()
    write_text(tmp_path / "a.txt", "text")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.txt", name]
    assert [path.name for path in final.iterdir()] == ["old"]
    for outdated in (aside, aside.with_suffix(".tmp")):
        (outdated / name).mkdir(parents=True)
        (outdated / name / "older").touch()
    files._discard_strays.cache_clear()
    write_text(tmp_path / "a.txt", "text")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.txt", name]
    assert [path.name for path in final.iterdir()] == ["old"]


def test_what_is_replaced_is_never_there_by_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the old folder is removed, the new one is in its place."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), building(tmp_path / "model") as beside:  # noqa: PT012 (killed while it ends)
        (beside / "new").touch()
        monkeypatch.setattr(files.shutil, "rmtree", die)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]


def test_a_line_that_was_cut_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    for line in ("one", "two"):
        files.append_line(tmp_path / "log", line)
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    (tmp_path / "log").write_text("one\ntw")
    files.append_line(tmp_path / "log", "three")
    assert (tmp_path / "log").read_text() == "one\ntw\nthree\n"


def test_a_refusal_names_what_was_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught, replacing(tmp_path / "folder") as beside:
        beside.touch()
    assert caught.value.filename == str(tmp_path / "folder")
    with pytest.raises(FileNotFoundError) as missing:
        write_text(tmp_path / "nowhere" / "file", "")
    assert missing.value.filename == str(tmp_path / "nowhere" / "file")
