"""Every mistake a newcomer may make, through the command line: one message with the fix, nothing lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sats.cli import main
from sats.data.layouts import open_data
from sats.engine.run_folder import RunFolder, create_run
from sats.recipes import recipe
from test_engine import run, small

TINY = "--crop 32 --batch-size 2 --epochs 1 --model.name segformer-tiny --method finetune --out {out}"
TRAIN = f"train folder --data {{data}} --protocol 1-1 {TINY}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four good images with background and two classes."""
    root = tmp_path / "data"
    for split in ("train", "val"):
        for index in range(4):
            mask = np.kron(np.random.default_rng(index).integers(0, 3, (4, 4)), np.ones((10, 10))).astype(np.uint8)
            mask[:20, :20], mask[20:, 20:] = 1, 2
            write(root / "images" / split / f"{index}.jpg", np.repeat(mask[..., None] * 80, 3, 2))
            write(root / "masks" / split / f"{index}.png", mask)
    (root / "classes.txt").write_text("background\ncat\ndog\n")
    return root


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    run(folder, small("finetune"))
    return folder


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def as_mask(pixels: np.ndarray) -> Callable[[Path], None]:
    return lambda data: write(data / "masks" / "train" / "0.png", pixels)


def rename_mask(data: Path) -> None:
    mask = data / "masks" / "train" / "0.png"
    with Image.open(mask) as image:
        image.save(mask.with_suffix(".tif"))
    mask.unlink()


def no_dogs(data: Path) -> None:
    for path in (data / "masks").rglob("*.png"):
        with Image.open(path) as image:
            mask = np.asarray(image).copy()
        write(path, np.where(mask == 2, 0, mask))


SQUARE = np.zeros((40, 40), dtype=np.uint8)
DATA_MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing folder": (shutil.rmtree, "data is not a folder"),
    "missing split": (lambda data: shutil.rmtree(data / "images" / "val"), "has no split 'val'"),
    "missing masks": (lambda data: shutil.rmtree(data / "masks"), "masks is not a folder"),
    "no images": (lambda data: [p.unlink() for p in (data / "images" / "train").iterdir()], "holds no images"),
    "image without mask": (lambda data: (data / "masks/train/0.png").unlink(), "1 image without a mask (0)"),
    "mask without image": (lambda data: (data / "images/train/0.jpg").unlink(), "1 mask without an image (0)"),
    "sizes differ": (as_mask(SQUARE[:20]), "0.png has 40 x 20 pixels"),
    "mask is RGB": (as_mask(np.zeros((40, 40, 3), dtype=np.uint8)), "masks/train/0.png"),
    "mask is 16 bit": (as_mask(SQUARE.astype(np.uint16)), "masks/train/0.png"),
    "mask is no PNG": (rename_mask, "0.tif is not a PNG"),
    "mask is text": (lambda data: (data / "masks/train/0.png").write_text("mask"), "masks/train/0.png is not an image"),
    "unknown id": (as_mask(SQUARE + 9), "0.png holds the id 9"),
    "truncated JPEG": (lambda data: cut(data / "images" / "train" / "0.jpg"), "images/train/0.jpg"),
    "truncated mask": (lambda data: cut(data / "masks" / "train" / "0.png"), "masks/train/0.png"),
    "no classes.txt": (lambda data: (data / "classes.txt").unlink(), "classes.txt can't be read"),
    "empty classes.txt": (lambda data: (data / "classes.txt").write_text("\n"), "classes.txt is empty"),
    "duplicate names": (lambda data: (data / "classes.txt").write_text("background\ncat\ncat\n"), "repeats 'cat'"),
    "class without image": (no_dogs, "No training image for the step that brings dog"),
}


