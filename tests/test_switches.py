"""Checkpointing, memory layout, compilation and half precision: the same losses and gradients, whatever the method."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from networks import NETWORKS
from sats.config import RunConfig, TrainConfig, from_json, to_json
from sats.engine import switches
from sats.engine.log import Log
from sats.engine.run_folder import create_run
from sats.engine.train import train
from sats.methods import Method
from sats.methods.base import freezes_encoder
from sats.methods.context import Context
from sats.models.segmenter import Segmenter
from steps import step1, terms_of
from test_engine import run, small, weights
from test_frozen_encoder import FAMILIES, losses
from test_methods import STREAMED, with_transfer
from test_resume import interrupted, same_runs

ALL = {name: method if freezes_encoder(method) else with_transfer(method) for name, method in STREAMED.items()}
"""Every method in mid-stream, with attention transfer where its encoder learns."""
COMPILERS_WARNINGS = pytest.mark.filterwarnings("ignore")
"""Torch's compiler looks at gradients of tensors that have none, which it warns of."""
Result = tuple[dict[str, Tensor], dict[str, Tensor]]


def learned(method: Method, where: Context) -> Result:
    """The terms of an iteration, dropout and drop-path drawn always the same, and the gradients by parameter."""
    torch.manual_seed(1)
    where.model.zero_grad()
    terms = terms_of(method, where)
    torch.stack(list(terms.values())).sum().backward()
    gradients = {name: part.grad for name, part in where.model.named_parameters() if part.grad is not None}
    return {name: term.detach() for name, term in terms.items()}, gradients


def assert_near(found: Result, expected: Result, share: float) -> None:
    """Terms and gradients differ by no more than a ``share`` of their size."""
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        largest = max((float(value.norm()) for value in other.values()), default=0.0)
        for name, value in other.items():
            assert one[name].isfinite().all(), name
            size = max(float(value.norm()), 1e-3 * largest)  # some are 0 but for rounding: biases before batch norm
            assert float((one[name] - value).norm()) <= share * size, name


def count_layers(model: Segmenter) -> Counter[nn.Module]:
    """How often the inside of each of the encoder's layers runs from now on."""
    runs: Counter[nn.Module] = Counter()
    for layer in model.encoder.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            inside = next(part for part in layer.modules() if isinstance(part, nn.Linear))
            inside.register_forward_hook(lambda _, __, ___, layer=layer: runs.update([layer]))
    return runs


# --- every method -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_checkpointing_changes_nothing(name: str) -> None:
    where = step1(ALL[name])
    expected = learned(ALL[name], where)
    switches.checkpoint_layers(where.model)
    runs = count_layers(where.model)
    found = learned(ALL[name], where)
    assert set(runs.values()) == ({1} if freezes_encoder(ALL[name]) else {2})
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[term], value) for term, value in other.items())


@pytest.mark.parametrize("name", ALL)
def test_channels_last_changes_rounding_alone(name: str) -> None:
    where = step1(ALL[name])
    expected = learned(ALL[name], where)
    before = {key: value.clone() for key, value in where.model.state_dict().items()}
    for network in filter(None, (where.model, where.teacher)):
        switches.lay_out(network)
    first = where.model.get_submodule("network.segformer.stages.0.patch_embeddings.proj").weight
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert not first.is_contiguous()
    assert all(torch.equal(value, before[key]) for key, value in where.model.state_dict().items())
    assert_near(learned(ALL[name], where), expected, 1e-4)


@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_near(name: str) -> None:
    where = step1(ALL[name])
    expected = learned(ALL[name], where)
    with torch.autocast("cpu", torch.bfloat16):
        found = learned(ALL[name], where)
    assert_near((found[0], {}), (expected[0], {}), 0.1)
    assert all(gradient.isfinite().all() for gradient in found[1].values())
    assert found[1].keys() == expected[1].keys()


