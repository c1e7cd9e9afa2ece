"""What is said where the names of data and model differ, before anybody trusts what was measured by them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from networks import foreign
from sats.cli import main
from sats.data.unmatched import unmatched
from test_extend import CITY, SMALL, make_data


@pytest.mark.parametrize(
    ("labelled", "known", "said"),
    [
        (["cat", "Dog"], ["dog", "CAT"], []),
        (["grean"], ["red", "green"], ["X labels grean, which the model does not know. (Is grean green?)"]),
        (["cat"], ["cat", "dog"], ["X does not label dog: not measured there."]),
        (["cat", "zebra"], ["cat"], ["X labels zebra, which the model does not know."]),
    ],
)
def test_names_that_one_side_lacks_are_said(labelled: list[str], known: list[str], said: list[str]) -> None:
    found = list(unmatched("X", labelled, known))
    assert [sentence for sentence in found if sentence in said] == said
    assert bool(found) == bool(said)


def test_an_extension_tells_of_old_data_whose_names_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = foreign(tmp_path / "model", "segformer", CITY)
    data = make_data(tmp_path / "data", ("nothing", "cow"))
    old = make_data(tmp_path / "old", ("background", CITY[0], f"{CITY[1]}s"))
    words = ["extend", str(model), "--data", str(data), "--old-data", str(old), *SMALL, "--out", str(tmp_path / "out")]
    assert main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"labels {CITY[1]}s, which the model does not know. (Is {CITY[1]}s {CITY[1]}?)" in said
    assert f"does not label {CITY[1]}" in said
    assert "Class 0 of" in said
    assert "nothing, is learned as a class: where it only means that nobody looked" in said
    assert f"Not in the second table, as no test pixel shows them: {CITY[1]} and {CITY[2]}." in said
    assert main(["evaluate", str(tmp_path / "out"), "--data", str(old)]) == 0
    assert f"labels {CITY[1]}s, which the model does not know" in " ".join(capsys.readouterr().out.split())


def test_a_class_without_a_pixel_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(tmp_path / "data", ("background", "cow"))
    (data / "classes.txt").write_text("background\ncow\nhorse\n")
    assert main(["data", "check", str(data)]) == 0
    assert "No image of any split holds horse" in capsys.readouterr().out


def test_a_palette_whose_colours_are_the_classes_is_pointed_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "data", ("background", "cow"), images=2)
    picture = Image.new("P", (80, 64), 15)
    picture.putpalette([0, 0, 0] * 15 + [255, 0, 0])
    picture.save(data / "masks" / "val" / "0.png")
    assert main(["data", "check", str(data)]) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "holds the id 15" in said
    assert "If its colours stand for classes, `sats data convert colours` makes masks of ids." in said


def test_going_on_without_a_run_and_one_folder_alone_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "data", ("background", "cow"), images=4)
    assert main(["train", "--step", str(data)]) == 2
    assert "Add --from RUN" in capsys.readouterr().err
    words = ["--model.name", "segformer-tiny", "--epochs", "1", "--batch-size", "2", "--crop", "32"]
    assert main(["train", "folder", "--step", str(data), *words, "--out", str(tmp_path / "run")]) == 0
    assert "to go on from a run instead, stop this and add --from RUN" in capsys.readouterr().out
