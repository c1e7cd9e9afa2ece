"""What is loaded before the first iteration, and what a terminal shows meanwhile."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from sklearn.datasets import load_digits

from sats import progress
from sats.data import scenes

SELDOM = ("sklearn", "scipy.io", "scipy.ndimage", "matplotlib", "torchmetrics", "onnxruntime", "datasets")
"""What training needs in a few cases only, or not at all: each takes up to a second to load."""
LISTED = f"import sys, sats.engine.train; print(*[name for name in {SELDOM} if name in sys.modules])"


def test_training_loads_nothing_that_it_seldom_needs() -> None:
    done = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_is_waited_for_is_said_on_a_terminal_alone(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=shown, force_terminal=is_terminal))
    with progress.waiting("loading torch"):
        pass
    assert ("loading torch" in shown.getvalue()) == is_terminal
    assert bool(shown.getvalue()) == is_terminal


@pytest.mark.parametrize("found", [True, False])
def test_digits_are_those_of_scikit_learn(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not found:
        monkeypatch.setattr(scenes, "find_spec", lambda _: None)
    images, numbers = scenes._digits()
    expected = load_digits()
    assert np.array_equal(images, expected.images)
    assert np.array_equal(numbers, expected.target)
