"""What was left out of data, or is not what it seems: said once, and of a run written down once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sats.data.unmatched import unmatched
from sats.engine.run_folder import read_skipped
from sats.files import append_line
from sats.words import count, verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


MOST_SKIPPED = 10
"""Sentences that are shown in full."""


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
        append_line(self._path, json.dumps({"problem": problem}))
        self._say(f"Skipped: {problem}")


def show_skipped(problems: Sequence[str], rest: str = "") -> None:
    """Print what was left out of the data because it cannot be used; ``rest`` says where all of it is to be seen."""
    if not problems:
        return
    print(f"Images or masks that could not be used were skipped: {count(len(problems), 'problem')}{rest}")
    for problem in problems[:MOST_SKIPPED]:
        print(f"- {verbatim(problem)}")
    if len(problems) > MOST_SKIPPED:
        print(f"and {len(problems) - MOST_SKIPPED} more")


def show_unmatched(where: str, labelled: Sequence[str], known: Sequence[str]) -> None:
    """Print on which classes the data ``where`` and a model differ: what it has ``labelled``, and what is ``known``."""
    for sentence in unmatched(where, labelled, known):
        print(verbatim(sentence))
