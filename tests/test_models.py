"""The segmenter against transformers' own model; the classifier that grows; folders in and out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    SegformerForSemanticSegmentation,
    SegformerModel,
    pipeline,
)

from conftest import tiny_network, tiny_segmenter
from sats.config import ModelConfig
from sats.models import checkpoint, creation
from sats.models.classifier import GrowingClassifier
from sats.models.deeplab import DEPTHS
from sats.models.preprocessing import Preprocessing
from sats.models.segformer import SIZES, segformer_config
from sats.models.segmenter import Segmenter
from sats.types import BACKGROUND, Step


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


# --- parity with transformers -----------------------------------------------------------------------------------------


def test_logits_and_tapped_rows_equal_transformers_under_eager_attention(images: torch.Tensor) -> None:
    reference = tiny_network(5).eval()
    reference.set_attn_implementation("eager")
    segmenter = Segmenter(tiny_network(5), ["background", "a", "b", "c", "d"]).eval()
    with torch.no_grad():
        expected = reference(pixel_values=images, output_attentions=True, output_hidden_states=True)
        actual = segmenter(images, segmenter.default_taps)
    torch.testing.assert_close(actual.logits, expected.logits, rtol=1e-5, atol=1e-6)
    last_blocks = [1, 2, 3, 4]  # depths (2, 1, 1, 1)
    for tap, block in zip(actual.attentions, last_blocks, strict=True):
        torch.testing.assert_close(tap.rows(), expected.attentions[block], rtol=1e-5, atol=1e-6)
    for feature, hidden in zip(actual.features, expected.hidden_states, strict=True):
        torch.testing.assert_close(feature, hidden, rtol=1e-5, atol=1e-6)
    assert [tap.grid for tap in actual.attentions] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_attention_gradients_equal_those_of_eager_attention(images: torch.Tensor) -> None:
    """A loss on tapped rows reaches the same weights by the same amount as one on transformers' own maps."""
    reference, segmenter = tiny_network(3), Segmenter(tiny_network(3), ["background", "a", "b"])
    reference.set_attn_implementation("eager")
    reference.eval()
    segmenter.eval()
    maps = reference(pixel_values=images, output_attentions=True).attentions
    (maps[1].square().sum() + maps[4].square().sum()).backward()
    taps = segmenter(images, segmenter.default_taps).attentions
    (taps[0].rows().square().sum() + taps[3].rows().square().sum()).backward()
    gradients = dict(segmenter.network.named_parameters())
    compared = 0
    for name, parameter in reference.named_parameters():
        if parameter.grad is not None:
            compared += 1
            torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=1e-4, atol=1e-7)
    assert compared > 50


def test_any_block_can_be_tapped_and_nothing_is_recorded_unasked(images: torch.Tensor) -> None:
    segmenter = tiny_segmenter()
    output = segmenter(images, ["segformer.stages.0.blocks.0.attention"])
    assert len(output.attentions) == 1
    assert segmenter(images).attentions == ()


def test_a_block_that_is_never_reached_raises(images: torch.Tensor) -> None:
    segmenter = tiny_segmenter()
    with pytest.raises(ValueError, match="no attention"):
        segmenter(images, ["segformer.stages.0.blocks.0.attention.q_proj"])


def test_attention_that_bypasses_the_interface_raises(images: torch.Tensor) -> None:
    segmenter = tiny_segmenter()
    segmenter.network.set_attn_implementation("eager")
    with pytest.raises(ValueError, match="AttentionInterface"):
        segmenter(images, segmenter.default_taps)


@pytest.mark.parametrize("size", [name for name in SIZES if name != "segformer-tiny"])
def test_sizes_are_those_of_the_paper(size: str) -> None:
    """Million parameters with 150 classes, table 6 of Xie et al. 2021 (B5's head included)."""
    published = {"b0": 3.8, "b1": 13.7, "b2": 27.5, "b3": 47.3, "b4": 64.1, "b5": 84.7}
    config = segformer_config(size)
    config.num_labels = 150
    with torch.device("meta"):
        network = AutoModelForSemanticSegmentation.from_config(config)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions == pytest.approx(published[size[-2:]], rel=0.02)


# --- growing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["background", "random", "zero"])
def test_old_parameters_stay_bit_for_bit(init: str) -> None:
    segmenter = tiny_segmenter((3,))
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    segmenter.grow(Step(1, 3, 2), ["x", "y"], init)
    after = segmenter.state_dict()
    for name, value in before.items():
        same = torch.equal(after[name], value)
        if init == "background" and name.endswith("classifier.biases.0"):
            assert torch.equal(after[name][1:], value[1:])
            assert not same
        else:
            assert same, name
    assert segmenter.classes == ("background", "class 1", "class 2", "x", "y")
    assert segmenter.classifier.groups == (3, 2)


