"""New domains, same classes: which images a step sees, what a method learns from it, what a run says of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fakes import FakeSource, random_source
from sats import api
from sats.cli import main
from sats.config import RunConfig
from sats.config_checks import check
from sats.data.domains import domains_by_step
from sats.data.layouts import open_data
from sats.data.protocol import parse_protocol
from sats.data.stream import Stream, Test
from sats.engine import train as engine
from sats.engine.run import Run
from sats.engine.run_folder import RunFolder
from sats.methods import METHODS, Method
from sats.recipes import RECIPES, recipe
from sats.types import Step
from test_layouts import write

CITIES = ("aachen", "<b>ulm</b>", "zürich")
CLASSES = ("background", "rickshaw", "cow")
LEARNING = [name for name, method in METHODS.items() if not method.needs_new_classes]


@dataclasses.dataclass(frozen=True)
class Cities(FakeSource):
    """Every third image is of one city."""

    def key(self, index: int) -> str:
        return f"fake/{CITIES[index % 3]}/{index}"


def cities(images: int = 12) -> Cities:
    plain = random_source(4, images)
    return Cities(plain.masks, plain.classes)


def test_domains_are_the_folders_of_images_in_alphabetical_order() -> None:
    arriving = domains_by_step(cities(), "1-1")
    assert [arrival.domains for arrival in arriving] == [("<b>ulm</b>",), ("aachen",), ("zürich",)]
    assert [arrival.images.tolist() for arrival in arriving] == [[1, 4, 7, 10], [0, 3, 6, 9], [2, 5, 8, 11]]
    named = domains_by_step(cities(), "", steps=[["zürich"], ["aachen"]])
    assert [arrival.domains for arrival in named] == [("zürich",), ("aachen",)]
    with pytest.raises(ValueError, match="does not divide 3 domains into whole steps: 2 \\+ k x 2 must be 3"):
        domains_by_step(cities(), "2-2")
    with pytest.raises(ValueError, match="no domain 'zurich' in the data; did you mean 'zürich'"):
        domains_by_step(cities(), "", steps=[["zurich"], ["aachen"]])
    with pytest.raises(ValueError, match="not divided into domains"):
        domains_by_step(random_source(4, 12), "1-1")


def test_every_step_sees_all_labels_of_its_own_images() -> None:
    source = cities()
    stream = Stream(source, [Test(source)], domains_by_step(source, "1-2"))
    first, second = stream.steps
    assert (first.num_seen, second.num_new, second.num_seen) == (5, 0, 5)
    assert (stream.domains(second), stream.new_names(second)) == (("aachen", "zürich"), ())
    assert stream.names(second) == source.classes
    samples = stream.train_samples(second)
    assert samples.indices.tolist() == [0, 2, 3, 5, 6, 8, 9, 11]
    for position, index in enumerate(samples.indices.tolist()):
        np.testing.assert_array_equal(samples[position][1], source.mask(index))
    joint = Stream(source, [Test(source)], domains_by_step(source, "1-2"), all_at_once=True)
    assert joint.train_samples(joint.steps[0]).indices.tolist() == list(range(12))


def test_images_of_learned_domains_may_be_gone() -> None:
    source = cities()
    left = Cities(source.masks[:1], source.classes)  # of aachen alone
    arriving = domains_by_step(left, "2-1", [["zürich", "<b>ulm</b>"], ["aachen"]], learned=1)
    stream = Stream(left, [Test(left)], arriving, learned=1)
    assert stream.train_samples(stream.steps[1]).indices.tolist() == [0]
    with pytest.raises(ValueError, match="No training image for the step that brings zürich, <b>ulm</b>"):
        Stream(left, [Test(left)], arriving)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares in two colours, darker from city to city."""
    root = tmp_path_factory.mktemp("cities")
    rng = np.random.default_rng(0)
    for split, number in (("train", 4), ("val", 2)):
        for light, city in zip((250, 180, 120), ("aachen", "ulm", "zürich"), strict=True):
            for index in range(number):
                pixels, mask = rng.integers(0, 60, (64, 80, 3), dtype=np.uint8), np.zeros((64, 80), dtype=np.uint8)
                for kind in (1, 2):
                    top, left = int(rng.integers(0, 40)), int(rng.integers(0, 56))
                    pixels[top : top + 20, left : left + 20, kind] = light
                    mask[top : top + 20, left : left + 20] = kind
                for part, picture in (("images", pixels), ("masks", mask)):
                    (root / part / split / city).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(picture).save(root / part / split / city / f"{index}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


def run(data: Path, method: str, **memory: object) -> RunConfig[Method]:
    config = recipe("folder", method)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, root=str(data)),
        stream=dataclasses.replace(config.stream, of="domains", protocol="1-1"),
        model=dataclasses.replace(config.model, name="segformer-tiny"),
        train=dataclasses.replace(config.train, epochs=1, batch_size=2, crop=64, workers=0),
        memory=dataclasses.replace(config.memory, **memory),
    )


@pytest.mark.parametrize("method", ["sats", "plop", *(pytest.param(name, marks=pytest.mark.slow) for name in LEARNING)])
def test_every_method_that_can_learns_domains(method: str, data: Path, tmp_path: Path) -> None:
    scores = api.train(run(data, method), tmp_path / "run").scores
    folder = RunFolder(tmp_path / "run")
    if METHODS[method].data == "all":
        assert len(scores) == 1
        return
    assert len(scores) == 3
    assert all(after.classes == CLASSES and after.miou["new"] is None for after in scores)
    assert [step.get("domains") for step in folder.steps()] == [["aachen"], ["ulm"], ["zürich"]]
    before, after = (api.load(folder.step(index) / "model").model for index in (0, 2))
    assert before.classes == after.classes
    changed = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert any(changed)