@pytest.mark.parametrize("name", DATA_MISTAKES)
def test_mistakes_in_the_data(name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, message = DATA_MISTAKES[name]
    spoil(data)
    out = tmp_path / "run"
    assert main(TRAIN.format(data=data, out=out).split()) == 2
    check(capsys.readouterr().err, message)
    assert not out.exists()


def test_the_good_data_trains(data: Path, tmp_path: Path) -> None:
    """Else the mistakes above would prove nothing."""
    assert main(TRAIN.format(data=data, out=tmp_path / "run").split()) == 0


def check(shown: str, message: str) -> None:
    assert message in shown
    assert "Traceback" not in shown
    assert "fault of sats" not in shown
    assert shown.count("sats: ") == 1


WORD_MISTAKES: dict[str, tuple[str, int, str]] = {
    "no recipe": ("train", 2, "Name a recipe"),
    "unknown recipe": ("train folde --data {data}", 2, "did you mean 'folder'"),
    "unknown method": (TRAIN.replace("finetune", "finetun"), 2, "did you mean 'finetune'"),
    "unknown command": ("evalute {run}", 2, "did you mean 'evaluate'"),
    "protocol does not fit": (TRAIN.replace("1-1", "1-3"), 2, "1 + k x 3 must be 2"),
    "no protocol": (TRAIN.replace("--protocol 1-1", ""), 2, "--protocol A-B"),
    "unknown class": (TRAIN + " --classes cat,dgo", 2, "did you mean 'dog'"),
    "unknown class in steps": (TRAIN + " --stream.steps cat dgo", 2, "did you mean 'dog'"),
    "no data": ("train folder --protocol 1-1 --data= --out {out}", 2, "--data DIR"),
    "run folder exists": (f"train scenes {TINY}".replace("{out}", "{run}"), 2, "holds a finished run"),
    "out is a file": (f"train scenes {TINY}".replace("{out}", "{data}/classes.txt"), 2, "classes.txt"),
    "resume nothing": ("resume {data}", 2, "holds no run"),
    "evaluate nothing": ("evaluate {data}", 2, "neither a run nor a model"),
    "evaluate a model on nothing": ("evaluate {run}/step-0/model_copy", 2, "neither a run nor a model"),
    "evaluate on strange data": ("evaluate {run} --data {data}", 2, "no class in common"),
    "evaluate on a missing split": ("evaluate {run} --data {data} --split test", 2, "has no split 'test'"),
    "predict nothing": ("predict {run} {data}/nothing.jpg --out {out}", 2, "does not exist"),
    "predict no images": ("predict {run} {run}/step-0 --out {out}", 2, "holds no images"),
    "predict a text file": ("predict {run} {data}/classes.txt --out {out}", 2, "classes.txt is not an image"),
    "check steps": ("data check {data} --stream.steps cat dgo", 2, "did you mean 'dog'"),
    "an order of nothing": ("data check {data} --order cat,dog", 2, "Give --protocol A-B"),
    "one class in steps": ("data check {data} --classes cat --protocol 1-1", 2, "Use all to learn it at once, or list"),
    "a step 0 of other scenes": (
        "train scenes --method mib --images 8 --model.name segformer-tiny --from {run}/step-0 --out {out}",
        2,
        "data.images",
    ),
    "check nothing": ("data check {out}", 2, "is not a folder"),
    "unknown data command": ("data chek {data}", 2, "did you mean 'check'"),
    "runs of nothing": ("runs {out}", 2, "is not a folder"),
    "no runs": ("runs {data}", 2, "holds no runs"),
    "start from another run's classes": (TRAIN + " --from {run}/step-0", 2, "data.source"),
    "start from another network": (
        "train scenes --images 20 --data.image-size 32 --method mib --model.name segformer-b0 --from {run}/step-0",
        2,
        "model.name",
    ),
    "negative epochs": (TRAIN + " --epochs-later -1", 2, "at least 0"),
    "transfer to a frozen encoder": (
        TRAIN.replace("finetune", "sats") + " --method.frozen-encoder",
        2,
        "The encoder is frozen after step 0",
    ),
    "no reserved rows": (TRAIN + " --method.init reserved", 2, "Only methods with reserved rows (ssul, dft)"),
    "no saliency maps": (
        TRAIN.replace("finetune", "ssul") + " --data.saliency {data}/maps",
        2,
        "which is not a folder",
    ),
    "a published recipe misspelt": ("train vok-15-1 --data {data}", 2, "did you mean 'voc-15-1'"),
    "other classes than the published": (
        "train voc-15-1 --method mib --data {data} --out {out}",
        2,
        "JPEGImages is not a folder",
    ),
    "no updates between scores": ("train scenes --method rw --method.every 0 --out {out}", 2, "at least 1"),
    "a negative penalty": ("train scenes --method ewc --method.penalty -1 --out {out}", 2, "at least 0"),
    "a probability of 3": ("train scenes --method ssul --method.sure 3 --out {out}", 2, "between 0 and 1"),
    "cells of no size": ("train scenes --method plop --method.pod.scales 0 --out {out}", 2, "at least 1"),
    "features by class pair": (
        TRAIN + " --method.attention-transfer.of features --method.attention-transfer.pooling class-pair",
        2,
        "Features have no keys",
    ),
    "a folder that no weights can be in": ("train scenes --out {out}\udce9", 2, "is not UTF-8"),
    "memory of a joint run": ("train scenes --method joint --memory.size 5 --out {out}", 2, "no earlier step"),
}


@pytest.mark.parametrize("name", WORD_MISTAKES)
def test_mistakes_in_the_words(
    name: str, data: Path, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, code, message = WORD_MISTAKES[name]
    before = sorted(finished_run.rglob("*"))
    if name == "start from another run's classes":
        words = words.replace("segformer-tiny", "segformer-b0")
    assert main([word.format(data=data, out=tmp_path / "run", run=finished_run) for word in words.split()]) == code
    check(capsys.readouterr().err, message)
    assert not (tmp_path / "run" / "config.json").exists()
    assert sorted(finished_run.rglob("*")) == before


@pytest.mark.parametrize(
    ("flag", "near"),
    [("--epocs", "--epochs"), ("--batchsize", "--batch-size"), ("--method.distilation", "Unrecognized")],
)
def test_unknown_flags_get_the_nearest_right_one(flag: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["train", "scenes", flag, "3"])
    assert done.value.code == 2
    assert near in capsys.readouterr().err


def test_an_unknown_key_in_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = create_run(tmp_path / "run", small())
    values = json.loads(folder.config_path.read_text())
    values["train"]["epoch"] = 3
    folder.config_path.write_text(json.dumps(values))
    assert main(["resume", str(folder.path)]) == 2
    check(capsys.readouterr().err, "did you mean 'epochs'")


def test_a_permission_that_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "run"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["train", "scenes", "--out", str(tmp_path / "run")]) == 2
    check(capsys.readouterr().err, "Permission denied")


def test_a_disk_that_fills_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "run" / "checkpoint"))

    out = tmp_path / "run"
    words = f"train scenes --images 20 --data.image-size 32 --protocol 5-5 {TINY}".format(out=out).split()
    with monkeypatch.context() as patch:
        patch.setattr("sats.engine.checkpoint.torch.save", full)
        assert main(words) == 1
    check(capsys.readouterr().err.splitlines()[-1], "No space left on device")
    assert main(["resume", str(out)]) == 0
    assert RunFolder(out).is_finished()