@pytest.mark.slow
@COMPILERS_WARNINGS
def test_compilation_changes_nothing_for_any_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as what was compiled for one serves all."""
    monkeypatch.setattr(switches, "BACKEND", "aot_eager")
    for method in ALL.values():
        where = step1(method)
        expected = learned(method, where)
        keys = where.model.state_dict().keys()
        with switches.compiled(where.model, where.teacher):
            found = learned(method, where)
            assert where.model.state_dict().keys() == keys
        assert_near(found, expected, 1e-4)
        assert_near(learned(method, where), expected, 0.0)


# --- every family -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", NETWORKS)
def test_every_transformer_checkpoints_its_layers_and_is_tapped_once(family: str) -> None:
    model, images = FAMILIES[family]().train(), torch.randn(2, 3, 56 if family == "upernet" else 64, 112)

    def loss_and_gradients() -> tuple[Tensor, list[Tensor]]:
        torch.manual_seed(0)
        output = model(images, model.default_taps)
        loss = output.logits.square().mean() + sum(tap.rows().square().sum() for tap in output.attentions)
        parts = [part for part in model.encoder.parameters() if part.requires_grad]
        found = torch.autograd.grad(loss, parts, allow_unused=True)
        return loss.detach(), [gradient for gradient in found if gradient is not None]

    expected = loss_and_gradients()
    switches.checkpoint_layers(model)
    runs = count_layers(model)
    found = loss_and_gradients()
    unread = 1 if family == "beit" else 0  # its last layer
    assert sorted(runs.values()) == [1] * unread + [2] * (len(runs) - unread)
    assert torch.equal(found[0], expected[0])
    assert len(found[1]) == len(expected[1]) > 4
    assert all(torch.equal(one, two) for one, two in zip(found[1], expected[1], strict=True))


def test_a_network_that_cannot_checkpoint_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^transformers cannot compute the layers of a ResNetBackbone again: leave"):
        switches.arrange(FAMILIES["deeplab"](), TrainConfig(checkpointing=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_that_are_compiled_keep_their_names_hooks_and_taps(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for torch.compile, which would take a minute a family."""
    model, images = FAMILIES[family](), torch.randn(1, 3, 56 if family == "upernet" else 64, 112)
    calls: Counter[str] = Counter()

    def counting(forward: Callable[..., object], **_: object) -> Callable[..., object]:
        name = type(forward.__self__).__name__

        def run_it(*positional: object, **named: object) -> object:
            calls[name] += 1
            return forward(*positional, **named)

        return run_it

    monkeypatch.setattr(torch, "compile", counting)
    parts, keys = switches.compilable(model), list(model.state_dict())
    expected = model(images, model.default_taps)
    with switches.compiled(model, None):
        found = model(images, model.default_taps)
        assert list(model.state_dict()) == keys
    assert calls.total() == len(parts) > 3
    assert torch.equal(found.logits, expected.logits)
    assert len(found.attentions) == len(expected.attentions)
    layers = {part for part in model.encoder.modules() if isinstance(part, GradientCheckpointingLayer)}
    assert layers <= set(parts)
    assert not any(part in other.modules() for part in parts for other in parts if part is not other)
    assert model.classifier not in parts
    model(images)
    assert calls.total() == len(parts)


# --- runs -------------------------------------------------------------------------------------------------------------


def switched(method: str = "sats", **settings: object) -> RunConfig[Method]:
    config = small(method)
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **{"epochs_later": 3, **settings}))


def test_a_checkpointed_run_is_the_run_itself(tmp_path: Path) -> None:
    run(tmp_path / "plain", switched())
    run(tmp_path / "again", switched(checkpointing=True))
    assert same_runs(tmp_path / "plain", tmp_path / "again")


def test_a_run_in_channels_last_resumes_exactly_and_is_saved_as_any_other(tmp_path: Path) -> None:
    config = switched(channels_last=True, precision="bf16")
    run(tmp_path / "whole", config)
    cut = create_run(tmp_path / "cut", config)
    interrupted(cut, config, 9)
    train(config, cut, Log(cut.metrics_path))
    assert same_runs(tmp_path / "whole", cut.path)
    assert all(value.is_contiguous() for value in weights(tmp_path / "whole", 1).values())


@pytest.mark.slow
@COMPILERS_WARNINGS
def test_a_compiled_run_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "BACKEND", "aot_eager")
    config = switched(compile=True, checkpointing=True)
    run(tmp_path / "whole", config)
    cut = create_run(tmp_path / "cut", config)
    interrupted(cut, config, 9)
    train(config, cut, Log(cut.metrics_path))
    assert same_runs(tmp_path / "whole", cut.path)
    run(tmp_path / "plain", switched())
    assert weights(tmp_path / "plain", 1).keys() == weights(cut.path, 1).keys()
    compiled, plain = (losses(folder) for folder in (cut.path, tmp_path / "plain"))
    assert compiled[0] == pytest.approx(plain[0], rel=1e-3)


def test_where_nothing_can_be_compiled_the_run_says_so_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("No working C++ compiler found\nand much more")

    monkeypatch.setattr(switches, "BACKEND", broken)
    config = switched(compile=True)
    folder = create_run(tmp_path / "run", config)
    with pytest.raises(ValueError, match=r"No working C\+\+ compiler found.*leave out --train.compile") as met:
        train(config, folder)
    assert "\n" not in str(met.value)
    assert not folder.step(0).exists()


def test_settings_of_older_runs_are_read_without_the_switches() -> None:
    config = switched()
    text = to_json(config)
    for name in ("checkpointing", "channels_last", "compile", "feature_cache"):
        (line,) = (line for line in text.splitlines() if f'"{name}"' in line)
        text = text.replace(f"{line}\n", "")
    assert from_json(text) == config