@pytest.mark.parametrize("init", ["random", "zero", "background"])
def test_old_logits_stay(init: str, images: torch.Tensor) -> None:
    segmenter = tiny_segmenter((4,)).eval()
    with torch.no_grad():
        before = segmenter(images).logits
        segmenter.grow(Step(1, 4, 2), ["x", "y"], init)
        after = segmenter(images).logits
    kept = slice(1, 4) if init == "background" else slice(0, 4)
    torch.testing.assert_close(after[:, kept], before[:, kept], rtol=1e-6, atol=1e-6)


def test_background_init_shares_the_backgrounds_probability(images: torch.Tensor) -> None:
    """MiB, eq. 8-9: background and the new classes each get an equal share of what background had."""
    segmenter = tiny_segmenter((4,)).eval()
    with torch.no_grad():
        before = segmenter(images).logits.softmax(1)
        segmenter.grow(Step(1, 4, 2), ["x", "y"], "background")
        after = segmenter(images).logits.softmax(1)
    for channel in (BACKGROUND, 4, 5):
        torch.testing.assert_close(after[:, channel], before[:, BACKGROUND] / 3, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(after[:, 1:4], before[:, 1:4], rtol=1e-4, atol=1e-6)


def test_background_init_is_mibs_formula() -> None:
    classifier = GrowingClassifier(8, (3,))
    weight, bias = classifier.weights[0].clone(), classifier.biases[0].clone()
    classifier.grow(Step(1, 3, 5), "background")
    for row in range(5):
        assert torch.equal(classifier.weights[1][row], weight[BACKGROUND])
    expected = bias[BACKGROUND] - math.log(6)
    torch.testing.assert_close(classifier.biases[1], expected.expand(5))
    torch.testing.assert_close(classifier.biases[0][BACKGROUND], expected)


def test_zero_init_is_zero_and_random_init_depends_on_the_seed() -> None:
    def grown(init: str, seed: int) -> torch.Tensor:
        classifier = GrowingClassifier(8, (3,))
        torch.manual_seed(seed)
        classifier.grow(Step(1, 3, 2), init)
        return classifier.weights[1].detach()

    assert not grown("zero", 0).any()
    assert torch.equal(grown("random", 1), grown("random", 1))
    assert not torch.equal(grown("random", 1), grown("random", 2))


def test_growing_at_the_wrong_time_is_refused() -> None:
    with pytest.raises(ValueError, match="3 channels"):
        GrowingClassifier(8, (3,)).grow(Step(1, 4, 1), "zero")
    with pytest.raises(ValueError, match="names"):
        tiny_segmenter((3,)).grow(Step(1, 3, 2), ["only one"], "zero")


def test_a_frozen_copy_is_independent(images: torch.Tensor) -> None:
    segmenter = tiny_segmenter((3,))
    teacher = segmenter.frozen_copy()
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in segmenter.parameters())
    with torch.no_grad():
        for parameter in segmenter.parameters():
            parameter.zero_()
        assert teacher(images).logits.any()


def test_parts_hold_every_parameter_once() -> None:
    segmenter = tiny_segmenter((3, 2))
    parts = segmenter.parameter_parts()
    found = [id(parameter) for part in parts.values() for parameter in part]
    assert sorted(found) == sorted(id(parameter) for parameter in segmenter.parameters())
    assert {id(p) for p in parts["classifier"]} == {id(p) for p in segmenter.classifier.parameters()}
    assert parts["encoder"]
    assert parts["decoder"]


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_saved_folder_is_plain_hugging_face(tmp_path: Path, images: torch.Tensor) -> None:
    segmenter = tiny_segmenter((3, 2)).eval()
    checkpoint.save(segmenter, tmp_path / "model")
    plain = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        expected = segmenter(images).logits
        torch.testing.assert_close(plain(pixel_values=images).logits, expected, rtol=1e-5, atol=1e-6)
    assert plain.config.num_labels == 5
    assert plain.config.id2label == dict(enumerate(segmenter.classes))
    assert AutoImageProcessor.from_pretrained(tmp_path / "model") is not None
    assert segmenter.classifier.groups == (3, 2)  # saving leaves the segmenter as it was


def test_a_saved_folder_works_in_a_pipeline(tmp_path: Path) -> None:
    segmenter = tiny_segmenter((3,))
    checkpoint.save(segmenter, tmp_path / "model")
    answers = pipeline("image-segmentation", model=str(tmp_path / "model"))(Image.new("RGB", (70, 50)))
    assert {answer["label"] for answer in answers} <= {"background", "class 1", "class 2"}
    assert all(answer["mask"].size == (70, 50) for answer in answers)


