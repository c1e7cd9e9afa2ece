"""A frozen encoder: run once for student and teacher, once for each image with a cache, and all else stays the same."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from networks import NETWORKS, network
from sats.config import RunConfig
from sats.data.transforms import TrainTransform
from sats.engine import frozen_encoder, loop
from sats.engine.frozen_encoder import FeatureCache, FrozenEncoder, is_frozen, same_encoder
from sats.engine.log import Log
from sats.engine.run_folder import create_run
from sats.engine.train import train
from sats.methods import METHODS, Method
from sats.methods.base import all_losses
from sats.models.segmenter import Segmenter
from steps import STEP_1, batch, outputs, step1
from test_deeplab import segmenter as deeplab
from test_engine import run, same_weights, small
from test_resume import interrupted, same_runs

NAMES = ("background", "a", "b")
FAMILIES: dict[str, Callable[[], Segmenter]] = {
    **{name: lambda name=name: Segmenter(network(name, NAMES), NAMES).eval() for name in NETWORKS},
    "deeplab": deeplab,
}
STREAMED = sorted(name for name, kind in METHODS.items() if kind.data == "stream")


@contextmanager
def counted(model: Segmenter) -> Iterator[list[int]]:
    """The batch sizes with which the inside of the encoder runs."""
    seen: list[int] = []
    inside = next(module for module in model.encoder.modules() if isinstance(module, torch.nn.Conv2d))
    hook = inside.register_forward_hook(lambda _, received, __: seen.append(len(received[0])))
    yield seen
    hook.remove()


# --- a network that is told what its encoder makes of images ----------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_encoded_images(family: str) -> None:
    model = FAMILIES[family]()
    images = torch.randn(2, 3, 112, 126 if family == "upernet" else 128)  # not square: DPT's neck must be told
    with torch.no_grad(), counted(model) as runs:
        expected = model(images)
        read = model.encode(images)
        assert len(runs) == 2
        model(images[:, :, :, :112])
        with model.encoded(read):
            found = model(images)
        assert len(runs) == 3
        after = model(images)
    assert len(runs) == 4
    assert found.size == expected.size
    for output in (found, after):
        assert torch.equal(output.logits, expected.logits)
        assert len(output.features) == len(expected.features)
        assert all(torch.equal(one, two) for one, two in zip(output.features, expected.features, strict=True))


def test_encoded_images_yield_no_attention() -> None:
    model, images = FAMILIES["segformer"](), torch.randn(1, 3, 64, 64)
    with model.encoded(model.encode(images)), pytest.raises(ValueError, match="no attention to tap"):
        model(images, model.default_taps)


# --- what may be shared -----------------------------------------------------------------------------------------------


def frozen(name: str, **settings: object) -> Method:
    return dataclasses.replace(METHODS[name](), frozen_encoder=True, **settings)


def test_only_equal_encoders_that_stay_as_they_are_are_shared() -> None:
    where = step1(frozen("mib"))
    student, teacher = where.model, where.teacher
    assert teacher is not None
    assert is_frozen(student)
    assert same_encoder(student, teacher)
    parts = list(student.encoder.modules())
    parts[-1].train()
    assert not is_frozen(student)
    parts[-1].eval()
    first = next(student.encoder.parameters())
    first.requires_grad = True
    assert not is_frozen(student)
    first.requires_grad = False
    with torch.no_grad():
        first.flatten()[0].add_(1e-3)
    assert is_frozen(student)
    assert not same_encoder(student, teacher)
    assert not is_frozen(step1(METHODS["mib"]()).model)


@pytest.mark.parametrize("name", [name for name in STREAMED if not METHODS[name]().attention_transfer.weight])
def test_every_methods_terms_are_the_same_bit_for_bit(name: str) -> None:
    method = frozen(name)
    where, data = step1(method), batch(STEP_1)
    networks = (where.model, where.teacher) if where.teacher is not None else (where.model,)
    torch.manual_seed(1)
    expected = all_losses(method, where, data, *outputs(method, where, data))
    torch.manual_seed(1)
    with counted(where.model) as runs, FrozenEncoder(networks).encoded(data.images):
        found = all_losses(method, where, data, *outputs(method, where, data))
    assert runs == [2]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[term], expected[term]) for term in found)


# --- the cache --------------------------------------------------------------------------------------------------------


def test_each_image_is_encoded_once_and_alone() -> None:
    model, images = FAMILIES["segformer"](), torch.randn(5, 3, 64, 64)
    cache = FeatureCache(model, 1)
    with torch.no_grad(), counted(model) as runs:
        first = cache.encode(images[:3])
        again = cache.encode(images[[2, 0, 4]])
        expected = model.encode(images[[2, 0, 4]])
    assert runs == [1, 1, 1, 1, 3]
    for part, other, near in zip(first, again, expected, strict=True):
        assert torch.equal(part[[2, 0]], other[:2])
        torch.testing.assert_close(other, near, rtol=1e-4, atol=1e-5)


def test_a_budget_is_kept_and_changes_nothing() -> None:
    model = FAMILIES["segformer"]()
    images = torch.randn(6, 3, 256, 256)
    with torch.no_grad():
        size = sum(part.nbytes for part in model.encode(images[:1]))
        small_cache, none, large = FeatureCache(model, 1), FeatureCache(model, 0), FeatureCache(model, 100)
        found = [cache.encode(images) for cache in (small_cache, none, large, small_cache, large)]
    assert 0 < 2**20 // size < 6
    assert small_cache.images == 2**20 // size
    assert (none.images, large.images) == (0, 6)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_what_is_kept_is_not_changed_by_what_is_done_with_it() -> None:
    model, images = FAMILIES["segformer"](), torch.randn(1, 3, 64, 64)
    cache = FeatureCache(model, 1)
    with torch.no_grad():
        first = [part.clone() for part in cache.encode(images)]
        for part in cache.encode(images):
            part.zero_()
        assert all(torch.equal(one, two) for one, two in zip(first, cache.encode(images), strict=True))


@pytest.mark.parametrize(
    ("size", "settings", "repeats"),
    [
        ((32, 32), {}, True),
        ((32, 32), {"flip": False}, True),
        ((64, 64), {"resize": 32}, True),
        ((64, 64), {"scale": (0.5, 0.5)}, True),
        ((48, 64), {"resize": 32}, False),
        ((32, 33), {}, False),
        ((31, 32), {}, False),
        ((32, 32), {"colour": 0.1}, False),
        ((32, 32), {"scale": (0.5, 1.0)}, False),
        ((32, 32), {"scale": (1.0, 1.0), "area": True}, False),
    ],
)
def test_when_images_come_again(size: tuple[int, int], settings: dict[str, object], repeats: bool) -> None:
    transform = TrainTransform(32, **{"scale": (1.0, 1.0), **settings})
    assert transform.repeats(size) == repeats
    if repeats:
        draws = {transform.draw(size, np.random.default_rng(seed)) for seed in range(20)}
        assert len(draws) == 1


# --- runs -------------------------------------------------------------------------------------------------------------


def settings(method: Method, **changes: object) -> RunConfig[Method]:
    """A run whose images are as large as the crop and not zoomed; two epochs later on."""
    config = small("finetune")
    changed = {"scale": (1.0, 1.0), "epochs_later": 3, **changes}
    return dataclasses.replace(config, method=method, train=dataclasses.replace(config.train, **changed))


def with_memory(config: RunConfig[Method]) -> RunConfig[Method]:
    return dataclasses.replace(config, memory=dataclasses.replace(config.memory, size=6))


def spied(monkeypatch: pytest.MonkeyPatch) -> list[FrozenEncoder]:
    """What each step of the runs to come spares."""
    found: list[FrozenEncoder] = []
    real = loop.frozen_encoder

    def spy(*arguments: object) -> FrozenEncoder:
        found.append(real(*arguments))
        return found[-1]

    monkeypatch.setattr(loop, "frozen_encoder", spy)
    return found


@pytest.mark.parametrize("name", ["mib", "ssul"])
def test_a_run_that_shares_the_encoder_is_the_run_itself(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(frozen(name))
    encoders = spied(monkeypatch)
    run(tmp_path / "shared", config)
    assert len(encoders[-1].networks) == 2
    monkeypatch.setattr(loop, "frozen_encoder", lambda *_: FrozenEncoder())
    run(tmp_path / "plain", config)
    assert same_runs(tmp_path / "shared", tmp_path / "plain")


def test_where_an_encoder_learns_or_attention_is_tapped_nothing_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = spied(monkeypatch)
    for number, config in enumerate(
        [
            settings(METHODS["mib"]()),
            settings(frozen("mib")),
            settings(METHODS["dft"]()),
            settings(METHODS["dft"](), feature_cache=10),
            settings(METHODS["ssul"](), feature_cache=10),
        ]
    ):
        run(tmp_path / str(number), config)
    kinds = [(len(encoder.networks), encoder.cache is not None) for encoder in found]
    assert kinds[::2] == [(0, False)] * 5  # step 0
    assert kinds[1::2] == [(0, False), (2, False), (0, False), (1, True), (2, True)]


def losses(folder: Path) -> list[dict[str, float]]:
    """The terms of every iteration."""
    return [json.loads(line)["losses"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["mib", "dft"])
def test_runs_with_a_cache_are_the_same_whatever_its_size_and_however_often_they_stop(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exemplars are cached with the rest; without a cache the weights differ in rounding alone."""
    caches = spied(monkeypatch)
    config = with_memory(settings(frozen(name), feature_cache=100))
    run(tmp_path / "large", config)
    step_0, step_1 = caches
    assert step_0.cache is None
    assert 17 < step_1.cache.images <= 2 * (17 + 6)  # of the step and of the memory, as they are and mirrored
    cut = create_run(tmp_path / "cut", config)
    interrupted(cut, config, 12)
    train(config, cut, Log(cut.metrics_path))
    assert same_runs(tmp_path / "large", cut.path)
    run(tmp_path / "plain", with_memory(settings(frozen(name))))
    assert same_weights(tmp_path / "large", tmp_path / "plain", 0)
    cached, plain = (losses(tmp_path / folder) for folder in ("large", "plain"))
    assert cached == [pytest.approx(terms, rel=1e-3) for terms in plain]
    monkeypatch.setattr(frozen_encoder, "MIB", 2**10)  # now a few images fit
    run(tmp_path / "small", config)
    assert same_runs(tmp_path / "large", tmp_path / "small")


def test_crops_that_move_are_not_kept_and_the_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = settings(METHODS["dft"](), feature_cache=10, crop=48)
    run(tmp_path / "run", config)
    assert "Nothing is kept of what the encoder makes of images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [
        (METHODS["mib"](), {}, "frozen-encoder"),
        (METHODS["dft"](), {"scale": (0.5, 2.0)}, "scale 1 1"),
        (METHODS["dft"](), {"colour": 0.5}, "colour 0"),
        (METHODS["dft"](), {"scaling": "area"}, "scaling zoom"),
        (METHODS["dft"](), {"feature_cache": -1}, "at least 0"),
    ],
)
def test_a_cache_that_could_keep_nothing_is_refused(method: Method, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings(method, **{"feature_cache": 10, **changes})
