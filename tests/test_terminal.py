"""What a narrow terminal, a pipe, a build service's log and a notebook show of a run."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.console import Console

from reports import groups_of, write_run
from sats import progress
from sats.engine.log import Log, Position
from sats.engine.run_folder import RunFolder
from sats.evaluation import table
from sats.progress import bar, is_watched, voice

LOSSES = {"cross_entropy": 0.383, "distillation": 1.633, "attention": 11.074}
ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


def console(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def lines_of(shown: Console) -> list[str]:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue().splitlines()


# --- who watches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CI", "", True),
        ("CI", "false", True),
        ("CI", "true", False),
        ("CI", "1", False),
        ("TERM", "dumb", False),
        ("TERM", "xterm", True),
        ("FORCE_COLOR", "1", False),
    ],
)
def test_nobody_watches_a_log(name: str, value: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert is_watched(console()) == expected


def test_nobody_watches_a_file() -> None:
    assert not is_watched(Console(file=io.StringIO()))


def test_a_notebook_gets_plain_lines_on_its_output(
    displayed: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not is_watched(voice())
    log = Log(tmp_path / "metrics.jsonl")
    with log.progress("step 0", 10):
        log_iteration(log)
    assert list(progress.progress_bar([1, 2], "reading", 2)) == [1, 2]
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith("step 0  iteration 5/10  epoch 1/2  cross_entropy 0.383")
    assert displayed == []


# --- narrow terminals -------------------------------------------------------------------------------------------------


def log_iteration(log: Log) -> None:
    position = Position(step=0, epoch=0, epochs=2, iteration=5, iterations=10)
    log.iteration(position, LOSSES, {"encoder": 0.1}, images=8, memory=100)


@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_name_and_its_value_stay_together(width: int, tmp_path: Path) -> None:
    shown = console(width)
    log = Log(tmp_path / "metrics.jsonl", console=shown)
    with log.progress("step 0", 10):
        log_iteration(log)
        lines = ["".join(part.text for part in line) for line in shown.render_lines(log._note)]
    assert all(len(line.rstrip()) <= width for line in lines)
    text = "|".join(" ".join(line.split()) for line in lines)
    for part in ("epoch 1/2", "cross_entropy 0.383", "distillation 1.633", "attention 11.074", "images/s"):
        assert part in text


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("title", ["step 12, looking at the data", "predicting for the report", "step 0"])
def test_a_bar_leaves_room_for_title_count_and_time(title: str, width: int) -> None:
    shown = console(width)
    made = bar(shown)
    made.add_task(title, total=123456, completed=4567)
    shown.print(made.get_renderable())
    (line,) = lines_of(shown)
    assert title in line
    assert "4567/123456 ETA --:--" in line
    assert len(line) <= width


@pytest.mark.parametrize(
    ("width", "steps", "all_fit"), [(80, 2, True), (80, 6, True), (80, 11, False), (60, 4, True), (60, 6, False)]
)
def test_tables_show_the_steps_that_a_terminal_has_room_for(
    width: int, steps: int, all_fit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = RunFolder(write_run(tmp_path / "run", groups_of(*[1] * steps))).scores()
    shown = console(width)
    monkeypatch.setattr(table, "Console", lambda **options: Console(**options) if options else shown)
    table.show_scores(history)
    lines = lines_of(shown)
    assert max(map(len, lines)) <= width
    assert not any("\u2026" in line for line in lines)
    for end in (0, steps - 1):
        assert any(f"step {end} " in line for line in lines)
    assert any(re.search(r"\d more steps? do(es)? not fit here", line) for line in lines) != all_fit
    assert any(f"{100 * history[-1].miou['all']:.1f} \u2502" in line for line in lines)


def test_a_pipe_has_every_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = RunFolder(write_run(tmp_path / "run", groups_of(*[1] * 11))).scores()
    table.show_scores(history)
    shown = capsys.readouterr().out
    assert all(f"step {step} " in shown for step in range(11))


# --- a real command ---------------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "sats", "train", "scenes", "--method", "sats", "--images", "24"]
SMALL = ["--data.image-size", "32", "--crop", "32", "--epochs", "12", "--epochs-later", "12", "--batch-size", "4"]


def on_a_terminal(words: list[str], columns: int, **environment: str) -> bytes:
    """What a command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    settings = {**known, "TERM": "xterm-256color", **environment}
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=settings) as process:
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0, written
    return written


@pytest.mark.slow
def test_a_terminal_shows_a_bar_and_keeps_none_of_it(tmp_path: Path) -> None:
    written = on_a_terminal([*COMMAND, *SMALL, "--out", str(tmp_path / "run")], 60)
    assert b"\x1b[2K" in written  # lines are written over
    assert "\u2501".encode() in written
    assert b"iteration" not in written


@pytest.mark.slow
def test_a_build_services_terminal_gets_plain_lines(tmp_path: Path) -> None:
    written = on_a_terminal([*COMMAND, *SMALL, "--out", str(tmp_path / "run")], 80, CI="true")
    assert b"\x1b[2K" not in written
    assert b"\x1b[?25l" not in written  # no cursor is hidden
    assert written.count(b"iteration") in range(4, 23)  # at each tenth of two steps


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}])
def test_a_pipe_gets_plain_lines(environment: dict[str, str], tmp_path: Path) -> None:
    words = [*COMMAND, *SMALL, "--out", str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, env={**os.environ, **environment, "COLUMNS": "60"}, check=True)
    assert not ESCAPE.search(done.stderr)
    lines = done.stderr.decode().splitlines()
    assert len(lines) < 30
    assert any(line.startswith("step 1  iteration") and "attention" in line for line in lines)  # on one line
