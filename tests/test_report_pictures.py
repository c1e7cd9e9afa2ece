"""The pictures of a report: which images, what is drawn of them, what is said where something is missing."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import tiny_segmenter
from reports import groups_of, report, write_run
from sats.config import to_json
from sats.engine.run_folder import RunFolder
from sats.report import gallery
from sats.report.comparison import class_colours
from sats.report.gallery import choose
from sats.report.gather import gather
from sats.report.pictures import GAINED, LOST, RIGHT, STRONGEST, WRONG, changes, picture_size, shades


def test_images_are_chosen_to_show_many_classes() -> None:
    presence = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 0, 1], [1, 0, 1, 1, 0]], bool)
    assert choose(presence, 3) == [1, 4, 3]
    assert choose(presence, 9) == [1, 4, 3, 0, 2]
    film = np.ones((100, 4), dtype=bool)
    assert choose(film, 4) == [0, 7, 14, 21]


def test_pictures_are_of_a_modest_size() -> None:
    assert picture_size(64, 64) == (320, 320)
    assert picture_size(2000, 1000) == (320, 160)
    assert picture_size(200, 180) == (200, 180)
    assert picture_size(1, 5000) == (1, 320)


def test_truth_and_predictions_are_maps_in_the_classes_of_the_last_step(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    page = report(tmp_path, trained["sats"], images=2)
    drawn = [Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))) for link in page.links if link[0] == "d"]
    from sats.api import load
    from sats.engine.build import open_source

    source = open_source(RunFolder(trained["sats"]).config(), "val")
    index = choose(source.presence(), 2)[0]
    assert source.key(index) in page.text
    classes = len(np.setdiff1d(source.mask(index), [0, 255]))
    kinds = [picture.mode for picture in drawn]
    assert kinds[:6] == ["RGB", "RGB", "P", "P", "P", "P"]  # photo (as a background, too), truth, two steps, change
    assert kinds[6 : 6 + 2 * classes] == ["RGBA"] * 2 * classes
    enlarged = np.kron(source.mask(index), np.ones((10, 10))).astype(np.uint8)  # 32 pixels a side, to 320
    truth, before, after, change = (np.asarray(picture) for picture in drawn[2:6])
    assert np.array_equal(truth, enlarged)
    assert np.array_equal(after[::10, ::10], load(trained["sats"]).predict(source.image(index)).labels)
    assert np.array_equal(change, changes(truth, before, after))


def test_changes_are_told_against_the_truth() -> None:
    truth = np.array([[1, 1, 1, 1, 255]], np.uint8)
    before, after = np.array([[1, 1, 0, 2, 0]], np.uint8), np.array([[1, 3, 1, 3, 1]], np.uint8)
    assert changes(truth, before, after).tolist() == [[RIGHT, LOST, GAINED, WRONG, RIGHT]]


def test_attention_is_strongest_where_most_is_attended_to() -> None:
    maps = [np.array([[0.1, 0.4]], np.float32), np.array([[0.2, 0.2]], np.float32)]
    alphas = [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))[..., 3] for uri in shades(maps)]
    assert alphas[0][0, 1] == round(255 * STRONGEST)
    assert 0 == alphas[0][0, 0] < alphas[1][0, 0] == alphas[1][0, 1] < alphas[0][0, 1]


def test_attention_is_pooled_as_the_transfer_pools_it() -> None:
    from sats.evaluation.attend import class_attention
    from sats.evaluation.predict import Predictor

    model = tiny_segmenter((3,)).eval()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8))
    labels = np.zeros((64, 96), np.uint8)
    labels[:32, :48], labels[40:, 60:], labels[:4] = 1, 2, 255
    predictor = Predictor(model)
    found = class_attention(predictor, image, labels)
    assert sorted(found) == [1, 2]
    with torch.no_grad():
        taps = model(predictor.normalised(image), model.default_taps).attentions
    expected = np.zeros_like(found[1])
    for tap in taps:
        height, width = tap.grid
        region = labels[32 // height * 1 :: 64 // height, 48 // width :: 96 // width] == 1
        rows = tap.rows()[0].mean(dim=0).numpy()[region.ravel()].mean(axis=0)
        expected += rows.reshape(tap.key_grid) / len(taps)
    assert found[1] == pytest.approx(expected, abs=1e-6)


def test_several_runs_show_every_step_and_a_shared_step_0_once(
    trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = report(tmp_path, *trained.values(), images=2)
    rows = page.table("pictures")
    titles = ["sats and finetune, step 0", "sats, step 1", "finetune, step 1", "joint"]
    assert [row[0] for row in rows[1:]] == ["image", "ground truth", *titles]
    assert len([link for link in page.links if link.startswith("data:")]) == 2 * 6
    longer = write_run(tmp_path / "longer", groups_of(3, 1, 1))
    monkeypatch.setattr(gallery, "MOST_MODELS", 5)
    shown = [(run.name, step) for run, step in gallery.models_to_show(gather([trained["sats"], longer]))]
    assert shown == [("sats", 0), ("sats", 1), ("longer", 0), ("longer", 1), ("longer", 2)]
    monkeypatch.setattr(gallery, "MOST_MODELS", 4)
    shown = [(run.name, step) for run, step in gallery.models_to_show(gather([trained["sats"], longer]))]
    assert shown == [("sats", 0), ("sats", 1), ("longer", 0), ("longer", 2)]
    assert "only the first and the last step are shown" in report(tmp_path, trained["sats"], longer, images=1).text


def test_runs_without_weights_or_data_say_so(trained: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained["sats"], folder)
    shutil.rmtree(folder / "step-0" / "model")
    page = report(tmp_path, folder, images=1)
    assert "no predictions, of step 0." in page.text
    assert len(page.pictures("P")) == 2
    config = RunFolder(folder).config()
    gone = dataclasses.replace(config, data=dataclasses.replace(config.data, source="folder", root="/not/there"))
    (folder / "config.json").write_text(to_json(gone))
    page = report(tmp_path, folder, images=1)
    assert "There are no pictures" in page.text
    assert "/not/there is not a folder" in page.text


def test_class_colours_are_those_of_the_pictures(trained: dict[str, Path], tmp_path: Path) -> None:
    run = gather([trained["sats"]])[0]
    colours = class_colours([run])
    report(tmp_path, trained["sats"], images=2)
    text = (tmp_path / "report.html").read_text()
    found = re.findall(r'style="background:(#\w+)"></span><span>(\w+)</span>', text)
    assert {(colour, name) for name, colour in colours.items()} == set(found)
    assert len(re.findall(r'<li><span class="swatch" style="background:(#\w+)', text)) > 2
