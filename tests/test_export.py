"""Export: what onnxruntime computes is what torch does, for sizes nobody tried before; nothing wrong is kept."""

from __future__ import annotations

import errno
import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from transformers import AutoModelForSemanticSegmentation, Dinov2Config

from conftest import tiny_network, tiny_segmenter
from networks import foreign
from sats.cli import main
from sats.models import checkpoint, export
from sats.models.segmenter import Segmenter
from test_deeplab import segmenter as deeplab
from test_extend import make_data
from test_upernet import SWIN, VIT, network

NAMES = ("background", "<b>&", "naïve 🦊")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    checkpoint.save(Segmenter(tiny_network(3), NAMES), folder)
    return folder


@pytest.fixture(scope="module")
def exported(model: Path) -> Path:
    out = model.parent / "deep" / "model.onnx"
    assert main(["export", str(model), "--out", str(out)]) == 0
    return out


def largest_difference(file: Path, model: Path, *shape: int) -> float:
    """Between the logits of the two, relative to the largest."""
    images = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = AutoModelForSemanticSegmentation.from_pretrained(model).eval()(pixel_values=images).logits
    (found,) = onnxruntime.InferenceSession(file).run(["logits"], {"pixel_values": images.numpy()})
    assert found.shape == expected.shape
    return float((torch.from_numpy(found) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("shape", [(1, 3, 96, 128), (4, 3, 64, 160), (2, 3, 75, 201)])
def test_a_segformer_takes_any_batch_of_any_size(exported: Path, model: Path, shape: tuple[int, ...]) -> None:
    assert largest_difference(exported, model, *shape) < 1e-4


def test_8_bit_weights_are_smaller_and_their_price_is_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(model), "--int8", "--out", str(out / "model.onnx")]) == 2
    assert "On what data?" in capsys.readouterr().err
    data = make_data(tmp_path / "data", NAMES)
    assert main(["export", str(model), "--int8", "--data", str(data), "--out", str(out / "model.onnx")]) == 0
    rows = {
        line.split("│")[1].strip(): line.split("│")[2:4] for line in capsys.readouterr().out.split("\n") if "│" in line
    }
    assert float(rows["int8"][1]) == pytest.approx(float(rows["float32"][1]), abs=10)
    assert [path.name for path in out.iterdir()] == ["model.onnx"]
    stored = onnx.load(out / "model.onnx")
    assert any(weights.data_type == onnx.TensorProto.INT8 for weights in stored.graph.initializer)
    images = torch.randn(1, 3, 64, 96)
    (found,) = onnxruntime.InferenceSession(out / "model.onnx").run(["logits"], {"pixel_values": images.numpy()})
    assert found.shape == (1, len(NAMES), 16, 24)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--format", "hf", "--int8"], "--int8 and --size are for ONNX alone"),
        (["--format", "hf", "--size", "64", "96"], "--int8 and --size are for ONNX alone"),
        (["--data", "somewhere"], "--data and --split say what to measure --int8 on"),
        (["--format", "hf", "--split", "val"], "--data and --split say what to measure --int8 on"),
    ],
)
def test_flags_that_would_say_nothing_are_refused(
    flags: list[str], told: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(model), *flags, "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_file_is_whole_and_names_its_classes(exported: Path) -> None:
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]  # no weights beside it
    stored = onnx.load(exported)
    onnx.checker.check_model(stored)
    metadata = {entry.key: entry.value for entry in stored.metadata_props}
    assert json.loads(metadata["classes"]) == list(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["beit", "dpt", "upernet", "deeplab"])
def test_the_other_families_take_any_batch_of_any_size_too(family: str, tmp_path: Path) -> None:
    if family == "deeplab":
        checkpoint.save(deeplab(), tmp_path / "model")
    else:
        foreign(tmp_path / "model", family, NAMES)
    assert main(["export", str(tmp_path / "model"), "--out", str(tmp_path / "model.onnx")]) == 0
    sides = (
        [(64, 64), (160, 160)] if family == "dpt" else [(64, 160), (131, 90)]
    )  # transformers' DPT takes squares only
    for batch, (height, width) in enumerate(sides, start=1):
        assert largest_difference(tmp_path / "model.onnx", tmp_path / "model", batch, 3, height, width) < 1e-4


