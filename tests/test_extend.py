"""`sats extend`: models of every family, trained by anyone, learn new classes and stay plain Hugging Face folders."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForSemanticSegmentation,
    SegformerConfig,
    SegformerModel,
    ViTConfig,
    ViTForImageClassification,
    pipeline,
)

import sats
from conftest import TINY
from networks import NETWORKS, foreign
from sats.cli import main
from sats.commands.extend import begin
from sats.engine.log import Log
from sats.engine.run_folder import RunFolder
from sats.evaluation.scores import mean
from sats.evaluation.table import percent
from sats.models import checkpoint
from sats.report.html import make_report
from sats.types import IGNORE, NOT_LEARNED_YET
from test_engine import run, small

CITY = ("road", "car", "tree")
VOC = ("background", "car", "tree")
SMALL = ["--crop", "64", "--batch-size", "4", "--epochs-later", "1", "--train.workers", "0"]


def make_data(
    root: Path, classes: tuple[str, ...], images: int = 8, splits: tuple[str, ...] = ("train", "val")
) -> Path:
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


@pytest.mark.parametrize(("family", "classes"), [*((family, CITY) for family in NETWORKS), ("segformer", VOC)])
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


def extend(model: Path, data: Path, out: Path, *words: str) -> RunFolder:
    assert main(["extend", str(model), "--data", str(data), *SMALL, *words, "--out", str(out)]) == 0
    return RunFolder(out / "run")


ABLE = ("ewf", "finetune", "ilt", "lwf", "mib", "plop", "sats", "sats-plus")


@pytest.mark.parametrize("method", ABLE)
def test_every_method_that_needs_no_step_0_of_its_own_can(method: str, data: Path, tmp_path: Path) -> None:
    """Their losses stay small: none of them takes the virtual background's logit of -1e4 for a class."""
    model = foreign(tmp_path / "model", "segformer", CITY)
    folder = extend(model, data, tmp_path / "out", "--method", method, "--train.log-every", "1")
    lines = [json.loads(line) for line in folder.metrics_path.read_text().splitlines()]
    assert lines
    assert all(0 <= value < 300 for line in lines for value in line["losses"].values())
    before, after = folder.scores()
    assert before.classes == (NOT_LEARNED_YET, *CITY)
    assert after.classes == (*before.classes, "rickshaw", "cow")


