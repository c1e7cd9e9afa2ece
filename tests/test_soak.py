"""Nothing adds up over many steps in one process; the long form is tests/faults/soak.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.soak import faults, soak


def holding(kib: int, files: int = 20, threads: int = 9) -> dict[str, int]:
    return {"kib": kib, "files": files, "threads": threads}


def test_what_grows_is_told() -> None:
    assert not faults([holding(1000), holding(1015), holding(990), holding(1010)])
    assert faults([holding(1000), holding(1010), holding(1020), holding(1030)]) == ["KiB of memory: 1,000 to 1,030"]
    assert faults([holding(1000), holding(1000, files=21)]) == ["files: 20 to 21"]
    assert faults([holding(1000), holding(1000, threads=10)]) == ["threads: 9 to 10"]


@pytest.mark.slow
def test_sixty_steps_leave_nothing_behind(tmp_path: Path) -> None:
    found = soak(60, "sats", tmp_path)
    assert len(found) == 6
    assert not faults(found)