def test_what_exists_is_not_replaced(exported: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = exported.read_bytes()
    assert main(["export", str(model), "--out", str(exported)]) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert exported.read_bytes() == before


class OtherWeights:
    """An exporter's program whose weights are lost."""

    def __init__(self, file: Path) -> None:
        self.stored = onnx.load(file)
        self.model = SimpleNamespace(metadata_props={})

    def save(self, path: Path, external_data: bool) -> None:
        assert not external_data
        for weights in self.stored.graph.initializer:
            if weights.data_type == onnx.TensorProto.FLOAT:
                weights.raw_data = bytes(len(weights.raw_data))
        onnx.save(self.stored, path)


def test_a_file_that_computes_something_else_is_not_kept(
    exported: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "_traced", lambda *_, **__: OtherWeights(exported))
    assert main(["export", str(model), "--out", str(tmp_path / "model.onnx")]) == 1
    assert "does not compute what torch does" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_translated_is_one_sentence(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.onnx.OnnxExporterError("No translation of aten::strange.\nA long story.")

    monkeypatch.setattr(torch.onnx, "export", fail)
    assert main(["export", str(model), "--out", str(tmp_path / "model.onnx")]) == 1
    shown = capsys.readouterr().err
    assert "cannot be translated to ONNX (No translation of aten::strange.)" in shown
    assert "Traceback" not in shown
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "PACKAGES", ("onnx", "no_such_runtime"))
    assert main(["export", str(model), "--out", str(tmp_path / "model.onnx")]) == 2
    assert "needs more packages: pip install no_such_runtime" in capsys.readouterr().err


def test_a_plain_folder_has_nothing_of_ours(tmp_path: Path) -> None:
    segmenter = tiny_segmenter()
    segmenter.classifier.reserve(2)
    checkpoint.save(segmenter, tmp_path / "model")
    assert (tmp_path / "model" / checkpoint.RESERVED).is_file()
    assert main(["export", str(tmp_path / "model"), "--format", "hf", "--out", str(tmp_path / "model" / "in")]) == 2
    assert not (tmp_path / "model" / "in").exists()
    assert main(["export", str(tmp_path / "model"), "--format", "hf", "--out", str(tmp_path / "plain")]) == 0
    assert not (tmp_path / "plain" / checkpoint.RESERVED).exists()
    plain = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "plain")
    assert plain.config.num_labels == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "plain"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: str, target: str, **_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", source, None, target)

    monkeypatch.setattr(shutil, "copytree", partial(shutil.copytree, copy_function=full))
    assert main(["export", str(model), "--format", "hf", "--out", str(tmp_path / "plain")]) == 1
    shown = capsys.readouterr().err
    assert shown.count("No space left on device") == 1
    assert f"{tmp_path / 'plain'} cannot be written" in shown
    assert not list(tmp_path.iterdir())


def test_a_size_too_small_for_any_network_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(model), "--out", str(model.parent / "small.onnx"), "--size", "5", "90"]) == 2
    assert "at least 32 pixels, not 5 90" in capsys.readouterr().err


@pytest.mark.parametrize(("bins", "size"), [(1, (3, 4)), (3, (3, 5)), (6, (4, 2)), ((2, 5), (7, 11))])
def test_pooling_by_matrices_is_adaptive_pooling(bins: int | tuple[int, int], size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *size)
    torch.testing.assert_close(export.pooled(bins, maps), nn.functional.adaptive_avg_pool2d(maps, bins))


@pytest.mark.slow
def test_a_network_that_cannot_take_any_size_says_that_one_may_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network(SWIN).save_pretrained(tmp_path / "model")
    assert main(["export", str(tmp_path / "model"), "--out", str(tmp_path / "model.onnx")]) == 1
    assert "For images of one size it may: --size H W." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
def test_an_upernet_takes_any_batch_of_its_size(tmp_path: Path) -> None:
    config = Dinov2Config(**VIT, out_indices=[1, 2, 3, 4], reshape_hidden_states=True)
    checkpoint.save(Segmenter(network(config), NAMES), tmp_path / "model")
    out = tmp_path / "model.onnx"
    assert main(["export", str(tmp_path / "model"), "--out", str(out), "--size", "56", "84"]) == 0
    assert largest_difference(out, tmp_path / "model", 3, 3, 56, 84) < 1e-4
