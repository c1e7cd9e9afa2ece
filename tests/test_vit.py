"""BEiT and DPT with heads of their own: the same as transformers', tapped, grown, saved."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn.functional import interpolate
from transformers import DPTForSemanticSegmentation

from networks import network
from sats import losses
from sats.engine.rehearsal import freeze_unused, rehearse_transfer
from sats.methods.attention_transfer import AttentionTransfer
from sats.models import checkpoint
from sats.models.segmenter import Segmenter
from sats.types import MEAN, STD, Step

NAMES = ("background", "a", "b")
FAMILIES = ("beit", "dpt")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_rows_are_those_of_eager_attention(family: str, images: torch.Tensor) -> None:
    plain = network(family, NAMES)
    plain.set_attn_implementation("eager")
    segmenter = Segmenter(network(family, NAMES), NAMES).eval()
    with torch.no_grad():
        expected = plain(pixel_values=images, output_attentions=True, output_hidden_states=True)
        found = segmenter(images, segmenter.default_taps)
    logits = found.logits
    if family == "dpt":  # transformers doubles the classifier's resolution
        logits = interpolate(logits, scale_factor=2, mode="bilinear", align_corners=True)
    torch.testing.assert_close(logits, expected.logits, rtol=1e-5, atol=1e-5)
    ends = (1, 2, 3, 4) if family == "beit" else (1, 2, 3, 5)
    assert len(found.attentions) == len(found.features) == 4
    for tap, feature, end in zip(found.attentions, found.features, ends, strict=True):
        torch.testing.assert_close(tap.rows(), expected.attentions[end - 1][:, :, 1:], rtol=1e-4, atol=1e-6)
        hidden = expected.hidden_states[end][:, 1:].transpose(1, 2).unflatten(2, (4, 4))
        torch.testing.assert_close(feature, hidden, rtol=1e-4, atol=1e-4)
        assert tap.grid == tap.key_grid == (4, 4)


@pytest.mark.parametrize("pooling", ["class", "global", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_transfer_and_its_gradient_equal_those_of_eager_maps(
    family: str, pooling: str, images: torch.Tensor
) -> None:
    plain, segmenter = network(family, NAMES), Segmenter(network(family, NAMES), NAMES).eval()
    plain.set_attn_implementation("eager")
    teacher = Segmenter(network(family, NAMES, seed=1), NAMES).eval()
    labels = torch.randint(0, 3, (2, 64, 64), generator=torch.Generator().manual_seed(1))
    taps = segmenter.default_taps
    with torch.no_grad():
        old = teacher(images, taps).attentions
    value = losses.attention_transfer(segmenter(images, taps).attentions, old, labels, pooling)
    value.backward()
    maps = plain(pixel_values=images, output_attentions=True).attentions
    full = [maps[end] for end in ((0, 1, 2, 3) if family == "beit" else (0, 1, 2, 4))]
    rows = [rows[:, :, 1:] for rows in full], [tap.rows() for tap in old]
    expected = losses.attention_transfer(*rows, labels, pooling, grids=[(4, 4)] * 4)
    expected.backward()
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-8)
    gradients = dict(segmenter.network.named_parameters())
    compared = 0
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None and parameter.grad.abs().sum() > 0:
            compared += 1
            torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=1e-3, atol=1e-7)
    assert compared > 20


@pytest.mark.parametrize("family", FAMILIES)
def test_images_need_not_be_square(family: str, tmp_path: Path) -> None:
    segmenter = Segmenter(network(family, NAMES), NAMES).eval()
    wide = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        output = segmenter(wide, segmenter.default_taps)
        tall = segmenter(wide.transpose(2, 3))
        again = segmenter(wide)
    assert output.logits.shape[-1] * 2 == output.logits.shape[-2] * 3
    assert tall.logits.shape[-2] * 2 == tall.logits.shape[-1] * 3
    torch.testing.assert_close(again.logits, output.logits, rtol=1e-5, atol=1e-6)
    assert {tap.grid for tap in output.attentions} == {(4, 6)}
    checkpoint.save(segmenter, tmp_path / "model")
    with torch.no_grad():
        loaded = checkpoint.load(tmp_path / "model").eval()(wide).logits
    torch.testing.assert_close(loaded, output.logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_growing_keeps_old_logits(family: str, images: torch.Tensor) -> None:
    segmenter = Segmenter(network(family, NAMES), NAMES).eval()
    before = segmenter(images).logits
    segmenter.grow(Step(1, 3, 2), ("c", "d"), "random")
    torch.testing.assert_close(segmenter(images).logits[:, :3], before, rtol=1e-6, atol=1e-6)


def test_blocks_that_the_head_does_not_read_are_not_tapped_and_do_not_learn() -> None:
    segmenter = Segmenter(network("beit", NAMES), NAMES)
    assert segmenter.default_taps[-1] == "beit.layers.3.attention"
    unread = freeze_unused(segmenter)
    assert any(name.startswith("network.beit.layers.4.") for name in unread)
    assert not any(name.startswith("network.beit.layers.3.") for name in unread)


def test_a_block_that_the_head_does_not_read_is_no_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Segmenter(network("beit", NAMES), NAMES)
    rehearse_transfer(segmenter, AttentionTransfer(weight=1.0))
    learned = [parameter.requires_grad for parameter in segmenter.parameters()]
    unread = dataclasses.replace(segmenter.family, attention_blocks=lambda _: (("beit.layers.4.attention",),))
    monkeypatch.setattr(segmenter, "family", unread)
    with pytest.raises(ValueError, match=r"depends on the attention of beit.layers.4.attention: choose other blocks"):
        rehearse_transfer(segmenter, AttentionTransfer(weight=1.0))
    assert [parameter.requires_grad for parameter in segmenter.parameters()] == learned


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_normalised_as_the_family_expects(family: str, images: torch.Tensor, tmp_path: Path) -> None:
    network(family, NAMES).save_pretrained(tmp_path / "model")
    segmenter = checkpoint.load(tmp_path / "model").eval()
    assert segmenter.preprocessing.mean == (0.5, 0.5, 0.5)
    mean, std = (torch.tensor(colour).view(1, 3, 1, 1) for colour in (MEAN, STD))
    pixels = images * std + mean
    plain = Segmenter(network(family, NAMES), NAMES).eval()
    with torch.no_grad():
        torch.testing.assert_close(segmenter(images).logits, plain((pixels - 0.5) / 0.5).logits, rtol=1e-4, atol=1e-4)
    checkpoint.save(segmenter, tmp_path / "again")
    assert checkpoint.load(tmp_path / "again").preprocessing == segmenter.preprocessing


def test_a_hybrid_dpt_is_refused() -> None:
    plain = network("dpt", NAMES)
    assert isinstance(plain, DPTForSemanticSegmentation)
    plain.config.is_hybrid = True
    with pytest.raises(ValueError, match="hybrid DPT"):
        Segmenter(plain, NAMES)
