"""Suites: what their files may say, the cells they span, what these are called, which share a step 0."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sats.bench.naming import cell_name, short_names, value_text
from sats.bench.settings import Places
from sats.bench.step0 import step0_of
from sats.bench.suite import Cell, cells, parse_suite, read_suite
from sats.config import RunConfig
from sats.dotted import flat, merged, nested
from sats.methods import METHODS, Method
from sats.recipes import recipe

EXAMPLE = Path(__file__).parent.parent / "benchmarks" / "suites" / "scenes.json"
PAGE = Path(__file__).parent.parent / "docs" / "bench.md"
NOWHERE = Places()


def spanned(**values: object) -> tuple[Cell, ...]:
    return cells(parse_suite({"name": "test", "variants": {"finetune": {}}, **values}), NOWHERE)


# --- the format -------------------------------------------------------------------------------------------------------


def test_settings_are_laid_over_each_other() -> None:
    (mine, other) = spanned(
        base={"train": {"epochs": 3, "crop": 32}, "seed": 5},
        variants={"mine": {"method": {"name": "mib", "frozen_encoder": True}, "train": {"epochs": 4}}, "sats": {}},
        grid={"optim.lr_later": [0.5]},
    )
    assert mine.config.method == METHODS["mib"](frozen_encoder=True)
    assert (mine.config.train.epochs, mine.config.train.crop, mine.config.seed) == (4, 32, 5)
    assert mine.config.optim.lr_later == other.config.optim.lr_later == 0.5
    assert other.config.train.epochs == 3
    plain = recipe("scenes", "sats")
    assert other.config.method == plain.method
    assert other.config.optim == dataclasses.replace(plain.optim, lr_later=0.5)


def test_a_method_has_its_own_settings_of_the_recipe() -> None:
    (plop,) = spanned(variants={"plop": {}}, recipe="voc-10-1", base={"data": {"source": "scenes"}})
    assert plop.config.train == recipe("voc-10-1", "plop").train


def test_recipes_can_be_in_a_grid() -> None:
    first, second = spanned(base={"data": {"source": "scenes"}}, grid={"recipe": ["voc-15-1", "voc-10-1"]})
    assert [cell.config.stream.protocol for cell in (first, second)] == ["15-1", "10-1"]


def test_parts_have_their_own_variants_and_add_to_the_grid() -> None:
    found = spanned(
        variants={"finetune": {}, "sats": {}},
        grid={"seed": [0, 1]},
        parts=[{}, {"variants": ["sats"], "grid": {"stream.protocol": ["5-1"], "seed": [0]}}],
    )
    names = [cell.name for cell in found]
    assert names == ["finetune,seed=0", "sats,seed=0", "finetune,seed=1", "sats,seed=1", "sats,seed=0,protocol=5-1"]


def test_a_cell_that_two_parts_name_is_run_once() -> None:
    assert len(spanned(parts=[{"grid": {"seed": [0, 1]}}, {"grid": {"seed": [1, 2]}}])) == 3
    grid: dict[str, list[object]] = {"seed": [0], "stream.protocol": ["5-1"]}
    assert len(spanned(parts=[{"grid": grid}, {"grid": dict(reversed(grid.items()))}])) == 1


MISTAKES: list[tuple[dict[str, object], str]] = [
    ({"variant": {}}, "There is no key 'variant'; did you mean 'variants'?"),
    ({"variants": {}}, 'it needs "variants", for example {"finetune": {}, "sats": {}}.'),
    ({"variants": None}, 'it needs "variants", for example'),
    ({"variants": ["sats"]}, "variants: expected an object in braces, got ['sats']"),
    ({"variants": {"a/b": {}}}, "'a/b' becomes a part of folders' names"),
    ({"variants": {"sats": {}, "SATS": {}}}, "differ in capitals only"),
    ({"name": ".."}, "'..' becomes a part of folders' names"),
    ({"grid": {"seed": 3}}, "seed in a grid is a list of values, not 3"),
    ({"grid": {"seed": [1, 1]}}, "seed in a grid lists a value twice"),
    ({"grid": {"seed": []}}, "seed in a grid is a list"),
    ({"parts": [{"variants": ["finetun"]}]}, "There is no variant 'finetun'; did you mean 'finetune'?"),
    ({"parts": {}}, "parts is a list"),
    ({"grid": {"stream.protocl": ["5-5"]}}, "There is no setting 'protocl'; did you mean 'protocol'?"),
    ({"grid": {"seed": ["a"]}}, "finetune,seed=a: the configuration: seed must be int"),
    ({"variants": {"mine": {}}}, "no method is called mine"),
    ({"variants": {"mine": {"method": "sats"}}}, "method is an object"),
    ({"variants": {"mine": {"method": {"name": "sat"}}}}, "There is no method 'sat'; did you mean 'sats'?"),
    ({"recipe": "scene"}, "There is no recipe 'scene'; did you mean 'scenes'?"),
    ({"base": {"train": {"epoch": 1}}}, "There is no setting 'epoch'; did you mean 'epochs'?"),
    ({"base": {"data": []}}, "expected the settings of DataConfig"),
    ({"base": {"start_from": "runs/x"}}, "leave out start_from"),
    ({"recipe": "voc-15-1"}, "Name its folder with --data DIR"),
]


@pytest.mark.parametrize(("values", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_mistakes_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        spanned(**values)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ({"data": {"root": "."}, "model": {"weights": 5}}, "weights"),
        ({"data": {"root": ".", "folders": None}}, "folders"),
        ({"data": {"root": ".", "folders": "ab"}}, "folders"),
    ],
)
def test_settings_of_another_kind_are_named_where_paths_are_placed(
    base: dict[str, object], message: str, tmp_path: Path
) -> None:
    suite = parse_suite({"name": "x", "recipe": "folder", "base": base, "variants": {"sats": {}}})
    with pytest.raises(ValueError, match=message):
        cells(suite, Places(tmp_path, tmp_path))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_suite(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_suite(tmp_path / "broken.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="expected an object"):
        read_suite(tmp_path / "list.json")


def test_paths_are_below_the_places_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "mit").mkdir()
    (tmp_path / "voc").mkdir()
    suite = parse_suite(
        {
            "name": "voc",
            "recipe": "voc-15-1",
            "base": {"data": {"root": "voc"}},
            "variants": {"sats": {}, "other": {"method": {"name": "sats"}, "model": {"weights": "mit"}},
                         "random": {"method": {"name": "sats"}, "model": {"weights": ""}}},
        }
    )  # fmt: skip
    found = cells(suite, Places(tmp_path, tmp_path))
    assert {cell.config.data.root for cell in found} == {str(tmp_path / "voc")}
    assert [cell.config.model.weights for cell in found] == [str(tmp_path), str(tmp_path / "mit"), ""]
    hub = cells(suite, Places(tmp_path))
    assert hub[0].config.model.weights == "nvidia/mit-b2"
    with pytest.raises(ValueError, match=f"There is no folder {tmp_path / 'mit' / 'voc'}"):
        cells(suite, Places(tmp_path / "mit"))
    with pytest.raises(ValueError, match="--weights DIR"):
        Places(tmp_path, tmp_path / "none").check()


def test_the_example_suite_is_right() -> None:
    suite = read_suite(EXAMPLE)
    assert len(cells(suite, NOWHERE)) == 15
    assert f"```json\n{EXAMPLE.read_text()}```" in PAGE.read_text()


# --- cells ------------------------------------------------------------------------------------------------------------

VALUES = {
    "seed": st.integers(0, 5),
    "stream.order_seed": st.none() | st.integers(0, 5),
    "stream.protocol": st.sampled_from(["5-5", "5-1", "1-1", "all"]),
    "optim.lr_later": st.floats(1e-9, 1.0),
    "train.crop": st.integers(32, 64),
    "data.classes": st.lists(st.sampled_from(["one", "two", "three"]), max_size=2),
    "data.saliency": st.text(max_size=40),
    "train.flip": st.booleans(),
}
GRIDS = st.fixed_dictionaries(
    {},
    optional={name: st.lists(values, min_size=1, max_size=3, unique_by=json.dumps) for name, values in VALUES.items()},
).filter(lambda grid: len(list(itertools.product(*grid.values()))) <= 12)
VARIANTS = st.lists(st.sampled_from(["finetune", "sats", "mib", "joint"]), min_size=1, max_size=2, unique=True)


@settings(deadline=None)
@given(grid=GRIDS, variants=VARIANTS)
def test_a_grid_spans_the_product(grid: dict[str, list[Any]], variants: list[str]) -> None:
    found = spanned(variants={name: {} for name in variants}, grid=grid)
    points = list(itertools.product(*grid.values()))
    expected = [(name, dict(zip(grid, point, strict=True))) for point in points for name in variants]
    assert [(cell.variant, dict(cell.values)) for cell in found] == expected
    for cell in found:
        stored = flat(json.loads(json.dumps(dataclasses.asdict(cell.config))))
        assert all(stored[name] == value for name, value in cell.values.items() if name != "data.saliency")
    names = [cell.name.casefold() for cell in found]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w.,=~+-]{1,255}", name) and not name.startswith(".") for name in names)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None)
@given(st.lists(JSON_VALUES, min_size=2, max_size=2, unique_by=lambda value: json.dumps(value, sort_keys=True)))
def test_other_values_have_other_names(values: list[Any]) -> None:
    first, second = map(value_text, values)
    assert first.casefold() != second.casefold()
    assert re.fullmatch(r"[a-z0-9.+~-]{1,33}", first)


def test_names_say_what_a_cell_is() -> None:
    assert cell_name("mib-frozen", {"order_seed": 0, "protocol": "5-1"}) == "mib-frozen,order_seed=0,protocol=5-1"
    names = ["optim.factors.encoder", "optim.factors_later.encoder", "seed", "seed"]
    assert list(short_names(names).values()) == [*names[:2], "seed"]


@settings(deadline=None)
@given(st.dictionaries(st.text("ab", min_size=1, max_size=2), st.integers(), max_size=3))
def test_flat_settings_nest_again(values: dict[str, int]) -> None:
    whole: dict[str, Any] = {}
    for name, value in values.items():
        whole = merged(whole, nested(f"part.{name}", value))
    assert flat(whole) == {f"part.{name}": value for name, value in values.items()}


# --- which share a step 0 ---------------------------------------------------------------------------------------------


def changed(config: RunConfig[Method], part: str, **values: object) -> RunConfig[Method]:
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **values)})


BASE = recipe("scenes", "finetune")
SHARING = {
    "another method": recipe("scenes", "sats"),
    "a frozen encoder": changed(BASE, "method", frozen_encoder=True),
    "rates of later steps": changed(BASE, "optim", lr_later=0.5),
    "epochs of later steps": changed(BASE, "train", epochs_later=5),
    "a memory": changed(BASE, "memory", size=9),
    "another number of classes a step": changed(BASE, "stream", protocol="5-1"),
    "where it came from": dataclasses.replace(BASE, recipe="folder", start_from="elsewhere"),
}
NOT_SHARING = {
    "its own step 0": recipe("scenes", "ssul"),
    "importances": recipe("scenes", "ewc"),
    "importances weighed otherwise": changed(recipe("scenes", "ewc"), "method", alpha=0.5),
    "a seed": dataclasses.replace(BASE, seed=1),
    "an order": changed(BASE, "stream", order_seed=1),
    "a setting": changed(BASE, "stream", setting="disjoint"),
    "other first classes": changed(BASE, "stream", protocol="6-4"),
    "a rate": changed(BASE, "optim", lr=0.5),
    "epochs": changed(BASE, "train", epochs=5),
    "data": changed(BASE, "data", images=5),
    "a network": changed(BASE, "model", name="segformer-b0"),
    "how it is measured": changed(BASE, "evaluation", future="ignore"),
}


@pytest.mark.parametrize("what", SHARING)
def test_settings_of_later_steps_do_not_part(what: str) -> None:
    assert step0_of(SHARING[what]) == step0_of(BASE)


def test_settings_of_step_0_part() -> None:
    keys = [step0_of(config) for config in (BASE, *NOT_SHARING.values())]
    assert len(set(keys)) == len(keys)
    assert step0_of(recipe("scenes", "joint")) is None


def test_images_that_are_dealt_to_all_steps_at_once_part() -> None:
    dealt = [changed(BASE, "stream", setting="partitioned", protocol=protocol) for protocol in ("5-5", "5-1")]
    assert step0_of(dealt[0]) != step0_of(dealt[1])
