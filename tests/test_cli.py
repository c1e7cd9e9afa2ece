"""The command: what it prints, what it writes before torch is loaded, and what it says to mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import pipeline

from sats.cli import main
from sats.commands.train import parse
from sats.config import RunConfig, read_config
from sats.methods import METHODS
from sats.methods.finetune import Finetune
from sats.methods.sats import Sats

TINY = ["--images", "20", "--data.image-size", "32", "--crop", "32", "--batch-size", "6", "--epochs", "1"]


def test_one_tiny_run_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["train", "scenes", "--protocol", "5-5", "--method", "sats", *TINY, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert str(out) in shown.out
    assert "hIoU" in shown.out
    assert "nine" in shown.out
    assert "images/s" in shown.err
    scores = json.loads((out / "step-1" / "scores.json").read_text())
    assert set(scores) == {"step", "classes", "iou", "pixels", "miou", "forgetting"}
    assert set(scores["miou"]) == {"all", "old", "old_without_background", "new", "avg", "hiou"}
    answers = pipeline("image-segmentation", model=str(out / "step-1" / "model"))(Image.new("RGB", (40, 30)))
    assert {answer["label"] for answer in answers} <= set(scores["classes"])

    # the stored configuration runs it again, and a flag still changes it
    again = tmp_path / "again"
    assert main(["train", "--config", str(out / "config.json"), "--out", str(again)]) == 0
    assert (again / "step-1" / "scores.json").read_text() == (out / "step-1" / "scores.json").read_text()


def test_own_data_with_chosen_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    for split, count in (("train", 12), ("val", 4)):
        for index in range(count):
            mask = np.kron(rng.integers(0, 4, (4, 4)), np.ones((10, 12))).astype(np.uint8)
            for kind, picture in (("images", np.repeat(mask[..., None] * 60, 3, 2)), ("masks", mask)):
                path = root / kind / split / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path)
    (root / "classes.txt").write_text("road\ncar\ntree\nsky\n")
    out = tmp_path / "run"
    words = ["train", "folder", "--data", str(root), "--classes", "sky,car,tree", "--protocol", "1-2", *TINY]
    words += ["--model.name", "segformer-tiny", "--method", "finetune"]
    assert main([*words, "--out", str(out)]) == 0
    scores = json.loads((out / "step-1" / "scores.json").read_text())
    assert scores["classes"] == ["background: not learned yet", "sky", "car", "tree"]


def config_of(words: str) -> RunConfig:
    return parse(words.split()).run


def test_short_and_long_flags_set_the_same_fields() -> None:
    short = config_of(
        "scenes --epochs 3 --epochs-later 2 --batch-size 4 --crop 32 --lr 0.5 --lr-later 0.1 --workers 0 --images 9"
        " --seed 4 --from a/step-0 --protocol 4-3 --setting disjoint --classes one,two --method finetune"
    )
    long = config_of(
        "scenes --method=finetune --train.epochs 3 --train.epochs-later 2 --train.batch-size 4 --train.crop 32"
        " --optim.lr 0.5 --optim.lr-later 0.1 --train.workers 0 --data.images 9 --seed 4 --start-from a/step-0"
        " --stream.protocol 4-3 --stream.setting disjoint --data.classes one,two"
    )
    assert short == long
    assert isinstance(short.method, Finetune)
    assert (short.train.epochs, short.optim.lr_later, short.data.classes) == (3, 0.1, ("one", "two"))


def test_the_methods_own_fields_are_flags() -> None:
    config = config_of("scenes --method sats --method.distillation 5 --method.attention-transfer.pooling global")
    assert isinstance(config.method, Sats)
    assert (config.method.distillation, config.method.attention_transfer.pooling) == (5, "global")
    carried = config_of("scenes --method finetune --method.attention-transfer.weight 20")
    assert carried.method.attention_transfer.weight == 20


def test_steps_can_be_listed_by_name() -> None:
    assert config_of("scenes --stream.steps one,two three four").stream.steps == (("one", "two"), ("three",), ("four",))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train", "Name a recipe"),
        ("train scene", "did you mean 'scenes'"),
        ("train scenes --method satz", "did you mean 'sats'"),
        ("train scenes --method", "needs a value"),
        ("trane scenes", "no command 'trane'"),
        ("train scenes --protocol 7-2", "into whole steps"),
        ("train scenes --classes one,tow --protocol 1-1", "two"),
        ("train scenes --epochs 0", "at least 1"),
        ("train folder --data /no/such/folder --protocol 1-1", "/no/such/folder"),
        ("train scenes --from /no/such/run/step-0", "RUN/step-0"),
        ("train --config /no/such/config.json", "config.json"),
        ("train scenes --model.weights /no/such/weights", "/no/such/weights"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert not list(tmp_path.rglob("config.json"))  # no folder of a run that never began


@pytest.mark.parametrize("words", ["train scenes --epocs 3", "train scenes --method finetune --method.distillation 3"])
def test_an_unknown_flag_exits_with_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words.split())
    assert exit_.value.code == 2
    assert "nrecognized" in capsys.readouterr().err


def test_a_run_folder_that_exists_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("mine")
    assert main(["train", "scenes", *TINY, "--out", str(tmp_path)]) == 2
    assert "--out" in capsys.readouterr().err
    assert (tmp_path / "config.json").read_text() == "mine"


def test_help_lists_recipes_methods_and_the_methods_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "scenes, folder" in shown
    assert "finetune, ilt, joint" in shown
    with pytest.raises(SystemExit):
        main(["train", "scenes", "--method", "sats", "--help"])
    shown = capsys.readouterr().out
    assert "--method.attention-transfer.weight" in shown
    assert "--protocol" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_the_folder_and_its_configuration_exist_before_torch_is_loaded(tmp_path: Path) -> None:
    script = f"""
import sys, sats.api as api, sats.cli as cli
made = api.create_run
def create_run(path, config):
    folder = made(path, config)
    assert "torch" not in sys.modules and "transformers" not in sys.modules
    raise SystemExit(7)
api.create_run = create_run
cli.main(["train", "scenes", "--method", "sats", "--out", {str(tmp_path / "run")!r}])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert read_config(tmp_path / "run" / "config.json").recipe == "scenes"


@pytest.mark.parametrize("method", METHODS)
def test_every_methods_help_reads_well_at_80_columns(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "scenes", "--method", method, "--help"])
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 80
