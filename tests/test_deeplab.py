"""DeepLabV3: ours, and a family like the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSemanticSegmentation, ResNetBackbone, ResNetConfig

from sats.cli import main
from sats.engine.rehearsal import rehearse_batch
from sats.engine.run_folder import RunFolder
from sats.methods.attention_transfer import AttentionTransfer
from sats.models import checkpoint, creation
from sats.models.deeplab import STAGES, DeepLabV3ForSemanticSegmentation, wrap_resnet
from sats.models.segmenter import Segmenter
from sats.types import Step

NAMES = ("background", "a", "b")
TINY = {"depths": [1, 1, 2, 3], "hidden_sizes": [8, 8, 16, 16], "embedding_size": 8, "out_features": STAGES}


def segmenter() -> Segmenter:
    torch.manual_seed(0)
    backbone = ResNetBackbone(ResNetConfig.from_dict(TINY))
    return Segmenter(wrap_resnet(backbone, len(NAMES), 12), NAMES).eval()


def test_output_stride_is_16_and_the_first_three_stages_are_resnets_own() -> None:
    model, images = segmenter(), torch.randn(2, 3, 64, 96)
    plain = ResNetBackbone(ResNetConfig.from_dict(TINY)).eval()
    plain.load_state_dict(model.encoder.state_dict())
    with torch.no_grad():
        output, expected = model(images), plain(images).feature_maps
    assert output.logits.shape == (2, 3, 4, 6)
    assert [tuple(feature.shape[2:]) for feature in output.features] == [(16, 24), (8, 12), (4, 6), (4, 6)]
    for found, feature in zip(output.features[:3], expected[:3], strict=True):
        torch.testing.assert_close(found, feature)


def test_the_last_stage_sees_what_a_strided_one_sees_twice_as_densely() -> None:
    """At every second place, a dilated stage computes what the strided one does, but for its borders."""
    model, images = segmenter(), torch.randn(1, 3, 256, 256)
    plain = ResNetBackbone(ResNetConfig.from_dict(TINY)).eval()
    plain.load_state_dict(model.encoder.state_dict())
    with torch.no_grad():
        dense, strided = model(images).features[3], plain(images).feature_maps[3]
    torch.testing.assert_close(dense[:, :, ::2, ::2][..., 2:-2, 2:-2], strided[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-5)


def test_grown_saved_and_loaded(tmp_path: Path) -> None:
    model, images = segmenter(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(images).logits
        model.grow(Step(1, 3, 2), ("c", "d"), "random")
        after = model(images).logits
    torch.testing.assert_close(after[:, :3], before, rtol=1e-6, atol=1e-6)
    checkpoint.save(model, tmp_path / "model")
    plain = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "model").eval()
    assert isinstance(plain, DeepLabV3ForSemanticSegmentation)
    with torch.no_grad():
        torch.testing.assert_close(checkpoint.load(tmp_path / "model", (3, 2)).eval()(images).logits, after)
        torch.testing.assert_close(plain(images).logits, after)


def test_the_papers_size_has_its_parameters() -> None:
    """Million parameters with 21 classes: ResNet-101 without its classifier 42.5, the head 15.5 more."""
    with torch.device("meta"):
        model = creation.create("deeplabv3-r101", [str(index) for index in range(21)])
    parts = {name: sum(p.numel() for p in part) / 1e6 for name, part in model.parameter_parts().items()}
    assert parts["encoder"] == pytest.approx(42.5, abs=0.1)
    assert parts["decoder"] == pytest.approx(15.5, abs=0.3)


def test_weights_of_a_resnet_are_taken_and_others_refused(tmp_path: Path) -> None:
    ResNetBackbone(ResNetConfig.from_dict(TINY)).save_pretrained(tmp_path / "resnet")
    with pytest.raises(ValueError, match=r"not of deeplabv3-r50: their depths are \[1, 1, 2, 3\]"):
        creation.create("deeplabv3-r50", NAMES, str(tmp_path / "resnet"))
    stored = ResNetConfig.from_dict({**TINY, "depths": [3, 4, 6, 3], "hidden_sizes": [256, 512, 1024, 2048]})
    stored.embedding_size = 64
    resnet = ResNetBackbone(stored)
    resnet.save_pretrained(tmp_path / "r50")
    model = creation.create("deeplabv3-r50", NAMES, str(tmp_path / "r50"), 16)
    for name, value in resnet.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], value)


def test_it_has_no_attention_and_wants_more_than_one_image() -> None:
    with pytest.raises(ValueError, match=r"DeepLabV3 has no attention.*of features"):
        AttentionTransfer(weight=1.0).taps(segmenter())
    with pytest.raises(ValueError, match="one image at a time"):
        rehearse_batch(segmenter(), 1)


def test_it_learns_with_features_transferred(tmp_path: Path) -> None:
    checkpoint.save(segmenter(), tmp_path / "model")
    words = "train scenes --images 24 --data.image-size 32 --crop 32 --batch-size 6 --epochs 1 --epochs-later 1"
    model = ["--model.name", "auto", "--model.weights", str(tmp_path / "model")]
    transfer = ["--method.attention-transfer.of", "features"]
    assert main([*words.split(), *model, *transfer, "--out", str(tmp_path / "run")]) == 0
    assert RunFolder(tmp_path / "run").is_finished()
