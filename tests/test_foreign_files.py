"""Other people's checkpoints, data and names: nothing in them is run, unpacked beyond measure, or obeyed."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from conftest import tiny_segmenter
from sats.api import start
from sats.cli import main
from sats.data.index import image_size, read_image, read_mask
from sats.documents import MOST_BYTES, parse_json, read_json
from sats.engine.card import model_card
from sats.engine.log import Log
from sats.engine.run_folder import RunFolder
from sats.engine.skipped import show_skipped
from sats.engine.sums import SUMS
from sats.engine.train import train
from sats.errors import RunError
from sats.evaluation.scores import compute_scores
from sats.evaluation.table import class_table, show
from sats.models.checkpoint import load, save, stored_config
from sats.progress import bar
from test_engine import run, small

# --- code in a checkpoint ---------------------------------------------------------------------------------------------

CODE = """
from pathlib import Path
Path({mark!r}).touch()
from transformers import {base} as Own
"""


def with_code(folder: Path, known: bool) -> Path:
    """A model folder whose config.json names code of its own, which leaves a mark; returns where that would be."""
    save(tiny_segmenter(), folder)
    mark = folder.parent / "was run"
    for name, base in (("configuration", "SegformerConfig"), ("modeling", "SegformerForSemanticSegmentation")):
        (folder / f"{name}_own.py").write_text(CODE.format(mark=str(mark), base=base))
    change(
        folder / "config.json",
        auto_map={"AutoConfig": "configuration_own.Own", "AutoModelForSemanticSegmentation": "modeling_own.Own"},
        **({} if known else {"model_type": "own"}),
    )
    return mark


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("known", [True, False])
def test_code_in_a_model_folder_is_never_run(known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers would ask
    mark = with_code(tmp_path / "model", known)
    if known:
        assert load(tmp_path / "model").classes[0] == "background"
    else:
        with pytest.raises(ValueError, match=r"config\.json cannot be read, or is of no model that transformers knows"):
            load(tmp_path / "model")
    assert not mark.exists()


@pytest.mark.parametrize("where", [(), ("backbone_config",)])
def test_kernels_from_the_hub_are_never_fetched(where: tuple[str, ...], tmp_path: Path) -> None:
    save(tiny_segmenter(), tmp_path / "model")
    settings: dict[str, object] = {"attn_implementation": "somebody/kernel"}
    for name in where:
        settings = {name: [settings]}
    change(tmp_path / "model" / "config.json", **settings)
    with pytest.raises(ValueError, match=r"code from the hub .*sats runs none"):
        stored_config(str(tmp_path / "model"))


class Loud:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return (Path.touch, (self.mark,))


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    save(tiny_segmenter(), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save({"weight": Loud(tmp_path / "was run")}, tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="weights in safetensors"):
        load(tmp_path / "model")
    assert not (tmp_path / "was run").exists()


# --- weights that rot -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model/model.safetensors", "state.safetensors"])
def test_weights_that_changed_on_the_disk_are_not_trained_on(name: str, tmp_path: Path) -> None:
    config = small("ewc")
    run(tmp_path / "run", config)
    folder = RunFolder(tmp_path / "run")
    shutil.rmtree(folder.step(1))
    file = folder.step(0) / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    load_file(file)  # is still one
    with pytest.raises(RunError, match=f"{name} is not what was written"):
        train(config, folder, Log(folder.metrics_path))
    (folder.step(0) / SUMS).unlink()  # as a run of before has none
    train(config, folder, Log(folder.metrics_path))
    assert folder.is_finished()


def test_a_model_whose_classes_were_renamed_is_not_gone_on_from(tmp_path: Path) -> None:
    config = small()
    run(tmp_path / "run", config)
    folder = RunFolder(tmp_path / "run")
    shutil.rmtree(folder.step(1))
    path = folder.step(0) / "model" / "config.json"
    change(path, id2label={**json.loads(path.read_text())["id2label"], "1": "other"})
    with pytest.raises(ValueError, match=r"model knows the classes background, other, .* has learned background, zero"):
        train(config, folder, Log(folder.metrics_path))


# --- files out of all proportion --------------------------------------------------------------------------------------


def png_of(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims to be that large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pictures_of_too_many_pixels_are_refused_before_they_are_decoded(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(*size))
    for read in (read_image, read_mask, image_size):
        with pytest.raises(ValueError, match=r"bomb.png has too many pixels .*tiles"):
            read(str(path))


def test_json_out_of_all_proportion_is_refused(tmp_path: Path) -> None:
    for opening in ("[", '{"a":'):
        with pytest.raises(ValueError, match="the file is nested too deeply"):
            parse_json(opening * 200_000, "the file")
    with pytest.raises(ValueError, match="the file is not JSON"):
        parse_json("9" * 10_000, "the file")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(ValueError, match="larger than 256 MiB"):
        read_json(tmp_path / "large.json")


# --- names of any content ---------------------------------------------------------------------------------------------

NAMES = (
    "[bold red]markup[/bold red]",
    "\x1b[2J\x1b]0;own title\x07",
    "\x9b31m eight bits",
    "</td><script>alert(1)</script>",
    "quotes \" ' `` and | bars",
    "\u202egnissim\u2069",
    "שלום",
    "\N{PILE OF POO}\N{FAMILY}",
    "long " * 2000,
    "C:\\path\\..\\..\\etc",
    "e" + "\u0301" * 500,
    "\x00",
)


def is_harmless(text: str) -> bool:
    return not any((ord(character) < 32 and character != "\n") or 127 <= ord(character) < 160 for character in text)


def scores_of(names: tuple[str, ...]):  # type: ignore[no-untyped-def]  # Scores
    return compute_scores(np.eye(len(names), dtype=np.int64), names, 0, len(names))


def test_names_of_any_content_are_text_in_a_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    show(class_table([scores_of(("background", *NAMES))]))
    show_skipped(NAMES)
    Log(tmp_path / "metrics.jsonl").say("learning " + ", ".join(NAMES))
    shown = capsys.readouterr()
    assert is_harmless(shown.out + shown.err)
    assert "[bold red]markup[/bold red]" in shown.out
    assert max(map(len, shown.out.splitlines())) < 200 + len(NAMES[8])


def test_classes_of_any_name_are_checked_and_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "data"
    for part, suffix in (("images", "jpg"), ("masks", "png")):
        for name in ("a", "\x1b[31mred"):
            (root / part / "train").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(root / part / "train" / f"{name}.{suffix}")
    names = [name for name in NAMES if "\n" not in name]
    (root / "classes.txt").write_text("\n".join(["background", *names]), encoding="utf-8")
    assert main(["data", "check", str(root)]) == 0
    (root / "masks" / "train" / "\x1b[31mred.png").write_bytes(b"")
    assert main(["data", "check", str(root)]) == 2
    shown = capsys.readouterr()
    assert is_harmless(shown.out + shown.err)
    assert "red.png is not an image" in shown.out


def test_messages_have_no_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path / "\x1b[2Jmodel")]) == 2
    assert main(["\x1b[2Jcommand"]) == 2
    assert is_harmless(capsys.readouterr().err)


def test_somebody_elses_configuration_makes_a_run_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = start(dataclasses.replace(small(), recipe="../../up\x1b[2J/and away"))
    assert folder.path.parent == Path("runs")
    assert (tmp_path / "runs" / "..-..-up-2J-and-away-5-5-finetune-seed0" / "config.json").is_file()


def test_a_bar_shows_its_title_as_it_is() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with bar(console) as shown:
        shown.add_task("decoding [/]", total=3)
        shown.refresh()
    assert "decoding [/]" in console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO


def test_model_cards_hold_names_as_text() -> None:
    card = model_card(small(), [{"learns": ["background", *NAMES], "images": 3}], [scores_of(("background", *NAMES))])
    assert "<script>" not in card
    assert "\x1b" not in card
    assert is_harmless(card)
