"""What several test files share: golden values, the reference data's folder, tiny models."""

from __future__ import annotations

import builtins
import dataclasses
import os
import shutil
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sats.engine import runtime

runtime.prepare()  # before torch is loaded, as the command does
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # runs are compared to the last bit, which a GPU does not promise
for _name in ("CI", "FORCE_COLOR"):  # a test says itself whether somebody watches a terminal
    os.environ.pop(_name, None)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore Ctrl-C

import numpy as np
import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from sats.models.segmenter import Segmenter

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

TINY = {
    "depths": (2, 1, 1, 1),
    "hidden_sizes": (8, 16, 16, 24),
    "num_attention_heads": (1, 2, 2, 3),
    "decoder_hidden_size": 16,
    "mlp_ratios": (2, 2, 2, 2),
}


@pytest.fixture(scope="session")
def golden() -> dict[str, torch.Tensor]:
    """Reference values of the published implementations, by name."""
    stored = np.load(Path(__file__).parent / "golden" / "public.npz")
    return {name: torch.from_numpy(np.asarray(stored[name])) for name in stored}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photographs and weights; tests that need it skip without it."""
    folder = Path(os.environ.get("SATS_SHARED", "../shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder}: set SATS_SHARED to the folder that holds data/ and weights/")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def tiny_network(num_classes: int, seed: int = 0) -> SegformerForSemanticSegmentation:
    """A SegFormer of a few thousand random weights."""
    torch.manual_seed(seed)
    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=num_classes, **TINY))


def tiny_segmenter(groups: tuple[int, ...] = (3,), seed: int = 0) -> Segmenter:
    """A tiny segmenter whose classes are called background, class 1, class 2, ..."""
    names = ["background", *(f"class {index}" for index in range(1, sum(groups)))]
    return Segmenter(tiny_network(sum(groups), seed), names, groups)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three small runs on the scenes; leave them as they are."""
    from test_engine import run, small

    parent = tmp_path_factory.mktemp("runs")
    for name in ("sats", "joint"):
        run(parent / name, small(name))
    run(parent / "finetune", dataclasses.replace(small(), start_from=str(parent / "sats" / "step-0")))
    return {name: parent / name for name in ("sats", "finetune", "joint")}


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What a notebook is given to show: rich and sats take this process for one."""

    class ZMQInteractiveShell:
        pass

    shown: list[object] = []
    module = types.ModuleType("IPython.display")
    module.display = shown.append  # type: ignore[attr-defined]
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's chromium, driven by playwright; tests that need it skip where either is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium: apt install chromium")
    flags = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(flags))
        yield started
        started.close()