def test_a_fault_of_ours_is_not_blamed_on_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object, **__: object) -> None:
        np.zeros(3).reshape(2, 2)

    monkeypatch.setattr("sats.api.create_run", fault)
    assert main(["train", "scenes", "--out", str(tmp_path / "run")]) == 1
    assert "may be a fault of sats" in capsys.readouterr().err


@pytest.mark.parametrize(("written", "told"), [("9.9.9", True), (version("sats"), False), (None, False)])
def test_settings_of_another_version_are_refused_with_its_name(
    finished_run: Path, written: str | None, told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished_run, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantum": 1}))
    environment = json.loads((folder / "environment.json").read_text())
    environment["packages"]["sats"] = written
    (folder / "environment.json").write_text(json.dumps(environment if written else {}))
    assert main(["resume", str(folder)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "quantum" in said
    assert ("The run was written by sats 9.9.9" in said) == told


def test_scores_of_another_step_are_refused(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished_run, tmp_path / "run")
    scores = json.loads((folder / "step-1" / "scores.json").read_text())
    (folder / "step-1" / "scores.json").write_text(json.dumps({**scores, "step": 10**30}))
    assert main(["report", str(folder), "--out", str(tmp_path / "report.html")]) == 2
    assert "another step" in " ".join(capsys.readouterr().err.split())


def test_a_home_of_nobody_is_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "train",
        "folder",
        "--data",
        "~nobody-by-this-name/data",
        "--protocol",
        "1-1",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(words) == 2
    check(capsys.readouterr().err, "~nobody-by-this-name")


def test_names_of_any_bytes_are_kept_in_settings(data: Path, tmp_path: Path) -> None:
    """A data folder and its images, called as an older system did."""
    odd = tmp_path / "caf\udce9"
    shutil.copytree(data, odd)
    for path in list((odd / "images").rglob("*.*")):
        path.rename(path.with_stem(f"\udcff{path.stem}"))
        mask = odd / "masks" / path.relative_to(odd / "images").with_suffix(".png")
        mask.rename(mask.with_stem(f"\udcff{mask.stem}"))
    config = recipe("folder", "finetune")
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=str(odd)))
    folder = create_run(tmp_path / "run", config)
    assert folder.config() == config
    assert len(open_data("folder", odd, "train")) == len(open_data("folder", data, "train"))


def test_binary_masks_of_0_and_255_are_told_apart_from_labels(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (data / "masks" / "val").iterdir():
        write(path, 255 * (np.asarray(Image.open(path)) > 0).astype(np.uint8))
    assert main(["data", "check", str(data)]) == 2
    assert "- val: masks hold nothing but 0 and 255, and 255 is no class" in capsys.readouterr().out
    for path in (data / "masks" / "val").iterdir():
        write(path, 2 * (np.asarray(Image.open(path)) > 0).astype(np.uint8))
    assert main(["data", "check", str(data), "--classes", "cat"]) == 0  # rare, but no mistake


def test_steps_and_orders_are_shown_before_they_are_trained(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--stream.steps", "dog", "cat"], ["--protocol", "1-1", "--order", "dog,cat"]):
        assert main(["data", "check", str(data), *words]) == 0
        rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│ ")]
        assert [[cell.strip() for cell in row] for row in rows[-2:]] == [["0", "dog", "4"], ["1", "cat", "4"]]
