"""What a release consists of: one version, and a wheel that works where nothing else is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import sats

ROOT = Path(__file__).parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_the_version_is_that_of_pyproject_everywhere() -> None:
    assert sats.__version__ == VERSION, "the installed package is another version: run `pip install --editable .` again"
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]) == VERSION
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines() if line[:3] == "## "]
    assert headings[0].startswith((f"## {VERSION} (", "## Unreleased"))
    assert any(heading.startswith(f"## {VERSION} (") for heading in headings)


def test_types_are_told_to_those_who_import_it() -> None:
    assert (Path(sats.__file__).parent / "py.typed").is_file()


def test_issue_forms_are_sound() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 3
    for form in forms:
        content = yaml.safe_load(form.read_text(encoding="utf-8"))
        for field in content.get("body", []):
            assert field["type"] in ("textarea", "checkboxes", "markdown")
            assert field["attributes"]["label"]


@pytest.mark.slow
def test_the_wheel_trains_in_an_empty_environment(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "tools" / "release.py"), str(tmp_path / "dist")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hIoU" in done.stdout
    assert "are in" in done.stdout.splitlines()[-1]
