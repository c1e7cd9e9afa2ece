"""Rows generated from old ones (NeST): their start, their gradient, and what is written back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from sats.config import DataConfig, StreamConfig
from sats.engine.log import Log
from sats.engine.run_folder import RunFolder, create_run
from sats.engine.train import train
from sats.losses import resize_labels
from sats.methods import METHODS
from sats.methods.pretuning import Pretuning
from sats.models.classifier import GrowingClassifier
from sats.models.generated import CombinationStatistics, GeneratedClassifier
from sats.types import IGNORE, Step
from test_engine import run, same_weights, small, weights
from test_extend import make_data
from test_resume import interrupted

STEP = Step(1, 3, 2)


def old_rows() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 6, generator=generator), torch.randn(3, generator=generator)


def test_the_start_by_a_naive_loop() -> None:
    weight, bias = old_rows()
    statistics = CombinationStatistics(STEP, weight, bias)
    expected, counts = torch.zeros(2, 3, 6), torch.zeros(2)
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn(2, 6, 4, 4, generator=generator)
        labels = torch.randint(0, 5, (2, 16, 16), generator=generator)
        labels[0, :8] = IGNORE
        statistics.add(features, labels)
        small_labels = resize_labels(labels, (4, 4))
        for image, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(4), torch.arange(4)).tolist():
            label = int(small_labels[image, row, column]) - 3
            if label not in (0, 1):
                continue
            feature = features[image, :, row, column]
            old = (weight @ feature + bias).softmax(0)
            expected[label] += old[:, None] * (feature * weight > 0)
            counts[label] += 1
    torch.testing.assert_close(statistics.combination(), expected / counts[:, None, None])


def test_a_class_without_pixels_starts_from_nothing_and_still_learns() -> None:
    weight, bias = old_rows()
    statistics = CombinationStatistics(STEP, weight, bias)
    statistics.add(torch.randn(1, 6, 4, 4), torch.zeros(1, 8, 8, dtype=torch.long))
    generator = GeneratedClassifier(weight, bias, statistics.combination())
    assert torch.equal(generator.new_rows(), torch.zeros(2, 6))
    generator(torch.randn(1, 6, 4, 4))[:, 3:].square().sum().backward()
    assert generator.combination.grad.abs().sum() > 0


def test_old_logits_start_as_they_were_and_rows_are_the_published_sum() -> None:
    weight, bias = old_rows()
    combination = torch.rand(2, 3, 6)
    generator = GeneratedClassifier(weight, bias, combination)
    features = torch.randn(2, 6, 4, 4)
    logits = generator(features)
    assert logits.shape == (2, 5, 4, 4)
    torch.testing.assert_close(logits[:, :3], torch.nn.functional.conv2d(features, weight[:, :, None, None], bias))
    share = combination.sum(2).softmax(1)
    row = sum(share[1, k] * combination[1, k] * weight[k] for k in range(3))
    torch.testing.assert_close(generator.new_rows()[1], row)
    assert torch.equal(generator.new_bias, bias[:1].repeat(2))


def test_what_is_written_has_the_old_rows_scale() -> None:
    weight, bias = old_rows()
    classifier = GrowingClassifier(6, (3,))
    with torch.no_grad():
        classifier.weights[0].copy_(weight[:, :, None, None])
        classifier.biases[0].copy_(bias)
    classifier.grow(STEP, "nest")
    generator = GeneratedClassifier(weight, bias, torch.rand(2, 3, 6))
    with torch.no_grad():
        generator.background.uniform_(0.5, 2)
        generator.background_bias.fill_(1.5)
    rows = generator.new_rows()
    generator.write_to(classifier)
    written = classifier.weights[1].flatten(1)
    torch.testing.assert_close(written.norm(dim=1).mean(), weight.norm(dim=1).mean())
    torch.testing.assert_close(torch.cosine_similarity(written, rows), torch.ones(2))
    torch.testing.assert_close(classifier.biases[1].norm(), bias.norm())
    torch.testing.assert_close(classifier.weights[0][0].norm(), weight[0].norm())
    torch.testing.assert_close(classifier.biases[0][0], 1.5 * bias[0])
    assert torch.equal(classifier.weights[0][1:].flatten(1), weight[1:])


@pytest.mark.parametrize("name", ["mib", "ssul"])
def test_pretuning_within_a_run(name: str, tmp_path: Path) -> None:
    """Rows are tuned, the rest of the run goes on as usual, and an interruption in it changes nothing."""
    nest = METHODS[name](init="nest", pretuning=Pretuning(epochs=2, distillation=10.0))
    config = dataclasses.replace(small(name), method=nest)
    scores = run(tmp_path / "whole", config)
    assert len(scores) == 2
    iterations = 3  # of step 0, its measuring aside
    folder = create_run(tmp_path / "cut", config)
    interrupted(folder, config, iterations + 6)
    assert folder.step(0).exists()
    assert not list(folder.checkpoints.glob("step-1-*"))
    train(config, folder, Log(folder.metrics_path))
    assert RunFolder(folder.path).scores() == scores
    assert same_weights(tmp_path / "whole", folder.path, 1)


@pytest.mark.parametrize("name", ["ssul", "dft"])
def test_what_is_frozen_is_not_pretuned(name: str, tmp_path: Path) -> None:
    """Where everything old is frozen, new rows alone are tuned: no statistics, no row of the background."""
    config = dataclasses.replace(small(name), method=METHODS[name](init="nest", pretuning=Pretuning(epochs=2)))
    run(tmp_path, config)
    before, after = (weights(tmp_path, step) for step in (0, 1))
    for key, value in before.items():
        old = after[key][:6] if key.startswith("decode_head.classifier") else after[key]
        assert torch.equal(old, value), key


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name, kind in METHODS.items() if kind.data == "stream"))
def test_new_rows_are_tuned_for_every_method(name: str, tmp_path: Path) -> None:
    config = dataclasses.replace(small(name), method=METHODS[name](init="nest", pretuning=Pretuning(epochs=1)))
    assert len(run(tmp_path, config)) == 2


def test_rows_of_a_step_without_classes_stay_frozen(tmp_path: Path) -> None:
    """Importances have nothing to say of what holds nothing."""
    for place, classes in enumerate((("cow",), (), ("goat",))):
        make_data(tmp_path / f"step-{place}", ("background", "dog", *classes), images=4)
    folders = tuple(str(tmp_path / f"step-{place}") for place in range(3))
    method = METHODS["ewc"](init="nest", pretuning=Pretuning(epochs=1))
    data = DataConfig(source="folder", root=folders[0], folders=folders[1:])
    config = small("ewc", data=data, stream=StreamConfig(protocol="all"))
    assert len(run(tmp_path / "run", dataclasses.replace(config, method=method))) == 3
