"""Folders that arrive one after the other: what each step learns and is measured on, and runs that go on later."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import FakeSource, random_source
from sats.cli import main
from sats.data.arrivals import by_class, by_folder
from sats.data.chained import ChainedSource, GoneSource
from sats.data.stream import Stream, Test
from sats.engine.run_folder import RunFolder
from sats.types import BACKGROUND, IGNORE
from test_engine import same_weights
from test_extend import make_data

NAMES = ("background", "a", "b", "c", "d", "e", "f")
SMALL = ["--model.name", "segformer-tiny", "--epochs", "1", "--batch-size", "2", "--crop", "64", "--train.workers", "0"]


@st.composite
def parts(draw: st.DrawFn) -> list[FakeSource]:
    """Two or three sources, each with some of the classes in any order, the first with a class that others lack."""
    found = []
    for number in range(draw(st.integers(2, 3))):
        chosen = draw(st.lists(st.sampled_from(NAMES[1:]), min_size=2, max_size=4, unique=True))
        plain = random_source(len(chosen), images=draw(st.integers(1, 4)), seed=draw(st.integers(0, 9)))
        found.append(FakeSource(plain.masks, ("background" if number else "unknown", *chosen)))
    return found


@settings(max_examples=60, deadline=None)
@given(found=parts())
def test_every_pixel_of_a_step_is_background_a_class_of_its_folder_or_ignored(found: list[FakeSource]) -> None:
    source = ChainedSource(found)
    stream = Stream(source, [], by_folder(source, by_class(found[0], [range(1, len(found[0].classes))])), learned=9)
    assert len(stream.steps) == len(found)
    for step, part in zip(stream.steps, found, strict=True):
        channels = {name: channel for channel, name in enumerate(stream.names(step))}
        assert set(stream.new_names(step)) <= set(part.classes)
        samples = stream.train_samples(step)
        if step.index:
            assert len(samples) == len(part)
        offset = sum(len(earlier) for earlier in found[: step.index])
        for position, index in enumerate(samples.indices.tolist()):
            raw, labels = part.mask(index - offset), samples[position][1]
            for value in np.unique(raw):
                name = part.classes[value] if value not in (BACKGROUND, IGNORE) else ""
                expected = channels[name] if name else int(value)
                assert (labels[raw == value] == expected).all()


def test_keys_tell_the_folders_apart_and_those_of_the_first_stay() -> None:
    source = ChainedSource([random_source(2, 2), random_source(3, 2)])
    assert [source.key(index) for index in range(4)] == ["fake/0", "fake/1", "1:fake/0", "1:fake/1"]
    assert source.classes == ("background", "class 1", "class 2", "class 3")
    gone = ChainedSource([GoneSource(("background", "class 1")), random_source(3, 2)])
    assert (len(gone), gone.key(0), gone.size(1)) == (2, "1:fake/0", (12, 10))
    np.testing.assert_array_equal(gone.presence()[:, 1:], random_source(3, 2).presence()[:, 1:])
    with pytest.raises(ValueError, match="call a class 'Car' and 'car'"):
        ChainedSource([FakeSource((), ("background", "Car")), FakeSource((), ("background", "car"))])


def test_background_is_measured_only_where_every_class_seen_is_labelled() -> None:
    mask = np.array([[0, 1, IGNORE]], dtype=np.uint8)
    first, second = FakeSource((mask,), ("background", "a")), FakeSource((mask,), ("background", "b"))
    third = FakeSource((np.array([[0, 1, 2]], dtype=np.uint8),), ("background", "b", "a"))
    source = ChainedSource([first, second, third])
    tests = [Test(first), Test(second, 1), Test(third, 2)]
    stream = Stream(source, tests, by_folder(source, by_class(first, [[1]])))
    measured = [
        [test[place][1].tolist()[0] for place in range(len(test))]
        for test in (stream.test_samples(step, "background") for step in stream.steps)
    ]
    assert measured == [
        [[0, 1, IGNORE]],
        [[IGNORE, 1, IGNORE], [IGNORE, 2, IGNORE]],
        [[IGNORE, 1, IGNORE], [IGNORE, 2, IGNORE], [0, 2, 1]],
    ]
    assert [step.num_new for step in stream.steps] == [2, 1, 0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """step-0 labels rickshaws, step-1 cows and rickshaws, step-2 goats."""
    root = tmp_path_factory.mktemp("arriving")
    for name, classes in (("step-0", ("rickshaw",)), ("step-1", ("cow", "rickshaw")), ("step-2", ("goat",))):
        make_data(root / name, ("background", *classes), images=4)
    return root


def train(*words: str) -> int:
    return main(["train", *words])


def test_folders_arrive_and_a_finished_run_takes_another_when_the_old_ones_are_gone(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    shutil.copytree(folders, own)
    steps = [word for name in ("step-0", "step-1") for word in ("--step", str(own / name))]
    memory = ["--memory.size", "3", "--memory.copy"]
    assert train("folder", *steps, *SMALL, *memory, "--out", str(tmp_path / "run")) == 0
    run = RunFolder(tmp_path / "run")
    assert [scores.classes for scores in run.scores()] == [
        ("background", "rickshaw"),
        ("background", "rickshaw", "cow"),
    ]
    assert [step["images"] for step in run.steps()] == [4, 4]
    capsys.readouterr()
    assert main(["evaluate", str(run.path), "--out", str(tmp_path / "again.json")]) == 0
    again, last = (json.loads(path.read_text()) for path in (tmp_path / "again.json", run.step(1) / "scores.json"))
    assert (again["iou"], again["miou"]["old"]) == (last["iou"], last["miou"]["old"])

    for name in ("step-0", "step-1"):
        for part in ("images", "masks"):
            shutil.rmtree(own / name / part)
    assert train("--from", str(run.path), "--step", str(own / "step-2"), "--out", str(tmp_path / "later")) == 0
    later = RunFolder(tmp_path / "later")
    assert later.scores()[:2] == run.scores()
    assert later.scores()[2].classes == ("background", "rickshaw", "cow", "goat")
    assert later.steps()[:2] == [{**step, "taken_over": True} for step in run.steps()]
    kept = json.loads(later.memory_path.read_text())["steps"]
    assert kept[:2] == json.loads(run.memory_path.read_text())["steps"]
    assert {exemplar["step"] for exemplar in kept[2]} <= {0, 1, 2}
    assert "exemplars (" in capsys.readouterr().err
    assert main(["report", str(later.path), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "step-0, then step-1, then step-2" in page
    assert "first rickshaw; then cow; goat" in page
    assert main(["report", str(run.path), str(later.path), "--out", str(tmp_path / "both.html")]) == 0
    assert "The runs learn in different steps" in (tmp_path / "both.html").read_text(encoding="utf-8")
    card = (later.step(2) / "model" / "README.md").read_text(encoding="utf-8")
    assert "the folder step-0, then step-1, then step-2" in card


def test_the_run_that_one_goes_on_from_may_be_gone_when_that_is_resumed(folders: Path, tmp_path: Path) -> None:
    """What of earlier classes is replayed was decided in the beginning."""
    first, steps = tmp_path / "first", [str(folders / name) for name in ("step-0", "step-1")]
    assert train("folder", "--step", steps[0], "--step", steps[1], *SMALL, "--out", str(first)) == 0
    words = ["--from", str(first), "--step", str(folders / "step-2"), "--method", "sats-plus"]
    assert train(*words, "--out", str(tmp_path / "whole")) == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "begun")
    shutil.rmtree(tmp_path / "begun" / "step-2")
    shutil.rmtree(first)
    assert main(["resume", str(tmp_path / "begun")]) == 0
    assert same_weights(tmp_path / "whole", tmp_path / "begun", 2)


def test_the_same_images_may_arrive_again_with_other_labels(folders: Path, tmp_path: Path) -> None:
    """The second folder's images are the first's: keys tell them apart, and every label counts."""
    again = tmp_path / "again"
    shutil.copytree(folders / "step-0", again)
    (again / "classes.txt").write_text("background\nwheel\n")
    words = ["folder", "--step", str(folders / "step-0"), "--step", str(again), *SMALL]
    assert train(*words, "--out", str(tmp_path / "run")) == 0
    assert RunFolder(tmp_path / "run").scores()[1].classes == ("background", "rickshaw", "wheel")


def test_a_folder_can_arrive_after_a_protocol(tmp_path: Path) -> None:
    first = make_data(tmp_path / "first", ("background", "a", "b"), images=4)
    second = make_data(tmp_path / "second", ("background", "c"), images=4)
    words = ["folder", "--data", str(first), "--protocol", "1-1", "--step", str(second), *SMALL]
    assert train(*words, "--method", "mib", "--out", str(tmp_path / "run")) == 0
    scores = RunFolder(tmp_path / "run").scores()
    assert [after.classes[1:] for after in scores] == [("a",), ("a", "b"), ("a", "b", "c")]


def test_one_folder_alone_is_step_0_and_others_may_come_later(folders: Path, tmp_path: Path) -> None:
    assert train("folder", "--step", str(folders / "step-0"), *SMALL, "--out", str(tmp_path / "run")) == 0
    assert RunFolder(tmp_path / "run").is_finished()
    words = ["--from", str(tmp_path / "run"), "--step", str(folders / "step-2"), "--method", "plop"]
    assert train(*words, "--out", str(tmp_path / "later")) == 0
    assert RunFolder(tmp_path / "later").scores()[1].classes == ("background", "rickshaw", "goat")


def test_what_cannot_go_on_is_one_sentence(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("folder", "--step", str(folders / "step-0"), *SMALL, "--out", str(tmp_path / "run")) == 0
    out = ["--out", str(tmp_path / "out")]

    def told(*words: str) -> str:
        capsys.readouterr()
        assert train(*words, *out) == 2
        shown = capsys.readouterr().err
        assert "Traceback" not in shown
        assert not (tmp_path / "out").exists()
        return shown

    run, goats = str(tmp_path / "run"), str(folders / "step-2")
    assert "nowhere is not a run to go on from" in told("--from", str(tmp_path / "nowhere"), "--step", goats)
    assert "step-0 is not a run to go on from" in told("--from", f"{run}/step-0", "--step", goats)
    assert "bring a folder for the next with --step DIR" in told("--from", run)
    assert "is not a folder" in told("--from", run, "--step", str(tmp_path / "nowhere"))
    assert "Joint training needs every class labelled" in told("--from", run, "--step", goats, "--method", "joint")
    assert "leave out stream.of" in told("--from", run, "--step", goats, "--stream.of", "domains")
    other = ["folder", "--step", str(folders / "step-1"), "--step", goats, *SMALL, "--from", run]
    assert "knows the classes background, rickshaw; here it would know background, cow, rickshaw" in told(*other)
    assert "was made with the method's step 0" in told("--from", run, "--step", goats, "--method", "ewc")
    shutil.rmtree(RunFolder(tmp_path / "run").step(0))
    assert "is not finished: go on with `sats resume" in told("--from", run, "--step", goats)


def test_a_model_is_measured_again_as_its_run_did_whatever_the_folders_label(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where a folder has no test images, and for an earlier step: background counts where all is labelled."""
    untested = tmp_path / "untested"
    shutil.copytree(folders / "step-2", untested)
    for part in ("images", "masks"):
        shutil.rmtree(untested / part / "val")
    words = ["folder", "--step", str(folders / "step-0"), "--step", str(untested), *SMALL]
    assert train(*words, "--out", str(tmp_path / "run")) == 0
    run = RunFolder(tmp_path / "run")
    for step, scores in enumerate(run.scores()):
        assert main(["evaluate", str(run.step(step)), "--out", str(tmp_path / "again.json")]) == 0
        again = json.loads((tmp_path / "again.json").read_text())
        assert (again["iou"], again["pixels"]) == (scores.iou, scores.pixels)
    assert scores.iou["background"] is None
    capsys.readouterr()


