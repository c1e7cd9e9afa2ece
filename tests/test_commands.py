"""The other commands, used as their users would: evaluate, predict, data check, runs, resume."""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.table import Table

import sats
from sats.cli import COMMANDS, main
from sats.config import EvaluationConfig, StreamConfig
from sats.data.index import read_image
from sats.engine.run_folder import RunFolder, create_run, find_model, open_run, run_of
from sats.evaluation.overlay import index_image, overlay, palette
from sats.evaluation.table import show
from sats.types import IGNORE
from test_engine import run, small


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "runs" / "one"
    run(folder, small("sats"))
    return folder


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder of data that knows two of the scenes' digits and a class of its own."""
    rng = np.random.default_rng(0)
    for index in range(3):
        mask = np.kron(rng.integers(0, 4, (4, 4)), np.ones((8, 8))).astype(np.uint8)
        for kind, picture in (("images", np.repeat(mask[..., None] * 60, 3, 2)), ("masks", mask)):
            path = tmp_path / "digits" / kind / "val" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    (tmp_path / "digits" / "classes.txt").write_text("background\nthree\nten\nseven\n")
    return tmp_path / "digits"


# --- evaluate ---------------------------------------------------------------------------------------------------------


def test_evaluating_a_run_gives_its_own_scores_again(finished: Path, tmp_path: Path) -> None:
    answers = []
    for name in ("first.json", "second.json"):
        assert main(["evaluate", str(finished), "--out", str(tmp_path / name)]) == 0
        answers.append((tmp_path / name).read_bytes())
    assert answers[0] == answers[1]
    assert sats.evaluate(finished).to_json() == answers[0].decode()
    measured, stored = json.loads(answers[0]), RunFolder(finished).scores()[-1]
    assert measured["iou"] == stored.iou
    assert measured["miou"]["old"] == stored.miou["old"]
    assert measured["miou"]["new"] == stored.miou["new"]


@pytest.mark.parametrize("method", ["joint", "finetune"])
def test_a_run_is_measured_as_it_measured_itself(method: str, tmp_path: Path) -> None:
    """Joint training has old and new classes by the protocol; cut and ignored pixels are those of the settings."""
    config = small(method, evaluation=EvaluationConfig(mode="crop", future="ignore", batch_size=4))
    config = dataclasses.replace(config, stream=StreamConfig(protocol="4-3"))
    run(tmp_path / "run", config)
    for stored in RunFolder(tmp_path / "run").scores():
        step, out = tmp_path / "run" / f"step-{stored.step}", tmp_path / "scores.json"
        assert main(["evaluate", str(step), "--out", str(out)]) == 0
        measured = json.loads(out.read_text())
        assert measured["iou"] == stored.iou
        assert measured["step"] == stored.step
        names = ("all", "old", "old_without_background", "new", "hiou")
        assert [measured["miou"][name] for name in names] == [stored.miou[name] for name in names]


def test_listing_runs_writes_nothing(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "runs" / "cut")
    shutil.rmtree(tmp_path / "runs" / "cut" / "step-1")
    (tmp_path / "runs" / "cut" / ".lock").unlink(missing_ok=True)
    before = sorted(path.name for path in (tmp_path / "runs" / "cut").iterdir())
    assert RunFolder(tmp_path / "runs" / "cut").state() == "interrupted, 1 of 2 steps"
    assert sorted(path.name for path in (tmp_path / "runs" / "cut").iterdir()) == before
    (tmp_path / "runs" / "cut" / ".owner").write_text(f"process {2**22 + 7} on {platform.node()}\n")  # no such process
    assert RunFolder(tmp_path / "runs" / "cut").state().startswith("interrupted")