def test_the_preprocessor_resizes_as_training_did(tmp_path: Path) -> None:
    checkpoint.save(tiny_segmenter((3,)), tmp_path / "model", resize=32)
    processor = AutoImageProcessor.from_pretrained(tmp_path / "model")
    pixels = processor(Image.new("RGB", (100, 50)), return_tensors="pt")["pixel_values"]
    assert pixels.shape[-2:] == (32, 64)


def test_loading_gives_the_same_model_in_the_same_groups(tmp_path: Path) -> None:
    segmenter = tiny_segmenter((3, 2))
    checkpoint.save(segmenter, tmp_path / "model")
    loaded = checkpoint.load(tmp_path / "model", (3, 2))
    assert loaded.classes == segmenter.classes
    assert loaded.classifier.groups == (3, 2)
    stored = loaded.state_dict()
    assert all(torch.equal(stored[name], value) for name, value in segmenter.state_dict().items())
    assert checkpoint.load(tmp_path / "model").classifier.groups == (5,)


def test_saving_replaces_a_folder(tmp_path: Path) -> None:
    for classes in ((3,), (4,)):
        checkpoint.save(tiny_segmenter(classes), tmp_path / "model")
    assert len(checkpoint.load(tmp_path / "model").classes) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_names_are_read_without_blanks_around_them(tmp_path: Path) -> None:
    """As classes.txt is: else no file could name the class."""
    checkpoint.save(tiny_segmenter((3,)), tmp_path / "model")
    rename(tmp_path / "model", ["background", " bed ", "wall"])
    assert checkpoint.load(tmp_path / "model").classes == ("background", "bed", "wall")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["background", "bed", "bed "], "model calls several classes 'bed': fix id2label"),
        ([f"class {index}" for index in range(255)], "knows 255 classes, and a mask of 8 bits has room for 254"),
    ],
)
def test_classes_that_a_mask_cannot_tell_apart_are_refused(names: list[str], message: str, tmp_path: Path) -> None:
    checkpoint.save(tiny_segmenter((len(names),)), tmp_path / "model")
    rename(tmp_path / "model", names)
    with pytest.raises(ValueError, match=message):
        checkpoint.load(tmp_path / "model")


def rename(model: Path, names: list[str]) -> None:
    """Give the classes of the model in a folder other names."""
    config = json.loads((model / "config.json").read_text())
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    config.pop("has_background")
    (model / "config.json").write_text(json.dumps({**config, **labels}))


def test_what_is_no_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json"):
        checkpoint.load(tmp_path)
    with pytest.raises(ValueError, match=r"config\.json"):
        creation.create("segformer-tiny", ["background", "a"], weights=str(tmp_path))
    with pytest.raises(ValueError, match="hub"):
        creation.create("segformer-tiny", ["background", "a"], weights="nobody/no-such-model")
    with pytest.raises(ValueError, match="segformer-b9"):
        creation.create("segformer-b9", ["background", "a"])


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tiny_segmenter((3,)), tmp_path / "model")
    with pytest.raises(ValueError, match=r"--model\.name"):
        creation.create("segformer-b0", ["background", "a"], weights=str(tmp_path / "model"))


def test_an_encoder_alone_will_do(tmp_path: Path) -> None:
    torch.manual_seed(3)
    encoder = SegformerModel(segformer_config("segformer-tiny")).half()
    encoder.save_pretrained(tmp_path / "encoder")
    segmenter = creation.create("segformer-tiny", ["background", "a"], weights=str(tmp_path / "encoder"))
    stored = dict(segmenter.network.segformer.named_parameters())
    for name, parameter in encoder.named_parameters():
        assert torch.equal(stored[name], parameter.float()), name
    assert {parameter.dtype for parameter in segmenter.parameters()} == {torch.float32}


@pytest.mark.parametrize("size", ["segformer-tiny", "auto"])
def test_images_are_normalised_as_the_weights_want_it(size: str, tmp_path: Path) -> None:
    halves = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    network = SegformerForSemanticSegmentation(segformer_config("segformer-tiny"))
    checkpoint.save(Segmenter(network, ["a", "b"], preprocessing=halves), tmp_path / "weights")
    segmenter = creation.create(size, ["background", "a"], weights=str(tmp_path / "weights"))
    assert (segmenter.preprocessing.mean, segmenter.preprocessing.std) == (halves.mean, halves.std)


def test_a_whole_segformer_gives_encoder_and_decoder(tmp_path: Path) -> None:
    original = creation.create("segformer-tiny", ["background", "a", "b"], decoder_size=32)
    checkpoint.save(original, tmp_path / "model")
    segmenter = creation.create("segformer-tiny", ["background", "x"], weights=str(tmp_path / "model"))
    for part in ("encoder", "decoder"):
        for new, old in zip(segmenter.parameter_parts()[part], original.parameter_parts()[part], strict=True):
            assert torch.equal(new, old)
    assert segmenter.classes == ("background", "x")


