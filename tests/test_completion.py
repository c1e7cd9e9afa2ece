"""`sats completion`: what a shell offers after Tab."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sats.cli import main
from sats.commands import COMMANDS, completion
from sats.methods import METHODS
from sats.recipes import RECIPES

TYPED = [
    ("sats tr", ["train"]),
    ("sats re", ["resume", "report"]),
    ("sats ", list(COMMANDS)),
    ("sats train scen", ["scenes"]),
    ("sats train scenes --method plo", ["plop"]),
    ("sats train scenes --epochs", ["--epochs", "--epochs-later"]),
    ("sats resume runs/one --tracker ml", ["mlflow"]),
    ("sats resume --proc", ["--processes"]),
    ("sats data ch", ["check"]),
    ("sats data check data --proto", ["--protocol"]),
    ("sats train nothing-like-it", []),
]
BASH = """
source {script}
COMP_WORDS=({typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _sats; printf "%s\\n" "${{COMPREPLY[@]}}"
"""
ZSH = """
compdef() {{ : }}; _files() {{ : }}
compadd() {{ shift; for word in $@; do [[ $word == ${{words[CURRENT]}}* ]] && print -r -- $word; done; return 0 }}
source {script}
words=({typed}); CURRENT=$#words; _sats; true
"""
FISH = "source {script}; complete -C '{typed}'"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The script of each shell, in a file; the flags are gathered once."""
    folder, places, values = tmp_path_factory.mktemp("scripts"), completion.places(), completion.values()
    found = {}
    for name, write in (("bash", completion.bash), ("zsh", completion.zsh), ("fish", completion.fish)):
        found[name] = folder / name
        found[name].write_text(write(places, values))
    return found


def answers(shell: str, code: str, script: Path, typed: str) -> list[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    quoted = typed if shell == "fish" else " ".join(f"'{word}'" for word in typed.split(" "))
    command = [shell, "-c", code.format(script=script, typed=quoted)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert done.stderr == ""
    return [line.split("\t")[0] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(("typed", "expected"), TYPED)
def test_bash_completes(typed: str, expected: list[str], scripts: dict[str, Path]) -> None:
    assert answers("bash", BASH, scripts["bash"], typed) == expected


@pytest.mark.parametrize(("typed", "expected"), TYPED)
def test_zsh_completes(typed: str, expected: list[str], scripts: dict[str, Path]) -> None:
    assert answers("zsh", ZSH, scripts["zsh"], typed) == expected


@pytest.mark.parametrize(("typed", "expected"), TYPED)
def test_fish_completes(typed: str, expected: list[str], scripts: dict[str, Path]) -> None:
    assert set(answers("fish", FISH, scripts["fish"], typed)) == set(expected)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_method_and_recipe_is_there(shell: str, scripts: dict[str, Path]) -> None:
    words = set(scripts[shell].read_text().translate(str.maketrans('";', "  ")).replace("--", " ").split())
    assert words >= {*COMMANDS, *METHODS, *RECIPES, "tracker"}


def test_a_name_that_a_shell_would_run_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "$(reboot)", METHODS["sats"])
    assert "$(reboot)" not in completion.values()["--method"]


def test_the_command_prints_the_script(capsys: pytest.CaptureFixture[str], scripts: dict[str, Path]) -> None:
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == scripts["bash"].read_text()
    with pytest.raises(SystemExit):
        main(["completion", "tcsh"])
