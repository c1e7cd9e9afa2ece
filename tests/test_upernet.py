"""Any attention backbone under UperNet: the same as transformers' own, tapped, grown, saved, trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSemanticSegmentation,
    BeitConfig,
    ConvNextConfig,
    Dinov2Backbone,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    DINOv3ViTConfig,
    PreTrainedConfig,
    SwinConfig,
    UperNetForSemanticSegmentation,
)

from conftest import tiny_segmenter
from sats import losses
from sats.cli import main
from sats.engine.rehearsal import freeze_unused, rehearse_batch
from sats.engine.run_folder import RunFolder
from sats.methods.attention_transfer import AttentionTransfer
from sats.models import checkpoint
from sats.models.segmenter import Segmenter
from sats.models.upernet import upernet_config
from sats.types import Step

VIT = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 3, "image_size": 56, "patch_size": 14}
OUT = {"out_indices": [1, 2, 3, 4]}
VITS: dict[str, PreTrainedConfig] = {
    "dinov2": Dinov2Config(**VIT, **OUT, reshape_hidden_states=True),
    "dinov2 with registers": Dinov2WithRegistersConfig(**VIT, **OUT, num_register_tokens=2),
    "dinov3": DINOv3ViTConfig(**VIT, **OUT, intermediate_size=48, num_register_tokens=2),
    "beit": BeitConfig(
        **VIT, **OUT, intermediate_size=48, reshape_hidden_states=True, use_relative_position_bias=True, add_fpn=False
    ),
}
SWIN = SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4, image_size=56, **OUT)
CONVNEXT = ConvNextConfig(hidden_sizes=[8, 16, 16, 24], depths=[1, 1, 1, 1], **OUT)
NAMES = ("background", "a", "b")


def network(config: PreTrainedConfig, seed: int = 0) -> UperNetForSemanticSegmentation:
    torch.manual_seed(seed)
    return UperNetForSemanticSegmentation(upernet_config(config, len(NAMES), 16)).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 56, 84, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("config", [*VITS.values(), SWIN, CONVNEXT], ids=[*VITS, "swin", "convnext"])
def test_logits_and_features_are_transformers_own(config: PreTrainedConfig, images: torch.Tensor) -> None:
    plain = network(config)
    with torch.no_grad():
        expected = plain(images).logits
        maps = plain.backbone(images).feature_maps
        output = Segmenter(network(config), NAMES).eval()(images)
    assert output.logits.shape[2:] == maps[0].shape[2:]  # before upsampling, which UperNet does itself
    torch.testing.assert_close(output.pixel_logits, expected, rtol=1e-5, atol=1e-5)
    assert len(output.features) == len(maps)
    for found, feature in zip(output.features, maps, strict=True):
        torch.testing.assert_close(found, feature, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", VITS)
def test_taps_are_the_rows_of_eager_attention(name: str, images: torch.Tensor) -> None:
    plain = network(VITS[name])
    plain.backbone.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = plain.backbone(images, output_attentions=True).attentions
        segmenter = Segmenter(network(VITS[name]), NAMES).eval()
        taps = segmenter(images, segmenter.default_taps).attentions
    assert len(attentions) == len(taps) == 4
    for tap, eager in zip(taps, attentions, strict=True):
        first = eager.shape[2] - 4 * 6
        assert tap.grid == tap.key_grid == (4, 6)
        assert tap.key_prefix == first
        torch.testing.assert_close(tap.rows(), eager[:, :, first:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pooling", ["class", "class-pair", "global", "none"])
@pytest.mark.parametrize("name", VITS)
def test_the_transfer_and_its_gradient_equal_those_of_full_maps(name: str, pooling: str, images: torch.Tensor) -> None:
    student, teacher = Segmenter(network(VITS[name]), NAMES).eval(), Segmenter(network(VITS[name], 1), NAMES).eval()
    labels = torch.randint(0, 3, (2, 56, 84), generator=torch.Generator().manual_seed(1))
    taps = student.default_taps
    with torch.no_grad():
        old = teacher(images, taps).attentions
    gradients = []
    for full in (False, True):
        new = student(images, taps).attentions
        value = losses.attention_transfer(new, old, labels, pooling)
        if full and pooling != "class-pair":
            rows = [[tap.rows() for tap in part] for part in (new, old)]
            value = losses.attention_transfer(*rows, labels, pooling, grids=[tap.grid for tap in new])
        student.zero_grad()
        value.backward()
        gradients.append(student.network.backbone.get_parameter(query_weight(student)).grad.clone())
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-8)


def query_weight(segmenter: Segmenter) -> str:
    """A parameter that makes queries of the last tapped block."""
    names = [name for name, _ in segmenter.network.backbone.named_parameters()]
    return [name for name in names if name.endswith(("query.weight", "q_proj.weight"))][-1]


@pytest.mark.parametrize("config", [*VITS.values(), SWIN], ids=[*VITS, "swin"])
def test_grown_saved_and_loaded(config: PreTrainedConfig, images: torch.Tensor, tmp_path: Path) -> None:
    segmenter = Segmenter(network(config), NAMES).eval()
    with torch.no_grad():
        before = segmenter(images).logits
        segmenter.grow(Step(1, 3, 2), ("c", "d"), "random")
        after = segmenter(images).logits
    torch.testing.assert_close(after[:, :3], before, rtol=1e-6, atol=1e-6)
    checkpoint.save(segmenter, tmp_path / "model")
    with torch.no_grad():
        loaded = checkpoint.load(tmp_path / "model", (3, 2)).eval()
        plain = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "model").eval()
        torch.testing.assert_close(loaded(images).logits, after, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(plain(images).logits, loaded(images).pixel_logits, rtol=1e-5, atol=1e-5)
    assert list(plain.config.id2label.values()) == [*NAMES, "c", "d"]
    assert loaded.classifier.groups == (3, 2)


@pytest.mark.parametrize(("config", "reason"), [(SWIN, "within windows"), (CONVNEXT, "no attention")])
def test_attention_that_cannot_be_transferred_is_refused(config: PreTrainedConfig, reason: str) -> None:
    segmenter = Segmenter(network(config), NAMES)
    with pytest.raises(ValueError, match=rf"{reason}.*of features"):
        AttentionTransfer(weight=1.0).taps(segmenter)
    assert AttentionTransfer(weight=1.0, of="features").taps(segmenter) == ()


@pytest.mark.parametrize("method", ["sats", "plop"])
def test_a_backbone_alone_becomes_a_model_that_learns(method: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Dinov2Config(**{**VIT, "num_hidden_layers": 8}, reshape_hidden_states=True)
    Dinov2Backbone(config).save_pretrained(tmp_path / "backbone")
    out = tmp_path / "run"
    words = f"train scenes --method {method} --images 24 --data.image-size 42 --crop 42 --batch-size 6 --epochs 1"
    model = ["--model.name", "auto", "--model.weights", str(tmp_path / "backbone"), "--model.decoder-size", "16"]
    assert main([*words.split(), "--epochs-later", "1", *model, "--out", str(out)]) == 0
    assert RunFolder(out).is_finished()
    last = checkpoint.load(out / "step-1" / "model", (6, 5))
    assert last.network.config.backbone_config.out_indices == [2, 4, 6, 8]
    assert last.default_taps == tuple(f"backbone.encoder.layer.{layer}.attention" for layer in (1, 3, 5, 7))


@pytest.mark.slow
def test_several_processes_share_a_backbone_with_parameters_that_never_learn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    Dinov2Backbone(Dinov2Config(**VIT, reshape_hidden_states=True)).save_pretrained(tmp_path / "backbone")
    words = "train scenes --images 24 --data.image-size 42 --crop 42 --batch-size 6 --epochs 1 --epochs-later 1"
    model = ["--model.name", "auto", "--model.weights", str(tmp_path / "backbone"), "--model.decoder-size", "16"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "sats"]
    command = [*launcher, *words.split(), *model, "--out", str(tmp_path / "run")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert RunFolder(tmp_path / "run").is_finished()


def test_auto_without_weights_and_a_model_of_another_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "scenes", "--images", "8", "--model.name", "auto", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "name them with --model.weights" in capsys.readouterr().err
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    assert main([*words, "--model.weights", str(tmp_path / "bert")]) == 2
    assert "bert model" in capsys.readouterr().err


def test_one_image_at_a_time_is_refused_where_the_head_normalises_what_it_pooled() -> None:
    segmenter = Segmenter(network(VITS["dinov2"]), NAMES).train()
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    rehearse_batch(segmenter, 2)
    with pytest.raises(ValueError, match=r"one image at a time.*Raise --batch-size"):
        rehearse_batch(segmenter, 1)
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())
    rehearse_batch(tiny_segmenter(), 1)


def test_what_the_logits_do_not_depend_on_is_frozen() -> None:
    segmenter = Segmenter(network(VITS["dinov2"]), NAMES).train()
    assert freeze_unused(segmenter) == ["network.backbone.embeddings.mask_token"]
    output = segmenter(torch.randn(2, 3, 56, 56))
    output.logits.sum().backward()
    trained = [parameter for parameter in segmenter.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)
