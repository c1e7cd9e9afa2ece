"""Whatever is handed to the readers, they answer with a value or a ValueError; what they take is written the same."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sats.bench.suite import parse_suite
from sats.config import from_json, to_json
from sats.data.folder import read_names
from sats.data.index import image_size, read_image, read_mask
from sats.data.pairs import chosen_classes, make_labels
from sats.data.protocol import class_groups, parse_protocol
from sats.engine.run_folder import RunFolder, is_run, read_skipped
from sats.evaluation.scores import compute_scores, read_scores
from sats.markdown import escaped
from sats.methods import METHODS
from sats.recipes import recipe
from sats.types import BACKGROUND, IGNORE
from sats.words import LONGEST_NAME, shown

TEXTS = st.text(max_size=20) | st.sampled_from(["background", "\x1b[2J", "[red]", "</script>", "\u202e", "a\nb"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
FOLDER = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(value: Any, place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = value.items() if isinstance(value, dict) else ()
    return [place, *(found for name, part in inner for found in places(part, (*place, name)))]


@settings(max_examples=300, deadline=None)
@given(data=st.data(), method=st.sampled_from(sorted(METHODS)), value=VALUES)
def test_any_value_in_any_place_of_a_configuration(data: st.DataObject, method: str, value: Any) -> None:
    document = json.loads(to_json(recipe("scenes", method)))
    *path, last = data.draw(st.sampled_from(places(document)[1:]))
    parent = document
    for name in path:
        parent = parent[name]
    parent[last] = value
    with contextlib.suppress(ValueError):
        config = from_json(json.dumps(document))
        assert from_json(to_json(config)) == config


@given(value=VALUES)
def test_any_document_as_a_configuration_or_a_suite(value: Any) -> None:
    for read in (lambda: from_json(json.dumps(value)), lambda: parse_suite(value)):
        with contextlib.suppress(ValueError):
            read()


@FOLDER
@given(content=st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_content_of_a_runs_files(content: bytes, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    path = folder.step(0) / "scores.json"
    path.parent.mkdir(exist_ok=True)
    for file in (path, tmp_path / "config.json", tmp_path / "steps.json", tmp_path / "skipped.jsonl"):
        file.write_bytes(content)
    assert isinstance(is_run(tmp_path), bool)
    assert all(isinstance(problem, str) for problem in read_skipped(tmp_path / "skipped.jsonl"))
    for read in (folder.config, folder.steps, folder.domains, folder.scores):
        with contextlib.suppress(ValueError):
            read()  # type: ignore[operator]  # each without arguments


@FOLDER
@given(names=st.lists(TEXTS, min_size=1, max_size=5, unique=True), seed=st.integers(0, 99))
def test_scores_are_read_as_they_were_written(names: list[str], seed: int, tmp_path: Path) -> None:
    matrix = np.random.default_rng(seed).integers(0, 3, (len(names), len(names)))
    scores = compute_scores(matrix, names, 0, 1 + seed % len(names))
    (tmp_path / "scores.json").write_text(scores.to_json(), encoding="utf-8")
    assert read_scores(tmp_path / "scores.json") == scores


@FOLDER
@given(content=st.binary(max_size=200) | st.lists(TEXTS).map(lambda lines: "\n".join(lines).encode("utf-8")))
def test_any_content_of_classes_txt(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(content)
    with contextlib.suppress(ValueError):
        names = read_names(tmp_path / "classes.txt")
        assert 0 < len(set(names)) == len(names) <= IGNORE
        assert all(name.strip() == name != "" for name in names)


def picture(suffix: str) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7)).astype(np.uint8)
    Image.fromarray(pixels).convert("RGB").save(content, format=suffix)
    return content.getvalue()


PICTURES = {suffix: picture(suffix) for suffix in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")}


@settings(max_examples=400, deadline=None)
@given(
    suffix=st.sampled_from(sorted(PICTURES)),
    place=st.integers(0, 150),
    piece=st.binary(max_size=6),
    length=st.sampled_from([0, 1, 4, 300]),
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of EXIF data that is none
def test_any_piece_anywhere_in_a_picture(suffix: str, place: int, piece: bytes, length: int) -> None:
    content = PICTURES[suffix][:place] + piece + PICTURES[suffix][place + length :]
    with contextlib.suppress(ValueError):
        height, width = image_size("picture", content)
        assert min(height, width) > 0
    with contextlib.suppress(ValueError):
        assert read_image("picture", content=content).mode == "RGB"


@FOLDER
@given(content=st.binary(max_size=100), start=st.sampled_from([0, 8, 33, 60]))
def test_any_content_of_a_mask(content: bytes, start: int, tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(PICTURES["PNG"][:start] + content)
    with pytest.raises(ValueError, match=r"mask\.png"):
        read_mask(str(tmp_path / "mask.png"))


@given(text=st.text(alphabet="0123456789-x ", max_size=8) | TEXTS, number=st.integers(0, 12))
def test_any_protocol(text: str, number: int) -> None:
    with contextlib.suppress(ValueError):
        sizes = parse_protocol(text, number)
        assert sum(sizes) == number
        assert min(sizes) > 0


@example(names=["background", ""], steps=[["", ""]], order=[], protocol="")  # a name that is nothing, twice
@given(
    names=st.lists(TEXTS, min_size=2, max_size=5, unique=True),
    steps=st.lists(st.lists(TEXTS, max_size=3), max_size=3),
    order=st.lists(TEXTS, max_size=5),
    protocol=st.sampled_from(["", "1-1", "2-1", "all"]),
)
def test_any_steps_and_order(names: list[str], steps: list[list[str]], order: list[str], protocol: str) -> None:
    with contextlib.suppress(ValueError):
        groups = class_groups(names, protocol, steps, order, None)
        every = [index for group in groups for index in group]
        assert len(set(every)) == len(every)
        assert all(BACKGROUND < index < len(names) for index in every)


@given(data=st.data(), number=st.integers(2, 8), has_background=st.booleans())
def test_a_label_map_keeps_each_chosen_class_and_makes_the_others_background(
    data: st.DataObject, number: int, has_background: bool
) -> None:
    names = tuple(f"class {index}" for index in range(number))
    known = names[1:] if has_background else names
    chosen = tuple(data.draw(st.lists(st.sampled_from(known), unique=True)))
    raw = data.draw(st.lists(st.integers(0, IGNORE - 1), min_size=number, max_size=number, unique=True))
    labels = make_labels(names, chosen, has_background, dict(zip(raw, range(number), strict=True)), "set", "")
    table: NDArray[np.uint8] = labels.channels
    for value in range(IGNORE + 1):
        name = names[raw.index(value)] if value in raw else None
        if name is None:
            assert table[value] == IGNORE
        elif name in (chosen or known):
            assert labels.classes[table[value]] == name
        else:
            assert table[value] == BACKGROUND
    assert set(np.flatnonzero(labels.known).tolist()) == {*raw, IGNORE}


@given(names=st.lists(TEXTS, min_size=1, max_size=5), chosen=st.lists(TEXTS, max_size=4), background=st.booleans())
def test_any_choice_of_classes(names: list[str], chosen: list[str], background: bool) -> None:
    with contextlib.suppress(ValueError):
        classes = chosen_classes(names, chosen, background, "set")
        assert len(classes) > 1


@given(name=st.text() | st.text(alphabet="\x1b\u202e\u0301\n\r\t\x00א<[`|", max_size=300))
def test_any_name_is_one_harmless_line(name: str) -> None:
    line = shown(name)
    assert 0 < len(line) <= LONGEST_NAME + 2  # marks around what runs from right to left
    assert len(line.splitlines()) == 1
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in line)
    assert "<" not in escaped(name)