def test_a_run_over_domains_resumes_without_the_old_images_keeps_exemplars_and_is_reported(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "data"
    shutil.copytree(data, own)
    api.train(run(own, "sats", size=3, copy=True), tmp_path / "whole")
    trained = engine.train_step

    def stops(run: Run, step: Step) -> None:
        if step.index == 2:
            raise KeyboardInterrupt
        trained(run, step)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(engine, "train_step", stops)
        with pytest.raises(KeyboardInterrupt):
            api.train(run(own, "sats", size=3, copy=True), tmp_path / "run")
    for part in ("images", "masks"):
        shutil.rmtree(own / part / "train" / "aachen")
        shutil.rmtree(own / part / "train" / "ulm")
    api.resume(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    models = [RunFolder(tmp_path / name).step(2) / "model" / "model.safetensors" for name in ("run", "whole")]
    assert models[0].read_bytes() == models[1].read_bytes()
    kept = json.loads(folder.memory_path.read_text())["steps"][-1]
    assert {exemplar["key"].split("/")[1] for exemplar in kept} <= {"aachen", "ulm", "zürich"}
    card = (folder.step(2) / "model" / "README.md").read_text(encoding="utf-8")
    assert "protocol 1-1 of domains" in card
    assert "| 2 | zürich | 4 |" in card
    assert main(["report", str(folder.path), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Learned 2 classes from aachen; then from ulm; then from zürich." in page
    assert main(["evaluate", str(folder.path), "--data", str(own)]) == 0
    capsys.readouterr()


def test_a_step_0_of_other_domains_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every step 0 knows all classes, whatever its images."""
    api.train(run(data, "finetune"), tmp_path / "first")
    config = dataclasses.replace(run(data, "finetune"), start_from=str(tmp_path / "first" / "step-0"))
    order = dataclasses.replace(config.stream, order=("ulm", "aachen", "zürich"))
    with pytest.raises(ValueError, match="has learned aachen in step 0; here that would be ulm: name the same domains"):
        api.train(dataclasses.replace(config, stream=order), tmp_path / "other")
    api.train(config, tmp_path / "same")
    assert RunFolder(tmp_path / "same").is_finished()
    assert "has seen" not in capsys.readouterr().err
    (tmp_path / "first" / "steps.json").unlink()  # then nobody knows
    api.train(config, tmp_path / "alone")


def test_a_step_0_of_the_same_domains_in_another_order_is_taken_over(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "data"
    shutil.copytree(data, own)
    config = run(own, "finetune")
    stream = dataclasses.replace(config.stream, protocol="", steps=(("aachen", "ulm"), ("zürich",)))
    api.train(dataclasses.replace(config, stream=stream), tmp_path / "first")
    (own / "images" / "train" / "ulm" / "0.png").unlink()
    (own / "masks" / "train" / "ulm" / "0.png").unlink()
    turned = dataclasses.replace(stream, steps=(("ulm", "aachen"), ("zürich",)))
    start = str(tmp_path / "first" / "step-0")
    api.train(dataclasses.replace(config, stream=turned, start_from=start), tmp_path / "second")
    assert "step-0 has seen 8 training images; of the data here it would see 7." in capsys.readouterr().err


def test_methods_that_learn_new_classes_only_are_refused(data: Path) -> None:
    for method in set(METHODS) - set(LEARNING):
        with pytest.raises(ValueError, match="has nothing to learn after it"):
            check(run(data, method))
    config = run(data, "sats")
    with pytest.raises(ValueError, match="leave out stream\\.setting"):
        check(dataclasses.replace(config, stream=dataclasses.replace(config.stream, setting="disjoint")))


@pytest.mark.filterwarnings("ignore:Cityscapes by city has")
def test_cityscapes_arrives_city_by_city(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The official train and val know different cities; here each city has images in both splits."""
    for split, names in (("train", ("ulm", "jena")), ("val", ("lindau",))):
        for city in names:
            for index in range(5):
                image = f"leftImg8bit/{split}/{{}}_leftImg8bit.png"
                write(
                    tmp_path, image, f"gtFine/{split}/{{}}_gtFine_labelIds.png", (7, 33, 0), (f"{city}/{city}_{index}",)
                )
    words = ["data", "check", str(tmp_path), "--source", "cityscapes-cities", "--of", "domains", "--protocol", "1-1"]
    assert main(words) == 0
    table = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.split("\n")]
    assert [row for row in table if len(row) == 3][-3:] == [["0", "jena", "4"], ["1", "lindau", "4"], ["2", "ulm", "4"]]
    source = open_data("cityscapes-cities", tmp_path, "val")
    assert [source.key(index) for index in range(len(source))] == [
        f"{split}/{city}/{city}_4" for split, city in (("train", "jena"), ("train", "ulm"), ("val", "lindau"))
    ]
    shutil.rmtree(tmp_path / "gtFine" / "train" / "jena")
    with pytest.raises(ValueError, match="5 images without a mask"):
        open_data("cityscapes-cities", tmp_path, "val")


def test_published_orders_of_cities_come_out_even() -> None:
    for protocol, steps in (("11-5", 3), ("11-1", 11), ("1-1", 21)):
        config = RECIPES[f"cityscapes-cities-{protocol}"](METHODS["plop"]())
        assert (config.stream.of, config.data.source, config.train.epochs) == ("domains", "cityscapes-cities", 50)
        assert len(parse_protocol(protocol, len(config.stream.order), "domains")) == steps
        assert len(set(config.stream.order)) == 21
    assert not any(name.startswith("cityscapes") and name.endswith("-m") for name in RECIPES)
