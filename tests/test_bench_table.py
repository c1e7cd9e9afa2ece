"""The table of a sweep, from made-up scores."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from reports import groups_of, write_run
from sats.bench.bench_folder import BenchFolder
from sats.bench.gather import Result, gather, seconds_per_iteration
from sats.bench.results import Outcome, as_markdown, as_text, terminal_table
from sats.bench.settings import Places
from sats.bench.suite import cells, parse_suite
from sats.bench.summary import Row, summarise
from sats.bench.sums import data_sums, weights_sums
from sats.engine.run_folder import RunFolder
from sats.evaluation.scores import Scores
from sats.evaluation.spread import Spread, spread, spread_text
from sats.words import NOTHING
from sweeps import spanned

NUMBERS = ("old", "new", "all", "avg", "hiou")


def made_up(variant: str, old: float, new: float | None = 0.5, **changes: object) -> Result:
    """A finished cell with an old-mIoU of ``old``, half of which was lost."""
    miou = {"old": old, "new": new, "all": old / 2, "avg": old / 4, "hiou": old / 8, "old_without_background": 0.0}
    scores = Scores(1, ("a", "b"), {"a": old, "b": 0.0}, {"a": 1, "b": 1}, miou, {"a": old, "b": 0.0})
    settings = {"values": {}, "method": variant, "is_bound": variant == "joint", "state": "done", "seconds": 2.0}
    return Result(**{"name": variant, "variant": variant, "history": (scores,), **settings, **changes})  # type: ignore[arg-type]


def rows_of(*results: Result) -> dict[str, Row]:
    return {row.variant: row for row in summarise(results).rows}


def test_mean_and_standard_deviation_over_seeds_and_orders() -> None:
    values = [{"seed": seed, "stream.order_seed": order} for seed in (0, 1) for order in (0, 1)]
    results = [made_up("sats", old, values=some) for old, some in zip((0.1, 0.2, 0.3, 0.4), values, strict=True)]
    (row,) = summarise(results).rows
    assert (row.planned, row.finished, dict(row.values)) == (4, 4, {})
    assert row.figures["old"] == Spread(pytest.approx(0.25), pytest.approx(0.1290994), 4)  # type: ignore[arg-type]
    assert row.figures["forgetting"] == Spread(pytest.approx(0.125), pytest.approx(0.0645497), 4)  # type: ignore[arg-type]
    assert spread_text(row.figures["old"]) == "25.0 ±12.9"


def test_undefined_figures_are_left_out() -> None:
    assert spread([None, None]) is None
    assert spread([0.5, None]) == Spread(0.5, None, 1)
    assert (spread_text(None), spread_text(Spread(0.5, None, 1))) == (NOTHING, "50.0")


def test_other_settings_make_other_rows() -> None:
    results = [
        made_up("sats", 0.5, values={"stream.protocol": protocol, "optim.lr_later": rate, "seed": 0})
        for protocol in ("5-5", "5-1")
        for rate in (0.1, 0.2)
    ]
    summary = summarise(results)
    assert dict(summary.axes) == {"stream.protocol": "protocol", "optim.lr_later": "lr_later"}
    assert [tuple(row.values.values()) for row in summary.rows] == [
        ("5-5", 0.1),
        ("5-5", 0.2),
        ("5-1", 0.1),
        ("5-1", 0.2),
    ]


def test_the_best_of_each_task_is_marked_and_bounds_do_not_compete() -> None:
    tasks = [{"stream.protocol": name} for name in ("5-5", "5-1")]
    results = [
        made_up("finetune", 0.2, new=0.9, values=tasks[0]),
        made_up("sats", 0.6, new=0.4, values=tasks[0]),
        made_up("tied", 0.60004, new=None, values=tasks[0]),
        made_up("joint", 0.9, new=0.95, values=tasks[0]),
        made_up("sats", 0.1, values=tasks[1]),
        made_up("finetune", 0.1, values=tasks[1], state="begun"),
    ]
    rows = summarise(results).rows
    assert [row.best for row in rows[:4]] == [
        {"new", "forgetting"},
        {"old", "all", "avg", "hiou"},
        {"old", "all", "avg", "hiou"},
        set(),
    ]
    assert [row.best for row in rows[4:]] == [set(), set()]  # nobody there to be better than
    assert rows[5].figures["old"] is None


def test_time_is_relative_to_finetune_on_the_same_task() -> None:
    rows = rows_of(
        made_up("finetune", 0.1, seconds=2.0), made_up("sats", 0.1, seconds=3.0), made_up("x", 0.1, seconds=None)
    )
    assert [row.time for row in rows.values()] == [1.0, 1.5, None]
    assert [row.time for row in rows_of(made_up("sats", 0.1)).values()] == [None]
    tasks = [{"stream.protocol": name} for name in ("5-5", "5-1")]
    found = summarise(
        [made_up(name, 0.1, seconds=seconds, values=task)
         for task, pair in zip(tasks, ((2.0, 3.0), (1.0, 4.0)), strict=True)
         for name, seconds in zip(("finetune", "sats"), pair, strict=True)]
    ).rows  # fmt: skip
    assert [row.time for row in found] == [1.0, 1.5, 1.0, 4.0]


def test_names_are_harmless_in_markdown_and_on_the_terminal() -> None:
    values = [{"data.saliency": value} for value in ("a|b*", "[red]<x>")]
    results = [made_up("sats", 0.5, values=some) for some in values]
    outcome = Outcome(
        "my_suite", [*results, made_up("sats", 0.5, state="new", values=values[0])], summarise(results), {}
    )
    text = as_markdown(outcome)
    assert "# my\\_suite" in text
    assert "| sats | a\\|b\\* | 1 |" in text
    assert "&lt;x&gt;" in text
    assert "1 cell of 3 not finished" in text
    console = Console(width=120)
    with console.capture() as capture:
        console.print(terminal_table(outcome))
    assert "[red]<x>" in capture.get()


def test_gathered_from_run_folders(tmp_path: Path) -> None:
    every = spanned(variants={"finetune": {}, "sats": {}, "joint": {}})
    run = RunFolder(write_run(tmp_path / "finetune", groups_of(2, 2), every[0].config))
    write_run(tmp_path / "joint", groups_of(4), every[2].config)
    speeds = [(0, 60.0), (1, 3.0), (1, 2.0), (1, 1.0)]
    lines = [json.dumps({"step": step, "iteration": 1, "images_per_second": speed}) for step, speed in speeds]
    rest = b'{"step": Infinity, "images_per_second": 1.0}\n{"step": 1, "images_per_second": "\xff"}\n{"step": 1, "\xff'
    run.metrics_path.write_bytes("\n".join([*lines, ""]).encode() + rest)
    (tmp_path / "joint" / "metrics.jsonl").write_text(lines[0])
    finetune, sats, joint = gather(BenchFolder(tmp_path), every, {"sats": "broken"})
    assert (finetune.state, sats.state, joint.state) == ("done", "new", "done")
    assert (finetune.seconds, sats.seconds, joint.seconds) == (3.0, None, 0.1)  # batches of 6
    assert (finetune.is_bound, joint.is_bound, sats.error) == (False, True, "broken")
    last = run.scores()[-1]
    figures = finetune.figures()
    assert [figures[name] for name in NUMBERS] == [last.miou[name] for name in NUMBERS]
    assert figures["forgetting"] == pytest.approx(sum(last.forgetting.values()) / len(last.forgetting))
    assert seconds_per_iteration(RunFolder(tmp_path / "none"), 6, 0) is None
    stored = json.loads(as_text(Outcome("x", [finetune, sats], summarise([finetune, sats]), {"w/model": "sum"})))
    assert stored["sha256"] == {"w/model": "sum"}
    assert stored["cells"][0]["steps"] == [json.loads(scores.to_json()) for scores in run.scores()]
    assert (stored["cells"][1]["figures"], stored["cells"][1]["error"]) == (None, "broken")
    assert str(tmp_path) not in json.dumps(stored)


def test_sums_of_weights(tmp_path: Path) -> None:
    (tmp_path / "mit").mkdir()
    (tmp_path / "mit" / "model.safetensors").write_bytes(b"weights")
    every = spanned(base={"model": {"weights": str(tmp_path / "mit")}}, variants={"sats": {}, "mib": {}})
    expected = {"mit/model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    assert weights_sums([cell.config for cell in every]) == expected
    (tmp_path / "other" / "mit").mkdir(parents=True)
    (tmp_path / "other" / "mit" / "model.safetensors").write_bytes(b"others")
    more = spanned(base={"model": {"weights": str(tmp_path / "other" / "mit")}}, variants={"sats": {}})
    both = weights_sums([cell.config for cell in (*every, *more)])
    assert sorted(both.values()) == sorted(hashlib.sha256(text).hexdigest() for text in (b"weights", b"others"))


def some_data(root: Path, value: int = 1) -> Path:
    """Two splits of one image, whose masks hold the background and ``value``."""
    for split in ("train", "val"):
        for part in ("images", "masks"):
            (root / part / split).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / "images" / split / "a.png")
        mask = np.zeros((8, 8), np.uint8)
        mask[0] = value
        Image.fromarray(mask).save(root / "masks" / split / "a.png")
    (root / "classes.txt").write_text("background\none\ntwo\n")
    return root


def test_sums_of_data(tmp_path: Path) -> None:
    """The same data elsewhere has the same sums, other masks have others; what is gone has none."""
    base = {"data": {"source": "folder"}, "stream": {"protocol": "1-1"}}
    suite = parse_suite({"name": "test", "recipe": "folder", "base": base, "variants": {"sats": {}, "mib": {}}})
    places = [some_data(tmp_path / "here" / "data"), some_data(tmp_path / "there" / "data")]
    places.append(some_data(tmp_path / "other" / "data", value=2))
    configs = [[cell.config for cell in cells(suite, Places(place))] for place in places]
    here, there, other = map(data_sums, configs)
    assert list(here) == ["data/train", "data/val"]
    assert here == there
    assert all(here[name] != other[name] for name in here)
    both = data_sums([*configs[0], *configs[2]])
    assert both == {f"here/{name}": here[name] for name in here} | {f"other/{name}": other[name] for name in other}
    arriving = [
        dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, classes=("one",), folders=(str(places[1]),)),
        )
        for config in configs[0]
    ]
    assert set(data_sums(arriving)) == {
        f"{place}/data/{split}" for place in ("here", "there") for split in ("train", "val")
    }
    shutil.rmtree(places[0])
    assert data_sums(configs[0]) == {}


def test_runs_that_learn_some_classes_have_the_sum_of_all_data(tmp_path: Path) -> None:
    base = {"data": {"source": "folder"}, "stream": {"protocol": "1-1"}}
    suite = parse_suite({"name": "test", "recipe": "folder", "base": base, "variants": {"sats": {}}})
    (config,) = (cell.config for cell in cells(suite, Places(some_data(tmp_path / "data"))))
    some = dataclasses.replace(config, data=dataclasses.replace(config.data, classes=("two",)))
    assert data_sums([config]) == data_sums([some]) == data_sums([some, config]) == data_sums([config, some])
