"""Settings: to JSON and back, refused with the nearest right name, recipes that are valid."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sats.config import DataConfig, RunConfig, StreamConfig, TrainConfig, from_json, read_config, to_json, with_settings
from sats.methods import METHODS, method_name
from sats.recipes import RECIPES, recipe, with_method


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name: str, method: str) -> None:
    if "cities-" in name and METHODS[method].needs_new_classes:
        with pytest.raises(ValueError, match="has nothing to learn after it"):
            recipe(name, method)
        return
    config = recipe(name, method)
    assert from_json(to_json(config)) == config
    assert method_name(config.method) == method


names = st.text(min_size=1, max_size=8)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**40),
    classes=st.lists(names, max_size=4),
    steps=st.lists(st.lists(names, min_size=1, max_size=3), max_size=3),
    scale=st.tuples(st.floats(0.1, 1), st.floats(1, 4)),
    order_seed=st.none() | st.integers(0, 9),
)
def test_any_settings_survive_json(
    seed: int, classes: list[str], steps: list[list[str]], scale: tuple[float, float], order_seed: int | None
) -> None:
    config = RunConfig(
        recipe="scenes",
        method=METHODS["sats"](),
        data=DataConfig(classes=tuple(classes)),
        stream=StreamConfig(steps=tuple(tuple(group) for group in steps), order_seed=order_seed),
        train=TrainConfig(scale=scale),
        seed=seed,
    )
    assert from_json(to_json(config)) == config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("train", "accumulation"), False, "train.accumulation must be at least 1, not False"),
        (("sead",), 1, "did you mean 'seed'"),
        (("train", "epoch"), 1, "did you mean 'epochs'"),
        (("method", "distilation"), 1.0, "did you mean 'distillation'"),
        (("method", "name"), "satz", "did you mean 'sats'"),
        (("method", "attention_transfer", "pooling"), "clas", "pooling"),
        (("train", "epochs"), "many", "epochs must be int"),
        (("train", "epochs"), 0, "at least 1"),
        (("train", "scale"), [2.0, 0.5], "range"),
        (("train", "scale"), [1.0], "scale"),
        (("train", "accumulation"), 5, "equal parts"),
        (("data",), [], "DataConfig"),
        (("data", "classes"), "a,b", "classes"),
        (("data", "classes"), ["a", 3], "classes"),
        (("method", "name"), ["sats"], "There is no method"),
        (("seed",), -1, "at least 0"),
        (("train", "epochs_later"), -1, "at least 0"),
        (("train", "resize"), 5, "at least 32"),
        (("optim", "warmup"), 3.0, "between 0 and 1"),
        (("optim", "momentum"), -1.0, "between 0 and 1"),
        (("optim", "power"), -2.0, "at least 0"),
        (("optim", "weight_decay"), -1.0, "at least 0"),
        (("optim", "factors", "encoder"), -1.0, "at least 0"),
        (("stream", "order_seed"), -1, "at least 0"),
        (("method", "attention_transfer", "weight"), -1.0, "at least 0"),
        (("method",), None, "no method"),
    ],
)
def test_wrong_settings_are_refused_with_the_mend(path: tuple[str, ...], value: object, message: str) -> None:
    values = json.loads(to_json(recipe("scenes", "sats")))
    place = values
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        from_json(json.dumps(values), "config.json")


def test_a_file_that_is_no_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.json"):
        read_config(tmp_path / "gone.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match=r"broken\.json"):
        read_config(tmp_path / "broken.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="not a run's configuration"):
        read_config(tmp_path / "list.json")


def test_unknown_recipes_and_methods_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'scenes'"):
        recipe("scene", "sats")
    with pytest.raises(ValueError, match="did you mean 'finetune'"):
        recipe("scenes", "finetun")
    with pytest.raises(ValueError, match="did you mean 'joint'"):
        with_method(recipe("scenes", "sats"), "join")


def test_another_method_keeps_the_other_settings() -> None:
    config = dataclasses.replace(recipe("scenes", "sats"), seed=5)
    changed = with_method(config, "finetune")
    assert changed.seed == 5
    assert changed.method == METHODS["finetune"]()


def test_a_folder_needs_a_place() -> None:
    with pytest.raises(ValueError, match="--data DIR"):
        RunConfig(recipe="folder", method=METHODS["sats"](), data=DataConfig(source="folder"))


def test_settings_are_changed_by_their_dotted_names(tmp_path: Path) -> None:
    config = recipe("scenes", "sats")
    changed = with_settings(
        config,
        {
            "train.epochs": 2,
            "train.scale": (0.5, 1.5),
            "seed": 3,
            "stream.steps": [["zero", "one"], ["two"]],
            "method.attention_transfer.pooling": "global",
            "start_from": tmp_path,
        },
    )
    assert (changed.train.epochs, changed.train.scale, changed.seed) == (2, (0.5, 1.5), 3)
    assert changed.stream.steps == (("zero", "one"), ("two",))
    assert changed.method.attention_transfer.pooling == "global"
    assert changed.method.attention_transfer.weight == config.method.attention_transfer.weight
    assert changed.start_from == str(tmp_path)
    assert config == recipe("scenes", "sats")
    assert with_settings(config, {}) == config
    other = with_settings(config, {"method.name": "mib", "method.distillation": 3.0})
    assert other.method == METHODS["mib"](distillation=3.0)
    remembering = with_settings(config, {"memory.size": 50})
    assert with_settings(remembering, {"method.name": "joint", "memory.size": 0}).method == METHODS["joint"]()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.epoch": 2}, "did you mean 'epochs'"),
        ({"trian.epochs": 2}, "did you mean 'train'"),
        ({"stream.setting": "overlaped"}, "stream: setting: There is no choice 'overlaped'; did you mean 'overlapped'"),
        ({"method.name": "mob"}, "did you mean 'mib'"),
        ({"train.epochs": "two"}, r"epochs must be int, not 'two'"),
        ({"seed.of": 1}, "seed must be int"),
        ({"train": 3}, "expected the settings of TrainConfig"),
        ({"train.batch_size": 5, "train.accumulation": 2}, "does not divide"),
    ],
)
def test_changes_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_settings(recipe("scenes", "sats"), settings)
