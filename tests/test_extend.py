"""`sats extend`: models of every family, trained by anyone, learn new classes and stay plain Hugging Face folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForSemanticSegmentation, pipeline

import sats
from networks import NETWORKS, foreign
from sats.cli import main
from sats.engine.run_folder import RunFolder
from sats.models import checkpoint
from sats.types import IGNORE, NOT_LEARNED_YET

CITY = ("road", "car", "tree")
VOC = ("background", "car", "tree")
SMALL = "--crop 64 --batch-size 4 --epochs-later 1 --train.workers 0".split()


def make_data(root: Path, classes: tuple[str, ...], images: int = 8, splits: tuple[str, ...] = ("train", "val")) -> Path:
    """Noise with one bright square for each class but the first, in masks as well."""
    rng = np.random.default_rng(0)
    for split in splits:
        for number in range(images):
            pixels = rng.integers(0, 90, (64, 80, 3), dtype=np.uint8)
            mask = np.zeros((64, 80), dtype=np.uint8)
            for index in range(1, len(classes)):
                top, left = int(rng.integers(0, 40)), int(rng.integers(0, 56))
                pixels[top : top + 20, left : left + 20, index % 3] = 250
                mask[top : top + 20, left : left + 20] = index
            mask[:2] = IGNORE
            for part, picture in (("images", pixels), ("masks", mask)):
                (root / part / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(root / part / split / f"{number}.png")
    (root / "classes.txt").write_text("\n".join(classes))
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data", ("background", "rickshaw", "cow"))


@pytest.mark.parametrize("classes", [CITY, VOC], ids=["without background", "with background"])
@pytest.mark.parametrize("family", NETWORKS)
def test_a_model_is_extended_twice(family: str, classes: tuple[str, ...], data: Path, tmp_path: Path) -> None:
    model = foreign(tmp_path / "model", family, classes)
    for number, name in enumerate(("rickshaw", "cow"), start=1):
        out = tmp_path / f"out-{number}"
        assert main(["extend", str(model), "--data", str(data), "--classes", name, *SMALL, "--out", str(out)]) == 0
        model = out
    plain = AutoModelForSemanticSegmentation.from_pretrained(model)
    assert list(plain.config.id2label.values()) == [*classes, "rickshaw", "cow"]
    assert plain.config.num_labels == 5
    found = pipeline("image-segmentation", model=str(model), device="cpu")(Image.new("RGB", (64, 64)))
    assert {part["label"] for part in found} <= set(plain.config.id2label.values())
    segmenter = checkpoint.load(model)
    assert segmenter.classifier.has_background == (classes == VOC)
    assert segmenter.classes[0] == ("background" if classes == VOC else NOT_LEARNED_YET)
