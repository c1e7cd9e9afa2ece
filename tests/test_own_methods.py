"""A method in a file of the user's own, known to every command through SATS_METHODS."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sats
from sats.cli import main
from sats.engine.run_folder import RunFolder
from sats.methods import METHODS

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorials" / "write-a-method.md"
TINY = [
    "--images",
    "16",
    "--data.image-size",
    "32",
    "--model.name",
    "segformer-tiny",
    "--crop",
    "32",
    "--batch-size",
    "4",
    "--epochs",
    "1",
]
NAME = "confident"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The method of the tutorial, word by word."""
    code = re.search(r"```python\n(.+?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    path = tmp_path / f"{NAME}.py"
    path.write_text(code[1], encoding="utf-8")
    monkeypatch.setenv("SATS_METHODS", str(path))
    yield path
    METHODS.pop(NAME, None)
    sys.modules.pop(NAME, None)


def test_every_command_knows_it(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ARG001
    run = tmp_path / "run"
    words = ["train", "scenes", "--method", NAME, "--method.sure", "0.9", *TINY, "--epochs-later", "1"]
    assert main([*words, "--out", str(run)]) == 0
    assert RunFolder(run).config().method == METHODS[NAME](sure=0.9)
    assert main(["evaluate", str(run)]) == 0
    shutil.rmtree(run / "step-1")
    resumed = [sys.executable, "-m", "sats.bench.cell", str(run)]  # as a sweep starts it
    with subprocess.Popen(resumed, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.wait() == 0
    assert RunFolder(run).is_finished()
    capsys.readouterr()
    assert main(["--help"]) == 0
    assert NAME in capsys.readouterr().out
    assert main(["report", str(run), "--out", str(tmp_path / "report.html")]) == 0
    capsys.readouterr()


def test_without_the_file_a_sentence_says_how(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = sats.recipe("scenes", "sats")
    monkeypatch.delenv("SATS_METHODS")
    link = file.parent / "link"
    link.symlink_to(file.parent)
    monkeypatch.syspath_prepend(str(link))  # the same file by another path, as in its own folder
    with pytest.raises(ValueError, match=r"no method 'confident'.*\(SATS_METHODS=FILE\.py brings one of your own\.\)"):
        sats.recipe("scenes", NAME)
    monkeypatch.setenv("SATS_METHODS", str(file))
    assert main(["--help"]) == 0
    assert sats.recipe("scenes", NAME).data == config.data


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.py", None, "nowhere.py: name it by its whole path, or unset it"),
        ("method.txt", "", "method.txt, which is not a Python file"),
        ("json.py", "", "another module is called json: rename the file"),
        ("datasets.py", "", "another module is called datasets: rename the file"),
        ("broken.py", "import nothing_of_this_name", "broken.py, which SATS_METHODS names, cannot be imported (Module"),
        ("twice.py", "from sats.methods import Sats\nclass Other(Sats, name='sats'): ...", "is called 'sats' already"),
    ],
)
def test_a_file_that_is_none_is_one_sentence(
    name: str,
    content: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    monkeypatch.setenv("SATS_METHODS", str(tmp_path / name))
    assert main(["runs", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert getattr(sys.modules.get(Path(name).stem), "__file__", None) != str(tmp_path / name)