@pytest.mark.parametrize("method", ["dft", "ewc", "joint", "lwf-mc", "pi", "rw", "ssul"])
def test_methods_that_need_a_step_0_of_their_own_say_so(
    method: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = foreign(tmp_path / "model", "segformer", VOC)
    words = ["extend", str(model), "--data", str(data), "--method", method, "--out", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"Method {method} needs a step 0 of its own" in error
    assert f"choose one of {', '.join(ABLE)}." in error
    assert not (tmp_path / "out").exists()


def test_old_classes_are_measured_on_old_data_and_new_ones_on_new(data: Path, tmp_path: Path) -> None:
    """Before and after, as transformers' own model predicts: old classes on the same pixels both times."""
    model = foreign(tmp_path / "model", "segformer", CITY)
    old = make_data(tmp_path / "old", ("nothing", *CITY))
    before, after = extend(model, data, tmp_path / "out", "--old-data", str(old)).scores()
    assert before.iou[NOT_LEARNED_YET] is after.iou[NOT_LEARNED_YET] is None
    new = pixels(tmp_path / "out", data, len(CITY))
    for scores, path in ((before, model), (after, tmp_path / "out")):
        seen = pixels(path, old, 0)
        for index, name in enumerate(CITY):
            assert scores.iou[name] == pytest.approx(iou(seen, index), abs=2e-3)
            assert scores.pixels[name] == (seen[0] == index).sum()
    for index, name in enumerate(("rickshaw", "cow"), len(CITY)):
        assert after.iou[name] == pytest.approx(iou(new, index), abs=2e-3)
        assert after.pixels[name] == (new[0] == index).sum()


def test_an_old_class_is_compared_where_no_new_one_is_labelled(data: Path, tmp_path: Path) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    before, after = extend(model, data, tmp_path / "out").scores()
    answers, found = (pixels(path, data, len(CITY)) for path in (model, tmp_path / "out"))
    compared = np.stack([answers[1], found[1]])[:, found[0] < 0]
    for index, name in enumerate(CITY):
        if before.iou[name] is not None:
            assert before.iou[name] == 1.0
            assert after.iou[name] == pytest.approx(iou(compared, index), abs=2e-3)


def test_agreement_with_the_old_model_is_not_taken_for_accuracy(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No mean mixes it with that of labelled classes; runs, report and repr say what it is, and where it is not one."""
    model = foreign(tmp_path / "model", "segformer", CITY)
    folder = extend(model, data, tmp_path / "out")
    for scores in folder.scores():
        assert scores.miou["all"] is scores.miou["avg"] is scores.miou["hiou"] is None
        assert scores.miou["old"] is not None
    assert "mIoU" not in repr(sats.Run(folder.path))
    assert "agreement, not accuracy" in sats.Run(folder.path)._repr_html_()
    capsys.readouterr()
    assert main(["runs", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    (row,) = [line.split("│") for line in table.split("\n") if "sats" in line]
    new = percent(folder.scores()[1].miou["new"])
    assert [text.strip() for text in row[3:-1]] == ["extended, no old data", "finished", "-", "-", new]
    assert "compared with the old model's answers" in table
    page = make_report([folder.path], tmp_path / "report.html", images=0).read_text(encoding="utf-8")
    assert "agreement, not accuracy" in page
    assert "agreement 100.0" in page
    assert "mIoU of all classes" not in page
    old = make_data(tmp_path / "old", ("nothing", *CITY))
    labelled = extend(model, data, tmp_path / "labelled", "--old-data", str(old))
    assert labelled.scores()[1].miou["all"] is not None
    page = make_report([labelled.path], tmp_path / "labelled.html", images=0).read_text(encoding="utf-8")
    assert "agreement, not accuracy" not in page
    assert "mIoU of all classes" in page


@pytest.mark.parametrize("classes", [CITY, VOC])
@pytest.mark.parametrize("with_old", [True, False])
def test_an_extended_model_is_measured_again_as_its_run_did(
    classes: tuple[str, ...], with_old: bool, data: Path, tmp_path: Path
) -> None:
    model = foreign(tmp_path / "model", "segformer", classes)
    names = classes if classes == VOC else ("nothing", *classes)
    more = ["--old-data", str(make_data(tmp_path / "old", names))] if with_old else []
    folder = extend(model, data, tmp_path / "out", *more)
    for step, path in enumerate((folder.path / "step-0", tmp_path / "out")):
        assert main(["evaluate", str(path), "--out", str(tmp_path / "scores.json")]) == 0
        found, expected = json.loads((tmp_path / "scores.json").read_text()), folder.scores()[step]
        assert (found["step"], found["iou"], found["pixels"]) == (step, expected.iou, expected.pixels)
        assert found["miou"] == expected.miou
    assert main(["evaluate", str(tmp_path / "out"), "--future", "ignore"]) == 2


def test_flags_that_an_extension_has_no_use_for_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    words = ["extend", str(model), "--data", str(data), "--out", str(tmp_path / "out")]
    for flag, value in (
        ("data.void", "background"),
        ("evaluation.future", "ignore"),
        ("evaluation.background", "ignore"),
    ):
        assert main([*words, f"--{flag}", value]) == 2
        assert f"leave out --{flag}." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rows_that_only_its_run_knows_are_left_out_and_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "run", small("dft"))
    extend(tmp_path / "run" / "step-0", data, tmp_path / "out", "--classes", "cow")
    assert "Its rows for classes that it has not learned are left out" in capsys.readouterr().out
    extend(tmp_path / "run", data, tmp_path / "other", "--classes", "cow")  # its last step has none left
    assert "Its rows for classes" not in capsys.readouterr().out


def test_a_model_without_background_is_measured_on_labelled_pixels_alone(tmp_path: Path) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    old = make_data(tmp_path / "old", ("nothing", *CITY))
    words = ["evaluate", str(model), "--data", str(old), "--out", str(tmp_path / "scores.json")]
    assert main(words) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["iou"][NOT_LEARNED_YET] is None
    seen = pixels(model, old, 0)
    expected = [iou(seen, index) for index in range(3)]
    assert [scores["iou"][name] for name in CITY] == pytest.approx(expected, abs=2e-3)


def pixels(model: Path, data: Path, first: int) -> np.ndarray:
    """Label and answer, as indices into the network's classes, of each pixel to count: [2, pixels].

    The data's class 1 is the network's ``first``; unlabelled pixels are -1, and left out of old data.
    """
    found = []
    for image in sorted((data / "images" / "val").iterdir()):
        mask = np.asarray(Image.open(data / "masks" / "val" / image.name)).astype(int)
        counted = (mask != IGNORE) & ((mask > 0) | (first > 0))
        labels = np.where(mask > 0, mask - 1 + first, -1)
        found.append(np.stack([labels[counted], answer(model, image)[counted]]))
    return np.hstack(found)


def iou(labels_and_answers: np.ndarray, index: int) -> float:
    is_class = labels_and_answers == index
    return float(is_class.all(axis=0).sum() / is_class.any(axis=0).sum())


@torch.inference_mode()
def answer(model: Path, image: Path) -> np.ndarray:
    """The class of each pixel, an index into the network's own, by transformers alone."""
    network = AutoModelForSemanticSegmentation.from_pretrained(model).eval()
    pixels = torch.from_numpy(np.asarray(Image.open(image)).copy()).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(c).view(1, 3, 1, 1) for c in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    logits = network((pixels - mean) / std).logits
    return torch.nn.functional.interpolate(logits, pixels.shape[2:], mode="bilinear").argmax(dim=1)[0].numpy()


def test_the_same_name_twice_is_refused_or_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    data = make_data(tmp_path / "data", ("background", "Car", "cow"))
    words = ["extend", str(model), "--data", str(data), *SMALL, "--out", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "labels Car, which" in error
    assert "--merge" in error
    assert "--classes cow" in error
    folder = extend(model, data, tmp_path / "out", "--merge")
    assert folder.scores()[1].classes == (NOT_LEARNED_YET, *CITY, "cow")
    assert folder.scores()[1].pixels["car"] > 0
    assert main(["extend", str(model), "--data", str(data), "--classes", "Car", "--out", str(tmp_path / "none")]) == 2
    assert "knows every class" in capsys.readouterr().err


def test_too_few_images_to_measure_on_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = foreign(tmp_path / "model", "segformer", VOC)
    data = make_data(tmp_path / "data", ("background", "cow"), images=4, splits=("train",))
    assert main(["extend", str(model), "--data", str(data), *SMALL, "--out", str(tmp_path / "out")]) == 2
    assert "bring at least 5" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_test_split_some_images_are_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = foreign(tmp_path / "model", "segformer", VOC)
    data = make_data(tmp_path / "data", ("background", "cow"), images=10, splits=("train",))
    folder = extend(model, data, tmp_path / "out")
    assert "one in 5 of its images is kept to measure on" in capsys.readouterr().out
    assert folder.steps()[1]["images"] == 8
    masks = sorted((data / "masks" / "train").iterdir())
    held_out = [np.asarray(Image.open(masks[place])) for place in (4, 9)]
    assert folder.scores()[1].pixels["cow"] == sum((mask == 1).sum() for mask in held_out)
    assert main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "There are no pictures" not in page
    assert all(f"train/{place}" in page for place in (4, 9))
    assert main(["export", str(tmp_path / "out"), "--int8", "--out", str(tmp_path / "model.onnx")]) == 0
    (row,) = [line for line in capsys.readouterr().out.split("\n") if "float32" in line]
    measured = mean(folder.scores()[1].iou.values())
    assert measured is not None
    assert float(row.split("│")[3]) == pytest.approx(100 * measured, abs=0.2)


def test_old_data_of_one_split_is_measured_on_whatever_its_name(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    old = make_data(tmp_path / "old", ("background", "Car"), images=3, splits=("train",))
    before, _ = extend(model, data, tmp_path / "out", "--old-data", str(old)).scores()
    assert f"{old} has no split 'val': old classes are measured on its split 'train'." in capsys.readouterr().out
    cars = sum((np.asarray(Image.open(mask)) == 1).sum() for mask in (old / "masks" / "train").iterdir())
    assert before.pixels["car"] == cars


def test_a_new_row_starts_as_the_mean_of_old_ones_by_the_teachers_predictions(data: Path, tmp_path: Path) -> None:
    """With a learning rate of 0 the saved rows are those that training started from."""
    model = foreign(tmp_path / "model", "segformer", CITY)
    extend(model, data, tmp_path / "out", "--lr", "0", "--classes", "cow")
    old, new = (
        AutoModelForSemanticSegmentation.from_pretrained(path).decode_head.classifier
        for path in (model, tmp_path / "out")
    )
    torch.testing.assert_close(new.weight[:3], old.weight, rtol=0, atol=0)
    row, rows = new.weight[3].flatten(), old.weight.flatten(1)
    shares = torch.linalg.lstsq(rows.T, row[:, None]).solution.flatten()
    torch.testing.assert_close(rows.T @ shares, row, rtol=1e-4, atol=1e-6)
    assert shares.min() > 0
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(new.bias[3], (shares * old.bias).sum(), rtol=1e-4, atol=1e-6)


def test_an_interrupted_extension_goes_on_to_the_same_end(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    extend(model, data, tmp_path / "whole", "--epochs", "3")
    moved = 0
    advance = Log.advance

    def interrupting(log: Log) -> None:
        nonlocal moved
        moved += 1
        advance(log)
        if moved == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Log, "advance", interrupting)
    out = tmp_path / "out"
    words = ["extend", str(model), "--data", str(data), *SMALL, "--epochs", "3", "--out", str(out)]
    assert main(words) == 130
    assert f"sats resume {out / 'run'}" in capsys.readouterr().err
    assert not (out / "config.json").exists()
    assert main(words) == 2
    assert f"`sats resume {out}`" in capsys.readouterr().err
    assert main(["resume", str(out)]) == 0
    assert "gained" in capsys.readouterr().out
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_is_assumed_of_a_checkpoint_is_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = foreign(tmp_path / "model", "beit", CITY, auxiliary=True)
    extend(model, data, tmp_path / "out")
    told = capsys.readouterr().out
    assert "no preprocessor: its images are normalised as other beit models' are" in told
    assert "auxiliary head" in told
    assert "its first class, 'road', is a class like others" in told
    settings = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert settings["image_mean"] == [0.5, 0.5, 0.5]
    extend(model, data, tmp_path / "as background", "--old-background", "yes")
    loaded = checkpoint.load(tmp_path / "as background")
    assert loaded.classes == (*CITY, "rickshaw", "cow")
    assert loaded.classifier.has_background


def encoder_alone(folder: Path) -> None:
    SegformerModel(SegformerConfig(**TINY)).save_pretrained(folder)


def image_classifier(folder: Path) -> None:
    settings = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    ViTForImageClassification(ViTConfig(**settings)).save_pretrained(folder)


def pickled(folder: Path) -> None:
    foreign(folder, "segformer", CITY)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (encoder_alone, "An encoder alone can't be extended"),
        (image_classifier, "is a vit model"),
        (pickled, "weights in safetensors"),
    ],
)
def test_what_is_no_model_to_extend_is_refused_in_one_sentence(
    make: Callable[[Path], None], sentence: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "model")
    capsys.readouterr()
    words = ["extend", str(tmp_path / "model"), "--data", str(data), *SMALL, "--out", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_rate_of_the_only_step_that_is_trained(data: Path, tmp_path: Path) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    for words, rate in ((["--lr", "1e-3"], 1e-3), (["--lr", "1e-3", "--lr-later", "1e-4"], 1e-4)):
        folder = begin([str(model), "--data", str(data), *words, "--out", str(tmp_path / str(rate))])
        assert folder.config().optim.lr_later == rate


def test_from_python(data: Path, tmp_path: Path) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    config = sats.extension(model, data, classes=["cow"])
    train = dataclasses.replace(config.train, crop=64, batch_size=4, epochs=1)
    made = sats.extend(dataclasses.replace(config, train=train), tmp_path / "out")
    assert [len(scores.classes) for scores in made.scores] == [4, 5]
    assert made.path == tmp_path / "out" / "run"
    assert sats.read_run(tmp_path / "out") == made
    assert made.picture(1).width > made.picture(1, steps=[1]).width
    assert sats.load(tmp_path / "out").classes == (NOT_LEARNED_YET, *CITY, "cow")


def test_a_refusal_after_the_model_was_read_leaves_nothing(data: Path, tmp_path: Path) -> None:
    foreign(tmp_path / "model", "segformer", CITY)
    words = ["extend", str(tmp_path / "model"), "--data", str(data), *SMALL, "--out", str(tmp_path / "out")]
    assert main([*words, "--method.attention-transfer.stages", "9"]) == 2
    assert not (tmp_path / "out").exists()
    assert main(words) == 0


def test_a_finished_run_whose_model_was_not_put_into_place_is_published_by_resume(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extend(foreign(tmp_path / "model", "segformer", CITY), data, out)
    weights = (out / "model.safetensors").read_bytes()
    for file in out.iterdir():
        if file.is_file():
            file.unlink()
    assert main(["resume", str(out)]) == 0
    assert (out / "model.safetensors").read_bytes() == weights
    assert main(["export", str(out), "--format", "hf", "--out", str(tmp_path / "hf")]) == 0
    assert not (tmp_path / "hf" / "run").exists()


def test_the_folder_here_may_be_the_data(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    monkeypatch.chdir(data)
    folder = begin([str(model), "--data", ".", *SMALL, "--out", str(tmp_path / "out")])
    assert folder.config().data.root == str(data)


@pytest.mark.parametrize(
    ("classes", "words", "sentence"),
    [
        (CITY, ["--method.init", "background"], "take teacher"),
        (("road", "car", "car"), [], "calls several classes 'car'"),
        (CITY, ["--old-data", "{data}"], "has none of the old classes"),
        (CITY, ["--old-data", "{data}/nowhere"], "is not a folder"),
        (CITY, ["--step", "{data}"], "leave out --step"),
        (CITY, ["--optim.factors.classifier", "3"], "say --optim.factors-later.* instead"),
        (CITY, ["--from", "{data}"], "leave it out"),
        (CITY, ["--protocol", "2-1"], "leave out what --stream.* says"),
        (CITY, ["--model.name", "deeplabv3-r50"], "leave out what --model.* says"),
        (CITY, ["--data.test-split", "vall"], "did you mean 'val'"),
    ],
)
def test_mistakes_are_one_sentence(
    classes: tuple[str, ...],
    words: list[str],
    sentence: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = foreign(tmp_path / "model", "segformer", classes)
    asked = [word.format(data=data) for word in words]
    assert main(["extend", str(model), "--data", str(data), *SMALL, *asked, "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("model", "folder", "sentence"),
    [
        ("nowhere", "data", "There is no folder nowhere, and a name on the hub looks like owner/model"),
        ("../no/where", "data", "There is no folder ../no/where"),
        ("model", "nowhere", "nowhere is not a folder: name the one that holds images/"),
    ],
)
def test_wrong_paths_are_one_sentence(
    model: str,
    folder: str,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    foreign(tmp_path / "model", "segformer", CITY)
    capsys.readouterr()
    assert main(["extend", model, "--data", folder, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_new_classes_that_differ_in_case_alone_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    data = make_data(tmp_path / "data", ("background", "Cow", "cow"))
    assert main(["extend", str(model), "--data", str(data), *SMALL, "--out", str(tmp_path / "out")]) == 2
    assert "differ only in case, 'cow'" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_extend_a_model_together(data: Path, tmp_path: Path) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "sats"]
    words = ["extend", str(model), "--data", str(data), *SMALL, "--out", str(tmp_path / "out")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*launcher, *words], env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert len(RunFolder(tmp_path / "out" / "run").scores()) == 2
    assert (tmp_path / "out" / "config.json").is_file()


def test_a_model_whose_logits_mean_something_else_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "train scenes --method ssul --images 16 --crop 32 --data.image-size 32 --batch-size 8 --epochs 1"
    assert main([*words.split(), "--out", str(tmp_path / "ssul")]) == 0
    assert main(["extend", str(tmp_path / "ssul"), "--data", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "was trained by ssul, whose logits are of another kind" in capsys.readouterr().err


def test_the_card_of_an_extension(data: Path, tmp_path: Path) -> None:
    model = foreign(tmp_path / "alice" / "model", "segformer", CITY)
    extend(model, data, tmp_path / "first", "--classes", "cow")
    card = (tmp_path / "first" / "README.md").read_text(encoding="utf-8")
    assert "# 4 classes, learned in 2 steps" in card
    assert "alice" not in card
    assert NOT_LEARNED_YET not in card
    assert "| 0 | road, car and tree | – |" in card  # noqa: RUF001 (the dash that is shown)
    assert "It extends model, whose terms apply to it." in card
    extend(tmp_path / "first", data, tmp_path / "second", "--classes", "rickshaw")
    assert "It extends first, whose terms" in (tmp_path / "second" / "README.md").read_text(encoding="utf-8")
