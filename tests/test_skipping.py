"""Images and masks that cannot be used: left out where that was asked for, told of once, never learned from."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fakes import FakeSource, names
from sats.cli import main
from sats.config import RunConfig
from sats.data.copies import CopySource
from sats.data.folder import open_folder
from sats.data.index import image_size, read_image
from sats.data.loader import EvaluationBatches, TrainLoader
from sats.data.memory import Exemplar
from sats.data.pairs import DataProblemsError
from sats.data.stream import Joined, Samples
from sats.data.transforms import TestTransform, TrainTransform
from sats.engine.log import Log
from sats.engine.run_folder import RunFolder, create_run, read_skipped
from sats.engine.skipped import Skipped
from sats.engine.train import train
from sats.methods import METHODS, Method
from sats.types import IGNORE
from test_engine import run, same_weights, small
from test_loader import ids, same
from test_resume import interrupted

IMAGES = 8


def spoil(path: Path) -> None:
    """Change a byte of the pixels of a PNG: header and end stay sound, as after a fault of a disk."""
    content = bytearray(path.read_bytes())
    place = content.index(b"IDAT") + 10
    content[place] ^= 0xFF
    path.write_bytes(content)


def write_data(root: Path) -> Path:
    """Images of 40 x 40 pixels with a background and two classes."""
    for split, number in (("train", IMAGES), ("val", 4)):
        for part in ("images", "masks"):
            (root / part / split).mkdir(parents=True)
        for index in range(number):
            mask = np.kron(np.random.default_rng(index).integers(0, 3, (4, 4)), np.ones((10, 10))).astype(np.uint8)
            mask[:20, :20], mask[20:, 20:] = 1, 2
            Image.fromarray(mask).save(root / "masks" / split / f"{index:02}.png")
            Image.fromarray(np.repeat(mask[..., None] * 80, 3, 2)).save(root / "images" / split / f"{index:02}.png")
    (root / "classes.txt").write_text("background\ncat\ndog\n")
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def paint(path: Path, value: int) -> None:
    Image.fromarray(np.full((40, 40), value, dtype=np.uint8)).save(path)


# --- found when the data is opened ------------------------------------------------------------------------------------


def test_pairs_that_cannot_be_used_are_left_out_and_listed(data: Path) -> None:
    whole = open_folder(data, "train")
    paint(data / "masks/train/01.png", 77)
    (data / "masks/train/03.png").write_bytes(b"no image")
    (data / "images/train/05.png").write_bytes((data / "images/train/05.png").read_bytes()[:-30])
    (data / "masks/train/07.png").unlink()
    with pytest.raises(DataProblemsError) as caught:
        open_folder(data, "train")
    source = open_folder(data, "train", on_error="skip")
    kept = [0, 2, 4, 6]
    assert [source.key(place) for place in range(len(source))] == [f"train/{index:02}" for index in kept]
    assert sorted(source.skipped) == sorted(caught.value.problems)
    assert len(source.skipped) == 4
    np.testing.assert_array_equal(source.presence(), whole.presence()[kept])
    for place, index in enumerate(kept):
        np.testing.assert_array_equal(source.mask(place), whole.mask(index))
        assert source.size(place) == whole.size(index)


def test_no_mask_with_an_unknown_id_is_ever_read(data: Path) -> None:
    source = open_folder(data, "train", on_error="skip")
    paint(data / "masks/train/03.png", 3)  # changed since it was indexed
    with pytest.raises(ValueError, match="holds the id 3"):
        source.stored_mask(3)


def test_no_copy_with_an_unknown_id_is_ever_read(data: Path) -> None:
    exemplar = Exemplar("train/03", 0, "03.png", "03.png")
    source = CopySource(data / "masks" / "train", (exemplar,), ("background", "cat", "dog"))
    assert source.mask(0).max() == 2
    paint(data / "masks/train/03.png", 3)
    with pytest.raises(ValueError, match="holds the id 3, which is not a class"):
        source.mask(0)


def test_more_than_half_are_not_single_broken_images(data: Path) -> None:
    for index in range(IMAGES // 2 + 1):
        paint(data / f"masks/train/{index:02}.png", 77)
    with pytest.raises(DataProblemsError, match="5 problems"):
        open_folder(data, "train", on_error="skip")


@pytest.mark.parametrize("left", [0, 1, IMAGES // 2 - 1])
@pytest.mark.parametrize("ending", [None, ".jpg"])
def test_more_than_half_of_the_images_without_a_mask_are_no_single_ones(
    left: int, ending: str | None, data: Path
) -> None:
    for index in range(left, IMAGES):
        mask = data / f"masks/train/{index:02}.png"
        if ending:
            mask.rename(mask.with_suffix(ending))
        else:
            mask.unlink()
    with pytest.raises(DataProblemsError, match=r"is not a PNG|images without a mask") as told:
        open_folder(data, "train", on_error="skip")
    assert told.value.__notes__ == [f"Of {IMAGES} images so few are left, {left}, that --on-error skip does not go on."]


def test_half_of_the_images_without_a_mask_are_left_out(data: Path) -> None:
    for index in range(IMAGES // 2):
        (data / f"masks/train/{index:02}.png").unlink()
    source = open_folder(data, "train", on_error="skip")
    assert len(source) == IMAGES // 2
    assert [type(problem) for problem in source.skipped] == [str]


# --- found in the middle of a run -------------------------------------------------------------------------------------


class Broken(FakeSource):
    """A source some of whose images cannot be read."""

    broken: frozenset[int] = frozenset()

    def mask(self, index: int) -> NDArray[np.uint8]:
        if index in self.broken:
            raise ValueError(f"fake/{index} is no image.")
        return super().mask(index)


def numbered(images: int, *broken: int) -> Samples:
    """Samples whose labels tell which image they came from."""
    source = Broken(tuple(np.full((8, 8), index, dtype=np.uint8) for index in range(images)), names(images))
    object.__setattr__(source, "broken", frozenset(broken))
    return Samples(source, np.arange(images), np.arange(256, dtype=np.uint8))


def loader(samples: Samples, said: Callable[[str], None], batch_size: int = 4) -> TrainLoader:
    transform = TrainTransform(8, scale=(1.0, 1.0))
    return TrainLoader(samples=samples, transform=transform, batch_size=batch_size, seed=(3,), skipped=said)


def test_the_next_image_takes_the_place_of_a_broken_one() -> None:
    said: list[str] = []
    sound = ids(list(loader(numbered(9), said.append).batches(0, 6)))
    assert said == []
    found = ids(list(loader(numbered(9, 2, 3, 8), said.append).batches(0, 6)))
    assert found == [{2: 4, 3: 4, 8: 0}.get(index, index) for index in sound]
    assert set(said) == {f"fake/{index} is no image." for index in (2, 3, 8)}
    once = ids(list(loader(numbered(9, 8), said.append).one_pass()))
    assert sorted(once) == [0, *range(8)]


def test_an_exemplar_takes_the_place_of_an_exemplar() -> None:
    said: list[str] = []
    everything = numbered(10, 9)
    parts = [dataclasses.replace(everything, indices=part) for part in np.split(everything.indices, [6, 8])]
    whole = dataclasses.replace(loader(parts[0], said.append), exemplars=Joined(tuple(parts[1:])))
    found = ids(list(whole.batches(0, 6)))
    assert set(found) == set(range(9))
    assert found.count(6) > found.count(7)  # the first exemplar comes after the last
    assert said


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores: on purpose
def test_workers_processes_and_where_one_starts_do_not_matter() -> None:
    said: list[str] = []
    whole = dataclasses.replace(loader(numbered(9, 2, 3, 8), said.append), accumulation=2)
    batches = list(whole.batches(0, 6))
    elsewhere: list[str] = []
    several = dataclasses.replace(whole, workers=3, skipped=elsewhere.append)
    assert same(list(several.batches(0, 6)), batches)
    assert elsewhere == said
    assert same(list(whole.batches(2, 6)), batches[4:])
    shares = [
        list(dataclasses.replace(whole, accumulation=1, process=rank, processes=2).batches(0, 6)) for rank in (0, 1)
    ]
    assert same([batch for pair in zip(*shares, strict=True) for batch in pair], batches)


def test_when_nothing_can_be_read_any_more_it_ends() -> None:
    said: list[str] = []
    gone = loader(numbered(40, *range(40)), said.append)
    with pytest.raises(ValueError, match=r"10 images in a row cannot be used.*still there\?.*fake/"):
        list(gone.batches(0, 1))


def test_nothing_is_measured_on_a_test_image_that_cannot_be_read() -> None:
    said: list[str] = []
    batches = EvaluationBatches(numbered(5, 2), TestTransform(), 2, 0, torch.device("cpu"), skipped=said.append)
    labels = torch.cat([batch.labels for batch in batches])
    assert labels[:, 0, 0].tolist() == [0, 1, IGNORE, 3, 4]
    assert (labels[2] == IGNORE).all()
    assert said == ["fake/2 is no image."]


# --- whole runs -------------------------------------------------------------------------------------------------------


def settings(data: Path, on_error: str = "skip", **changes: object) -> RunConfig[Method]:
    config = small("sats", **changes)
    train = dataclasses.replace(config.train, batch_size=2)
    own = dataclasses.replace(config.data, source="folder", root=str(data), on_error=on_error)
    stream = dataclasses.replace(config.stream, protocol="1-1")
    return dataclasses.replace(config, data=own, stream=stream, train=train)


def test_a_run_goes_on_without_broken_images_to_the_same_end_when_interrupted(data: Path, tmp_path: Path) -> None:
    for broken in ("images/train/03.png", "images/val/01.png"):
        spoil(data / broken)
        assert image_size(str(data / broken)) == (40, 40)  # so the index does not notice
        with pytest.raises(ValueError, match="can't be read"):
            read_image(str(data / broken))
    paint(data / "masks/train/07.png", 99)
    config = settings(data)
    run(tmp_path / "whole", config)
    folder = RunFolder(tmp_path / "whole")
    problems = folder.skipped()
    assert [Path(problem.split()[0]).name for problem in problems] == ["07.png", "03.png", "01.png"]
    assert "holds the id 99" in problems[0]
    assert folder.scores()[-1].pixels["background"] < 3 * 40 * 40  # of three test images
    assert sum(folder.scores()[-1].pixels.values()) == 3 * 40 * 40
    again = create_run(tmp_path / "again", config)
    interrupted(again, config, 7)
    train(config, again, Log(again.metrics_path))
    assert again.skipped() == problems
    assert all(same_weights(folder.path, again.path, step) for step in range(2))


def test_without_the_policy_a_broken_image_ends_the_run(data: Path, tmp_path: Path) -> None:
    spoil(data / "images/train/03.png")
    with pytest.raises(ValueError, match=r"03.png can't be read"):
        run(tmp_path / "run", settings(data, "error"))
    assert not RunFolder(tmp_path / "run").skipped()


def test_an_exemplar_that_cannot_be_copied_is_not_kept(data: Path, tmp_path: Path) -> None:
    for index in range(1, IMAGES):
        shutil.copyfile(data / "masks/train/00.png", data / f"masks/train/{index:02}.png")
    spoil(data / "images/train/03.png")
    base = dataclasses.replace(settings(data), method=METHODS["finetune"]())
    memory = dataclasses.replace(base.memory, size=IMAGES, copy=True)
    run(tmp_path / "run", dataclasses.replace(base, memory=memory))
    stored = json.loads((tmp_path / "run" / "memory.json").read_text())["steps"][0]
    assert len(stored) == IMAGES - 1
    assert "train/03" not in {entry["key"] for entry in stored}


def test_what_was_skipped_is_told_at_the_end(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(data / "images/val/01.png")
    out = tmp_path / "run"
    words = f"train folder --data {data} --protocol 1-1 --crop 32 --batch-size 2 --epochs 1 --on-error skip"
    assert main([*words.split(), "--model.name", "segformer-tiny", "--method", "finetune", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert f"1 problem, listed in {out / 'skipped.jsonl'}\n- {data}/images/val/01.png can't be read" in told.out
    assert told.err.count("Skipped: ") == 1
    assert main(["evaluate", str(out)]) == 0
    assert f"1 problem\n- {data}/images/val/01.png can't be read" in capsys.readouterr().out
    assert main(["evaluate", str(out), "--on-error", "error"]) == 2
    assert "01.png can't be read" in capsys.readouterr().err
    assert main(["evaluate", str(out), "--data", str(data), "--on-error", "skip"]) == 0


def test_data_check_finds_them_beforehand(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(data / "images/train/03.png")
    paint(data / "masks/train/05.png", 99)
    assert main(["data", "check", str(data), "--quick"]) == 2
    told = capsys.readouterr()
    assert "05.png holds the id 99" in told.out
    assert "03.png" not in told.out
    assert "1 problem, listed above" in told.err
    assert main(["data", "check", str(data)]) == 2
    told = capsys.readouterr().out
    assert f"- train: {data}/images/train/03.png can't be read" in told
    assert "05.png holds the id 99" in told
    (data / "images/train/03.png").unlink()
    (data / "masks/train/03.png").unlink()
    paint(data / "masks/train/05.png", 2)
    assert main(["data", "check", str(data)]) == 0


def test_each_problem_is_noted_once_over_all_starts_and_processes(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    said: list[str] = []
    for process in (0, 0, 1):
        note = Skipped(folder.skipped_path(process), said.append)
        for problem in ("one\nbroken", "two", "one\nbroken"):
            note(problem)
    assert said == ["Skipped: one\nbroken", "Skipped: two"] * 2
    assert folder.skipped() == ["one\nbroken", "two"]
    with folder.skipped_path().open("a") as file:
        file.write('{"problem": "cut off')
    assert read_skipped(folder.skipped_path()) == ["one\nbroken", "two"]
