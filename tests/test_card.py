"""The model card: what it says is what was run, and names of any content are text in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sats.config import DataConfig
from sats.engine.card import model_card
from sats.engine.run_folder import RunFolder
from test_engine import run, small
from test_report import HOSTILE, groups_of, write_run


def card_of(folder: Path) -> str:
    record = RunFolder(folder)
    return model_card(record.config(), record.steps(), record.scores())


def rows(card: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| ")]


def test_every_steps_model_has_a_card_of_its_own(tmp_path: Path) -> None:
    run(tmp_path / "run", small("sats"))
    folder = RunFolder(tmp_path / "run")
    for step, scores in enumerate(folder.scores()):
        card = (folder.step(step) / "model" / "README.md").read_text(encoding="utf-8")
        assert card.startswith("---\nlibrary_name: transformers\n")
        assert f"after step {step} of 1." in card
        assert "`sats`: the built-in scenes, protocol 5-5, overlapped, seed 0" in card
        found = {row[0]: row for row in rows(card)}
        for name, iou in scores.iou.items():
            assert found[name][1] == ("–" if iou is None else f"{100 * iou:.1f}")  # noqa: RUF001 (the dash that is shown)
        assert ("1" in found) == (step == 1)
        assert "random weights" in card


@pytest.mark.parametrize(
    ("weights", "start", "text"),
    [
        ("/home/me/secret/mit-b0", "", "weights mit-b0, whose terms apply"),
        ("nvidia/mit-b0", "", "weights nvidia/mit-b0, whose terms apply"),
        ("", "/home/me/secret/run/step-0", "the card of that step"),
    ],
)
def test_the_origin_is_named_and_no_path_given_away(tmp_path: Path, weights: str, start: str, text: str) -> None:
    config = small("finetune", start_from=start)
    model = dataclasses.replace(config.model, weights=weights)
    data = DataConfig(source="folder", root="/home/me/secret/street photos")
    write_run(tmp_path / "run", groups_of(2, 1), dataclasses.replace(config, model=model, data=data))
    card = card_of(tmp_path / "run")
    assert text in card
    assert "the folder street photos" in card
    assert "secret" not in card


def test_names_of_any_content_are_text(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [["background", *HOSTILE[:6]], list(HOSTILE[6:])])
    card = card_of(tmp_path / "run")
    assert "<script" not in card
    assert "<img" not in card
    assert "\\{\\{ 7 \\* 7 \\}\\}" in card
    widths = {len(row) for row in rows(card)}
    assert widths == {3, 4}  # no name adds a column, or breaks a row
    assert len(rows(card)) == 2 + 2 + 2 + 6 + 2 + 1 + len(HOSTILE)