def test_a_background_that_is_not_the_first_class_is_refused() -> None:
    odd = FakeSource((), ("unknown", "pole", "background"))
    with pytest.raises(ValueError, match=r"make it the first line of classes\.txt"):
        ChainedSource([random_source(2, 2), odd])
    with pytest.raises(ValueError, match=r"make it the first line of classes\.txt"):
        ChainedSource([odd, random_source(2, 2)])


def test_more_classes_together_than_a_mask_can_hold_are_refused() -> None:
    halves = [FakeSource((), ("background", *(f"{part}{number}" for number in range(127)))) for part in "ab"]
    assert len(ChainedSource(halves).classes) == IGNORE
    with pytest.raises(ValueError, match=r"The folders have 255 classes together.* 254 and a background"):
        ChainedSource([*halves, FakeSource((), ("background", "one more"))])


def test_folders_without_a_test_image_are_refused_before_training(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("step-0", "step-1"):
        shutil.copytree(folders / name, tmp_path / name)
        for part in ("images", "masks"):
            (tmp_path / name / part / "val").rename(tmp_path / name / part / "validation")
    words = ["folder", "--step", str(tmp_path / "step-0"), "--step", str(tmp_path / "step-1"), *SMALL]
    assert train(*words, "--out", str(tmp_path / "run")) == 2
    assert "None of the folders has a split 'val' to measure on" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert train(*words, "--data.test-split", "validation", "--out", str(tmp_path / "run")) == 0


def test_methods_that_learn_new_classes_only_refuse_a_folder_without_any(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = str(folders / "step-0")
    words = ["folder", "--step", first, "--step", first, *SMALL, "--out", str(tmp_path / "run")]
    assert train(*words, "--method", "ewf") == 2
    assert "Step 1 brings no new class" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert train(*words, "--method", "sats") == 0
    assert "Step 1: learning no new class on 4 images" in capsys.readouterr().err


def test_a_run_goes_on_from_the_same_steps_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(tmp_path / "data", ("background", "a", "b", "c"), images=4)
    more = make_data(tmp_path / "more", ("background", "d"), images=4)
    base = ["folder", "--data", str(data), *SMALL, "--method", "finetune"]
    assert train(*base, "--protocol", "2-1", "--out", str(tmp_path / "run")) == 0
    other = [*base, "--stream.steps", "a", "b,c", "--from", str(tmp_path / "run"), "--step", str(more)]
    assert train(*other, "--out", str(tmp_path / "other")) == 2
    assert "in the same steps" in capsys.readouterr().err


def test_a_run_that_was_stopped_while_it_took_over_another_goes_on(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the old images are gone, but for their empty folders."""
    own = tmp_path / "own"
    shutil.copytree(folders, own)
    assert train("folder", "--step", str(own / "step-0"), *SMALL, "--out", str(tmp_path / "run")) == 0
    for part in ("images", "masks"):
        for path in (own / "step-0" / part).rglob("*.png"):
            path.unlink()
    copytree = shutil.copytree

    def stops(*arguments: object, **options: object) -> None:
        copytree(*arguments, **options)
        raise KeyboardInterrupt

    words = ["--from", str(tmp_path / "run"), "--step", str(own / "step-2"), "--out", str(tmp_path / "later")]
    with monkeypatch.context() as interrupted:
        interrupted.setattr(shutil, "copytree", stops)
        assert train(*words) == 130
    assert not RunFolder(tmp_path / "later").is_finished()
    assert main(["resume", str(tmp_path / "later")]) == 0
    assert RunFolder(tmp_path / "later").scores()[1].classes == ("background", "rickshaw", "goat")


def test_reserved_rows_that_are_used_up_are_told_before_anything_is_copied(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["folder", "--step", str(folders / "step-0"), "--step", str(folders / "step-1"), "--method", "dft", *SMALL]
    assert train(*words, "--out", str(tmp_path / "run")) == 0
    later = ["--from", str(tmp_path / "run"), "--step", str(folders / "step-2"), "--out", str(tmp_path / "later")]
    assert train(*later) == 2
    assert "add --method.init background" in capsys.readouterr().err
    assert not (tmp_path / "later").exists()
    assert train(*later, "--method.init", "background") == 0


def test_data_here_and_folders_that_arrive_are_not_confused(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folders / "step-0")
    assert train("folder", "--data", ".", "--step", str(folders / "step-1"), *SMALL) == 2
    assert "say --step . before the others" in capsys.readouterr().err


def test_the_folder_that_holds_the_steps_names_them_all(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """step-0, step-1, ... below --data; a protocol asks for one folder's own classes, and then there are none."""
    assert train("folder", "--data", str(folders), *SMALL, "--out", str(tmp_path / "run")) == 0
    scores = RunFolder(tmp_path / "run").scores()
    assert [after.classes[1:] for after in scores] == [
        ("rickshaw",),
        ("rickshaw", "cow"),
        ("rickshaw", "cow", "goat"),
    ]
    assert train("folder", "--data", str(folders), "--protocol", "1-1", *SMALL, "--out", str(tmp_path / "no")) == 2
    assert "images is not a folder" in capsys.readouterr().err
