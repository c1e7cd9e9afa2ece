"""What sats stands on may be used by whoever uses sats, and the page says so as it is."""

from __future__ import annotations

import licences
import pytest


def test_every_direct_dependency_has_a_licence_that_is_permitted() -> None:
    named = licences.dependencies()
    assert {"torch", "transformers", "sphinx", "pytest"} <= {one.name for one in named}
    refused = {one.name: sorted(one.licences) for one in named if not one.is_permitted}
    assert not refused, f"tools/licences.py says what is permitted: {refused}"


def test_every_direct_dependency_is_pinned() -> None:
    unpinned = {one.name for one in licences.dependencies()} - licences.pinned().keys()
    assert not unpinned, f"constraints.txt has no version for {unpinned}"


def test_the_page_is_up_to_date() -> None:
    assert licences.PAGE.read_text(encoding="utf-8") == licences.page(), "write it anew: python tools/licences.py"


def test_what_is_not_permitted_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"License-Expression": "MIT AND GPL-3.0-only"}
    monkeypatch.setattr(licences, "metadata", lambda _: told)
    assert licences.Dependency("some", ("sats",)).licences == {"MIT", "GPL-3.0-only"}
    assert not licences.Dependency("some", ("sats",)).is_permitted
    told["License-Expression"] = "MPL-2.0"
    assert licences.Dependency("some", ("dev",)).is_permitted
    assert not licences.Dependency("some", ("dev", "sats")).is_permitted