def test_the_shared_encoder_loads(shared: Path) -> None:
    weights = shared / "weights" / "mit-b0-distilled"
    segmenter = creation.create("segformer-b0", ["background", "a"], weights=str(weights))
    plain = SegformerModel.from_pretrained(weights, dtype=torch.float32)
    stored = dict(segmenter.network.segformer.named_parameters())
    assert all(torch.equal(stored[name], value) for name, value in plain.named_parameters())


def test_weights_that_leave_the_encoder_at_random_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(3)
    SegformerModel(segformer_config("segformer-tiny")).save_pretrained(tmp_path / "encoder")
    stored = load_file(tmp_path / "encoder" / "model.safetensors")
    renamed = {f"backbone.{name}" if "0" in name else name: value for name, value in stored.items()}
    save_file(renamed, tmp_path / "encoder" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack .* parameters of the encoder"):
        creation.create("segformer-tiny", ["background", "a"], weights=str(tmp_path / "encoder"))


@pytest.mark.parametrize("damage", ["truncated", "missing", "pickled"])
def test_broken_weights_are_refused_in_one_sentence(tmp_path: Path, damage: str) -> None:
    checkpoint.save(creation.create("segformer-tiny", ["background", "a"]), tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    if damage == "truncated":
        weights.write_bytes(data[: len(data) // 2])
    if damage == "pickled":
        torch.save({}, tmp_path / "model" / "pytorch_model.bin")
    for read in (checkpoint.load, lambda path: creation.create("segformer-tiny", ["background"], str(path))):
        with pytest.raises(ValueError, match="cannot be read"):
            read(tmp_path / "model")


def test_the_sizes_on_the_command_line_are_those_there_are() -> None:
    expected = ("segformer-tiny", *[n for n in SIZES if n[-2] == "b"], *DEPTHS, creation.AUTO)
    assert get_args(get_type_hints(ModelConfig)["name"]) == expected


# --- reserved rows ----------------------------------------------------------------------------------------------------


def test_reserved_rows_come_after_the_classes_and_change_nothing_of_them() -> None:
    segmenter = tiny_segmenter((3,)).eval()
    images = torch.randn(1, 3, 64, 64)
    before = segmenter(images).logits
    segmenter.classifier.reserve(2)
    after = segmenter(images).logits
    assert after.shape[1] == 5
    torch.testing.assert_close(after[:, :3], before)
    kept = segmenter.classifier.reserved_weight[1:].clone()
    segmenter.classifier.reserve(1)
    assert torch.equal(segmenter.classifier.reserved_weight, kept)
    segmenter.classifier.reserve(0)
    assert segmenter(images).logits.shape[1] == 3


def test_new_rows_start_from_reserved_ones_the_last_again_where_there_are_fewer() -> None:
    classifier = tiny_segmenter((3,)).classifier
    with pytest.raises(ValueError, match="this model has none"):
        classifier.grow(Step(1, 3, 3), "reserved")
    classifier.reserve(2)
    classifier.grow(Step(1, 3, 3), "reserved")
    assert torch.equal(classifier.weights[1], classifier.reserved_weight[[0, 1, 1]])
    assert torch.equal(classifier.biases[1], classifier.reserved_bias[[0, 1, 1]])


def test_reserved_rows_are_saved_beside_a_plain_model(tmp_path: Path) -> None:
    segmenter = tiny_segmenter((3,)).eval()
    segmenter.classifier.reserve(2)
    checkpoint.save(segmenter, tmp_path / "model")
    images = torch.randn(1, 3, 64, 64)
    loaded = checkpoint.load(tmp_path / "model").eval()
    assert torch.equal(loaded(images).logits, segmenter(images).logits)
    plain = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "model")
    assert plain.config.num_labels == 3
    torch.testing.assert_close(plain(images).logits, segmenter(images).logits[:, :3])
    segmenter.classifier.reserve(0)
    checkpoint.save(segmenter, tmp_path / "model")
    assert checkpoint.load(tmp_path / "model").classifier.reserved == 0


def test_keys_lie_on_the_reduced_grid() -> None:
    segmenter = tiny_segmenter((3,))
    for tap in segmenter(torch.randn(1, 3, 96, 64), segmenter.default_taps).attentions:
        assert tap.key_grid is not None
        assert tap.key_grid[0] * tap.key_grid[1] == tap.key.shape[2]


def test_another_classifier_for_a_while() -> None:
    segmenter = tiny_segmenter((3,)).eval()
    images = torch.randn(1, 3, 64, 64)
    before = segmenter(images).logits
    with segmenter.other_classifier(torch.nn.Conv2d(16, 7, 1)):
        assert segmenter(images).logits.shape[1] == 7
    assert torch.equal(segmenter(images).logits, before)
