"""The pages as a site, and their links on GitHub."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import sats
from pages import PAGES, ROOT, SHELL, blocks


def test_blocks_say_what_they_are() -> None:
    """An unknown language would be passed over by the tests of commands."""
    known = ("", "python", "json", "{help}", "{toctree}", *SHELL)
    for page in PAGES:
        for block in blocks(page):
            assert block.language in known, f"{block} is in {block.language!r}"


def test_links_lead_to_files() -> None:
    """As they are read on GitHub; headings are checked where the site is built."""
    for page in PAGES:
        text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#:\s]+)[)#]", text):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}, which is not there"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_needs_no_net(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    words = ["-W", "--keep-going", "-q", "-b", "html", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "sphinx", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in tmp_path.glob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?:[^\"]+)", page.read_text(encoding="utf-8")
        )
        assert not loaded, f"{page.name} loads {loaded}"
    shown = {page.stem: page.read_text(encoding="utf-8") for page in tmp_path.glob("*.html")}
    assert "<math" in shown["how-sats-works"]
    assert "Smoothed" in shown["contributing"]  # the file above docs/
    assert "--method.attention-transfer.weight" in shown["commands"]
    assert "--old-background" in shown["commands"]
    assert "Annotated" not in shown["api"]
    for name in sats.__all__:
        assert name.startswith("_") or f'id="sats.{name}"' in shown["api"], f"the site does not describe sats.{name}"
