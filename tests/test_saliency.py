"""Saliency: what looks like an object, and how it reaches a batch."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fakes import random_source, stream_of
from sats.data.loader import TrainLoader
from sats.data.saliency import Everywhere, SaliencyFolder, SpectralResidual, open_saliency
from sats.data.transforms import TrainTransform
from sats.types import BACKGROUND, IGNORE, SALIENT

ON = 255


def disc(background: np.ndarray, radius: int = 12) -> tuple[Image.Image, np.ndarray]:
    """A bright disc on a texture, and where it is."""
    height, width = background.shape
    rows, columns = np.mgrid[:height, :width]
    inside = (rows - height // 3) ** 2 + (columns - width // 2) ** 2 < radius**2
    return Image.fromarray(np.where(inside, 250, background).astype(np.uint8)).convert("RGB"), inside


def test_a_thing_on_a_regular_ground_is_salient() -> None:
    stripes = np.tile(100 + 30 * np.sin(np.arange(160) / 3), (120, 1))
    image, inside = disc(stripes)
    salient = SpectralResidual().salient("x", image)
    assert salient.shape == (120, 160)
    assert salient.dtype == bool
    near = np.zeros_like(inside)
    near[20:62, 58:102] = True  # the disc and a margin of its blur
    assert 0 < salient.mean() < 0.3
    assert salient[near].sum() / salient.sum() > 0.7
    assert salient[inside].any()


def test_saliency_depends_on_the_image_alone() -> None:
    image, _ = disc(np.random.default_rng(0).uniform(80, 120, (50, 70)))
    rule = pickle.loads(pickle.dumps(SpectralResidual()))  # noqa: S301 (as the loader's workers get it)
    assert np.array_equal(SpectralResidual().salient("a", image), rule.salient("b", image))
    assert SpectralResidual().salient("flat", Image.new("RGB", (40, 30), "grey")).shape == (30, 40)
    assert Everywhere().salient("a", image).all()


def test_maps_from_a_folder(tmp_path: Path) -> None:
    rule = open_saliency(str(tmp_path))
    assert isinstance(rule, SaliencyFolder)
    found = np.zeros((30, 40), dtype=np.uint8)
    found[5:9, 2:20] = 200
    (tmp_path / "train").mkdir()
    Image.fromarray(found).save(tmp_path / "train" / "one.png")
    rule.check(["train/one"])
    assert np.array_equal(rule.salient("train/one", Image.new("RGB", (40, 30))), found > 0)
    with pytest.raises(ValueError, match=r"^1 saliency map is missing \(/.*two\.png\): .*spectral-residual"):
        rule.check(["train/one", "train/two"])
    with pytest.raises(ValueError, match=r"^2 saliency maps are missing \(first: .*two\.png\)"):
        rule.check(["train/one", "train/two", "train/three"])
    with pytest.raises(ValueError, match=r"one\.png has 40 x 30 pixels, its image 30 x 40"):
        rule.salient("train/one", Image.new("RGB", (30, 40)))


def test_words_and_folders_that_are_neither() -> None:
    assert open_saliency("spectral-residual") == SpectralResidual()
    assert open_saliency("everywhere") == Everywhere()
    with pytest.raises(ValueError, match="which is not a folder"):
        open_saliency("spectral")


def test_salient_background_is_marked_and_nothing_else() -> None:
    source = random_source(4, 12)
    stream = stream_of(source, [[1, 2], [3, 4]])
    samples = stream.train_samples(stream.steps[1])
    marked = type(samples)(samples.source, samples.indices, samples.table, Everywhere())
    transform = TrainTransform(crop=32, scale=(1.0, 1.0))
    for workers in (0, 2):
        plain = TrainLoader(samples=samples, transform=transform, batch_size=4, seed=(0,), workers=workers)
        found = TrainLoader(samples=marked, transform=transform, batch_size=4, seed=(0,), workers=workers)
        for without, batch in zip(plain.batches(0, 2), found.batches(0, 2), strict=True):
            assert without.salient is None
            assert batch.salient is not None
            assert torch.equal(batch.labels, without.labels)
            assert not (batch.labels == SALIENT).any()
            assert torch.equal(batch.salient, batch.labels == BACKGROUND)
            assert (batch.labels == IGNORE).any()
