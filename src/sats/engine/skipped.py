"""What was left out of a run's data because it cannot be used: said once, written down once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sats.engine.run_folder import read_skipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Skipped:
    """Called with a sentence about each image or mask, however often; ``path`` gets it once, over all starts of a run.

    Each process of a run has a file of its own, so that they need not wait for each other.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._known = set(read_skipped(path))

    def __call__(self, problem: str) -> None:
        """Note ``problem``, unless it is known already."""
        if problem in self._known:
            return
        self._known.add(problem)
        with self._path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(json.dumps({"problem": problem}) + "\n")
        self._say(f"Skipped: {problem}")