def test_evaluating_a_run_that_leaves_classes_out_gives_its_own_scores_again(tmp_path: Path) -> None:
    """Their pixels are background; only those of later steps are left out."""
    stream = StreamConfig(steps=(("one", "two"), ("three",)))
    run(tmp_path / "run", small(stream=stream, evaluation=EvaluationConfig(future="ignore")))
    for step in (0, 1):
        out = tmp_path / f"{step}.json"
        assert main(["evaluate", str(tmp_path / "run" / f"step-{step}"), "--out", str(out)]) == 0
        assert json.loads(out.read_text())["iou"] == RunFolder(tmp_path / "run").scores()[step].iou
        words = ["evaluate", str(tmp_path / "run" / f"step-{step}"), "--split", "val", "--out", str(out)]
        assert main(words) == 0  # by name, its own test split
        assert json.loads(out.read_text())["iou"] == RunFolder(tmp_path / "run").scores()[step].iou
    (tmp_path / "run" / "steps.json").unlink()
    assert main(words) == 0
    assert json.loads(out.read_text())["iou"] == RunFolder(tmp_path / "run").scores()[1].iou


def test_evaluating_other_data_matches_classes_by_name(
    finished: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.json"
    model = str(finished / "step-1" / "model")
    assert main(["evaluate", model, "--data", str(digits), "--out", str(out)]) == 0
    scores = json.loads(out.read_text())
    masks = [np.asarray(Image.open(path)) for path in (digits / "masks" / "val").iterdir()]
    assert scores["pixels"]["three"] == sum(int((mask == 1).sum()) for mask in masks)
    assert scores["pixels"]["seven"] == sum(int((mask == 3).sum()) for mask in masks)
    assert scores["pixels"]["background"] == sum(int(np.isin(mask, (0, 2)).sum()) for mask in masks)
    assert scores["iou"]["four"] is None
    assert "9 of 11 classes" not in capsys.readouterr().err
    assert main(["evaluate", model, "--data", str(digits), "--out", str(out), "--future", "ignore"]) == 0
    scores = json.loads(out.read_text())
    assert scores["pixels"]["background"] == sum(int((mask == 0).sum()) for mask in masks)


def test_evaluating_crops_differs_from_whole_images(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    assert main(["evaluate", str(finished / "step-0"), "--crop", "48", "--out", str(out)]) == 0
    assert sum(json.loads(out.read_text())["pixels"].values()) == 5 * 48 * 48


def test_the_place_for_the_scores_is_made_before_anything_is_measured(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "scores.json"
    assert main(["evaluate", str(finished), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["step"] == 1
    monkeypatch.setattr("sats.api.evaluate", None)
    assert main(["evaluate", str(finished), "--out", str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder: name the file to write" in capsys.readouterr().err
    assert main(["evaluate", str(finished), "--out", str(out / "scores.json")]) == 1
    assert "scores.json: " in capsys.readouterr().err


# --- predict ----------------------------------------------------------------------------------------------------------


def picture(path: Path, size: tuple[int, int] = (50, 30), mode: str = "RGB", orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.convert(mode).save(path, exif=exif)
    return path


def test_predicting_a_folder_of_anything(finished: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    picture(source / "plain.jpg")
    picture(source / "grey.png", mode="L", size=(1, 1))
    picture(source / "deep" / "alpha.png", mode="RGBA", size=(64, 200))
    picture(source / "turned.jpg", orientation=6)
    (source / "notes.txt").write_text("no image")
    assert main(["predict", str(finished), str(source), "--out", str(out), "--probabilities"]) == 0
    sizes = {"plain": (50, 30), "grey": (1, 1), "deep/alpha": (64, 200), "turned": (30, 50)}
    assert len([path for path in out.rglob("*") if path.is_file()]) == 1 + 3 * len(sizes)
    for name, size in sizes.items():
        with Image.open(out / f"{name}.png") as labels, Image.open(out / f"{name}-overlay.png") as shown:
            assert labels.mode == "P"
            assert labels.size == shown.size == size
            found = np.asarray(labels)
        with np.load(out / f"{name}.npz") as stored:
            probabilities, classes = stored["probabilities"], stored["classes"]
        assert probabilities.shape == (11, size[1], size[0])
        assert list(classes[:2]) == ["background", "zero"]
        agree = probabilities.argmax(0) == found
        assert agree.mean() > 0.99  # float16 may tie
    assert tuple((out / "classes.txt").read_text().splitlines()) == sats.load(finished).classes


def test_predicting_says_what_the_masks_hold(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A later step may go on with the names, or an earlier one be of fewer; another data set's are another's."""
    image, out = picture(tmp_path / "photo.jpg"), tmp_path / "out"
    classes = sats.load(finished).classes
    for step in (0, 1, 0):
        assert main(["predict", str(finished / f"step-{step}"), str(image), "--out", str(out)]) == 0
        told = capsys.readouterr().out
        with Image.open(out / "photo.png") as labels:
            found, pixels = np.unique(np.asarray(labels), return_counts=True)
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in told.splitlines() if line.startswith("│")]
        shares = {str(index): f"{100 * number / pixels.sum():.1f}" for index, number in zip(found, pixels, strict=True)}
        assert {row[0]: row[2] for row in rows} == shares
        assert {row[1] for row in rows} == {classes[index] for index in found}
    assert tuple((out / "classes.txt").read_text().splitlines()) == classes
    (out / "classes.txt").write_text("background\r\nhorse\r\n")
    masks = (out / "photo.png").read_bytes()
    assert main(["predict", str(finished), str(image), "--out", str(out)]) == 2
    assert "classes.txt calls class 1 'horse', and the model 'zero': choose another --out" in capsys.readouterr().err
    assert (out / "photo.png").read_bytes() == masks


def test_predicting_replaces_no_photograph(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor takes an earlier call's masks, or what is hidden, for more of them."""
    source = tmp_path / "in"
    photo = picture(source / "photo.png").read_bytes()
    run = str(finished)
    assert main(["predict", run, str(source), "--out", str(source / ".." / "in")]) == 2
    assert "name another --out" in capsys.readouterr().err
    assert main(["predict", run, str(source / "photo.png"), "--out", str(source)]) == 2
    assert "photo.png, which sats did not write: choose another --out" in capsys.readouterr().err
    picture(source / "photo.jpg")
    assert main(["predict", run, str(source / "photo.jpg"), "--out", str(source)]) == 2
    assert "photo.png, which sats did not write: choose another --out" in capsys.readouterr().err
    (source / "photo.jpg").unlink()
    assert main(["predict", run, str(source), "--out", str(tmp_path)]) == 0  # a folder above is no place of its own
    assert capsys.readouterr().out.startswith("1 image: ")
    assert (source / "photo.png").read_bytes() == photo
    picture(source / "photo-overlay.jpg")
    assert main(["predict", run, str(source), "--out", str(tmp_path / "out")]) == 2
    assert "would both be written to" in capsys.readouterr().err
    (source / "photo-overlay.jpg").unlink()
    picture(source / ".thumbnails" / "small.png")
    (source / "folder.png").mkdir()
    for _ in range(2):
        assert main(["predict", run, str(source), "--out", str(source / "masks")]) == 0
        assert capsys.readouterr().out.startswith("1 image: ")
    assert sorted(path.name for path in (source / "masks").iterdir()) == [
        "classes.txt",
        "photo-overlay.png",
        "photo.png",
    ]


@pytest.mark.parametrize("name", ["photo.png", "photo-overlay.png", "photo.npz"])
def test_predicting_replaces_only_what_it_wrote(
    name: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mask with the palette of VOC is the truth, and what lies beside a mask of ours may be anybody's."""
    source, out = picture(tmp_path / "in" / "photo.jpg"), tmp_path / "out"
    words = ["predict", str(finished), str(source), "--out", str(out), "--probabilities"]
    assert main(words) == 0
    assert main(words) == 0
    foreign = Image.new("P", (50, 30), 1)
    foreign.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, *([0] * 3 * 253)])
    (out / name).unlink()
    foreign.save(out / name, format="PNG")
    theirs = (out / name).read_bytes()
    capsys.readouterr()
    assert main(words) == 2
    assert f"photo.jpg would overwrite {out / name}, which sats did not write" in capsys.readouterr().err
    assert (out / name).read_bytes() == theirs


def test_predicting_goes_on_after_a_broken_image(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "a.png").write_bytes(b"no image")
    words = ["predict", str(finished), str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "a.png" in capsys.readouterr().err
    assert main([*words, "--on-error", "skip", "--no-overlays"]) == 0
    shown = capsys.readouterr().out
    assert "could not be used were skipped: 1 problem" in shown
    assert "1 image: " in shown
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.png", "classes.txt"]
    (tmp_path / "in" / "b.png").unlink()
    (tmp_path / "in" / "c.png").symlink_to(tmp_path / "gone.png")
    assert main([*words, "--on-error", "skip"]) == 2
    shown = capsys.readouterr()
    assert "c.png is gone" in shown.out
    assert "None of the images could be read" in shown.err


def test_predicting_follows_links_and_names_the_indices_of_what_it_left(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "elsewhere" / "deep" / "a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "zz.png").write_bytes(b"no image")
    out = tmp_path / "out"
    assert main(["predict", str(finished), str(tmp_path / "in"), "--out", str(out), "--no-overlays"]) == 2
    assert "zz.png" in capsys.readouterr().err
    assert {str(file.relative_to(out)) for file in out.rglob("*.*")} == {
        "again/a.png",
        "link/deep/a.png",
        "classes.txt",
    }
    assert tuple((out / "classes.txt").read_text().splitlines()) == sats.load(finished).classes


def test_python_does_what_the_command_does(finished: Path, tmp_path: Path) -> None:
    path = picture(tmp_path / "image.png")
    assert main(["predict", str(finished / "step-1"), str(path), "--out", str(tmp_path / "out")]) == 0
    predictor = sats.load(finished)
    prediction = predictor.predict(path)
    with Image.open(tmp_path / "out" / "image.png") as written, Image.open(path) as opened:
        assert np.array_equal(prediction.labels, np.asarray(written))
        assert np.array_equal(predictor.predict(opened).labels, prediction.labels)
    assert sum(prediction.shares.values()) == pytest.approx(1)
    assert prediction.classes == RunFolder(finished).scores()[-1].classes


def test_a_model_trained_at_another_size_predicts_at_it(tmp_path: Path) -> None:
    config = small("finetune")
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, resize=40, crop=40))
    run(tmp_path / "run", config)
    predictor = sats.load(tmp_path / "run")
    assert predictor.resize == 40
    assert predictor.predict(picture(tmp_path / "image.png", size=(96, 48))).labels.shape == (48, 96)
    assert main(["evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "scores.json")]) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["iou"] == RunFolder(tmp_path / "run").scores()[-1].iou


def test_colours_are_distinct_and_indices_survive() -> None:
    colours = palette()
    assert len(np.unique(colours[:60], axis=0)) == 60
    assert colours[0].tolist() == [0, 0, 0]
    assert colours[IGNORE].tolist() == [255, 255, 255]
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(np.asarray(index_image(labels)), labels)
    image = Image.new("RGB", (2, 1), (100, 100, 100))
    shown = np.asarray(overlay(image, np.array([[0, 1]], dtype=np.uint8), strength=0.5))
    assert shown[0, 0].tolist() == [100, 100, 100]
    assert np.abs(shown[0, 1] - (100 + colours[1].astype(float)) / 2).max() <= 0.5


def test_predicting_from_python_what_one_has_in_hand(finished: Path, tmp_path: Path) -> None:
    predictor = sats.load(finished)
    path = picture(tmp_path / "turned.jpg", size=(48, 32), orientation=6)
    expected = predictor.predict(path).labels
    assert expected.shape == (48, 32)
    with Image.open(path) as opened:
        assert np.array_equal(predictor.predict(opened).labels, expected)
    assert np.array_equal(predictor.labels(np.asarray(read_image(str(path)))), expected)
    deep = (np.arange(32 * 32, dtype=np.uint16) * 64).reshape(32, 32)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as opened:
        assert np.array_equal(predictor.labels(opened), predictor.labels(tmp_path / "deep.png"))
    with pytest.raises(ValueError, match="The image has 32-bit pixels"):
        predictor.predict(Image.new("I", (32, 32)))
    for wrong in (np.zeros((8, 8, 3)), np.zeros((2, 8, 8, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"uint8 and \[H, W\] or \[H, W, 3\], not"):
            predictor.predict(wrong)


def test_evaluation_numbers_that_cannot_be(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--batch-size", "0"], ["--batch-size", "-1"], ["--crop", "4"], ["--crop", "-4"]):
        assert main(["evaluate", str(finished), *words]) == 2
        assert f"sats: {words[0]} is {words[1]}; it must be at least" in capsys.readouterr().err


# --- data check -------------------------------------------------------------------------------------------------------


def test_checking_good_data_shows_classes_and_steps(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "check", str(digits), "--protocol", "1-1", "--train-split", "val"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "seven" in shown
    assert "val (3)" in shown
    assert "Steps of 1-1, overlapped" in shown
    assert "nothing wrong" in shown


def test_checking_bad_data_lists_every_problem_of_every_split(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(20):
        picture(digits / "images" / "val" / f"lonely-{index}.png")
    Image.fromarray(np.full((8, 8), 77, dtype=np.uint8)).save(digits / "masks" / "val" / "0.png")
    picture(digits / "images" / "train" / "a.png")
    (digits / "masks" / "train").mkdir()
    assert main(["data", "check", str(digits)]) == 2
    shown = capsys.readouterr()
    assert "20 images without a mask" in shown.out
    assert str(digits / "masks" / "val" / "0.png") in shown.out
    assert "- train: " in shown.out
    assert "problems, listed above" in shown.err


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_is_told_of_the_first_problems_and_a_pipe_of_all(
    is_terminal: bool, digits: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(60):
        picture(digits / "images" / "val" / f"{index}.png", (32, 32))
        Image.fromarray(np.full((32, 32), 77, dtype=np.uint8)).save(digits / "masks" / "val" / f"{index}.png")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    assert main(["data", "check", str(digits), "--quick"]) == 2
    shown = capsys.readouterr()
    assert shown.out.count("holds the id 77") == (50 if is_terminal else 60)
    assert ("and 10 more" in shown.out) == is_terminal
    assert "60 problems" in shown.err


def test_checking_says_which_images_use_12_of_16_bits(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = digits / "images" / "val"
    wide = np.linspace(0, 4095, 32 * 32).reshape(32, 32).astype(np.uint16)
    for name, values in (("0.png", wide), ("1.png", wide * 16)):
        Image.fromarray(values).save(images / name)
    assert main(["data", "check", str(digits)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "val: 1 image is nearly black (val/0): if they have 16 bits, the upper 8 are used" in shown
    assert "nothing wrong" in shown
    assert main(["data", "check", str(digits), "--quick"]) == 0
    assert "nearly black" not in capsys.readouterr().out


# --- runs and resume --------------------------------------------------------------------------------------------------


def test_runs_lists_them_with_their_state(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create_run(finished.parent / "two", small("finetune"))
    create_run(finished.parent / "broken", small()).config_path.write_text("{")
    (create_run(finished.parent / "no-steps", small()).path / "steps.json").write_text("7")
    with RunFolder(finished.parent / "two").held():
        assert main(["runs", str(finished.parent)]) == 0
        lines = capsys.readouterr().out
        assert "running, 0 of ?" in lines
    assert main(["runs", str(finished.parent)]) == 0
    lines = capsys.readouterr().out
    assert "finished" in lines
    assert "interrupted, 0 of ?" in lines
    assert lines.count("unreadable") == 2
    assert f"broken: {finished.parent / 'broken' / 'config.json'} is not JSON" in lines


def test_resuming_a_finished_run_says_so_and_changes_nothing(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.json")}
    assert main(["resume", str(finished)]) == 0
    assert "finished already" in capsys.readouterr().out
    assert main(["train", "scenes", "--out", str(finished)]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*.json")}


def test_a_run_that_was_never_begun_can_be_resumed(finished: Path, tmp_path: Path) -> None:
    create_run(tmp_path / "run", small("sats"))
    scores = sats.resume(tmp_path / "run").scores
    assert list(scores) == RunFolder(finished).scores()


def test_training_from_python(tmp_path: Path, finished: Path) -> None:
    scores = sats.train(small("sats"), tmp_path / "run").scores
    assert list(scores) == RunFolder(finished).scores()
    assert not (tmp_path / "run" / ".owner").exists()


def test_a_run_held_by_another_process_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = create_run(tmp_path / "run", small("finetune"))
    script = f"""
import sys, time
from pathlib import Path
from sats.engine.run_folder import RunFolder
with RunFolder(Path({str(folder.path)!r})).held():
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert main(["resume", str(folder.path)]) == 2
        assert f"process {other.pid} on " in capsys.readouterr().err
        other.kill()
    assert main(["resume", str(folder.path)]) == 0  # the dead process's hold is gone


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_within_80_columns(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if command == "data":
        assert main([command, "--help"]) == 0
    else:
        with pytest.raises(SystemExit) as done:
            main([command, "--help"])
        assert done.value.code == 0
    shown = capsys.readouterr().out
    assert len(shown) > 60
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert f"  sats {command} " in overview
    assert max(len(line) for line in overview.splitlines()) <= 80


@pytest.mark.parametrize("words", ["--help", "runs --help", "data check --help", "train scenes --help"])
def test_help_does_not_load_torch(words: str) -> None:
    script = f"""
import sys
from sats.cli import main
try:
    main({words.split()!r})
except SystemExit:
    pass
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_models_are_found_wherever_they_are(finished: Path, tmp_path: Path) -> None:
    for place in (finished, finished / "step-1", finished / "step-1" / "model"):
        assert find_model(place) == finished / "step-1" / "model"
    with pytest.raises(ValueError, match="neither a run nor a model"):
        find_model(tmp_path)
    with pytest.raises(ValueError, match="holds no run"):
        open_run(finished / "step-1" / "model")  # which has a config.json of its own
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.safetensors").touch()
    for content in ("{", '{"other": 1}'):  # of a model, whose reader says what is wrong
        (tmp_path / "broken" / "config.json").write_text(content)
        assert find_model(tmp_path / "broken") == tmp_path / "broken"
        with pytest.raises(ValueError, match="cannot be read"):
            sats.load(tmp_path / "broken")
    unfinished = create_run(tmp_path / "run", small("sats"))
    with pytest.raises(ValueError, match="no finished step"):
        find_model(unfinished.path)


def test_the_run_of_a_model_is_found_from_within_its_folder(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = finished / "step-1" / "model"
    monkeypatch.chdir(model)
    for place in (Path(), model):
        found = run_of(place)
        assert found is not None
        assert found.path == finished.resolve()
    assert run_of(finished) is None


def test_what_python_hands_over_is_checked_as_flags_are(finished: Path, tmp_path: Path) -> None:
    for name, word in (("future", "Background"), ("background", "no"), ("on_error", "warn")):
        with pytest.raises(ValueError, match=f"{name}: There is no choice '{word}'"):
            sats.evaluate(finished, **{name: word})
    with pytest.raises(ValueError, match=r"extend no model: make them with sats\.extension"):
        sats.extend(small("sats"), tmp_path / "out")
    with pytest.raises(ValueError, match=r"There is no image .*nowhere\.jpg: fix the path"):
        sats.load(finished).predict(tmp_path / "nowhere.jpg")
    assert not (tmp_path / "out").exists()


def test_a_title_is_not_folded_to_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    title = "gained: IoU on /a/folder/that/has/a/long/path/to/its/data, %"
    table = Table(title=title)
    table.add_column("new class")
    show(table)
    assert capsys.readouterr().out.startswith(f"{title}\n")
