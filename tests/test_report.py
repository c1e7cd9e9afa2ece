"""The report: figures as they were measured, nothing from outside, any name, any set of runs."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from reports import HEBREW, HOSTILE, Page, groups_of, report, write_run
from sats.commands.report import main
from sats.config import to_json
from sats.engine.run_folder import RunFolder
from sats.evaluation.scores import backward_transfer
from sats.report import gallery, html
from sats.report.drawing import Axes, Series, apart, chart, round_ticks
from sats.report.flows import background_shift, flows
from sats.report.gather import gather
from sats.report.groups import grouped
from sats.report.html import make_report
from sats.report.plots import loss_chart
from sats.words import NOTHING, duration, percent, shown
from test_engine import small

# --- what it says -----------------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_scores(trained: dict[str, Path], tmp_path: Path) -> None:
    page = report(tmp_path, *trained.values())
    header, *rows = page.table("figures")
    joint = RunFolder(trained["joint"]).scores()[0].miou["all"]
    assert joint is not None
    for row, (name, folder) in zip(rows, trained.items(), strict=True):
        history = RunFolder(folder).scores()
        shown_figures = {title: cell.removesuffix("(best)").strip() for title, cell in zip(header, row, strict=True)}
        assert shown_figures["run"] == name
        miou = history[-1].miou
        for title, key in (("all", "all"), ("old", "old"), ("new", "new"), ("hIoU", "hiou"), ("avg", "avg")):
            assert shown_figures[title] == percent(miou[key])
        assert shown_figures["old, no background"] == percent(miou["old_without_background"])
        if name == "joint":
            assert shown_figures["of joint"] == shown_figures["old kept"] == NOTHING
        else:
            old, before = miou["old"], history[0].miou["old"]
            assert old is not None
            assert before is not None
            assert miou["all"] is not None
            assert shown_figures["old kept"] == percent(old / before)
            assert shown_figures["of joint"] == percent(miou["all"] / joint)
            assert shown_figures["backward transfer"] == percent(backward_transfer(history), "+")


def test_every_class_has_its_iou_after_every_step(trained: dict[str, Path], tmp_path: Path) -> None:
    page = report(tmp_path, trained["sats"])
    history = RunFolder(trained["sats"]).scores()
    _, *rows = page.table("heat")
    expected = [
        [name, *(percent(scores.iou[name]) if name in scores.iou else "" for scores in history)]
        for name in history[-1].classes
    ]
    assert rows == expected


def test_forgetting_is_sorted(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", groups_of(6, 2, 2))
    _, *lost = report(tmp_path, folder).table("forgotten")
    history = RunFolder(folder).scores()
    forgetting = history[-1].forgetting
    assert len(lost) > 4
    for name, best, last, difference in lost:
        assert percent(forgetting[name]) == difference
        assert percent(history[-1].iou[name]) == last
        assert percent(max(scores.iou[name] or 0 for scores in history if name in scores.iou)) == best
    values = [forgetting[name] for name, *_ in lost]
    assert values == sorted(values, reverse=True)


def test_the_summary_says_what_was_kept_and_how_near_joint_training_is(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        write_run(tmp_path / name, groups_of(3, 1, 1), seed=seed)
    write_run(tmp_path / "all", [[name for group in groups_of(3, 1, 1) for name in group]], small("joint"), seed=2)
    page = report(tmp_path, tmp_path / "a", tmp_path / "b", tmp_path / "all")
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    runs = gather([tmp_path / "a", tmp_path / "b"])
    best = max(runs, key=lambda one: one.kept or 0)
    assert "Learned 5 classes in 3 steps: first class 1, class 2 and class 3; then class 4; class 5." in text
    assert f"{best.name} keeps {percent(best.kept)} % of the old classes' mIoU" in text
    assert "% of joint training on the same classes" in text
    assert "Learned 5 classes at once" in text
    assert "one seed" in text


def test_the_best_is_marked_only_among_runs_that_compare(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b", "c")):
        write_run(tmp_path / name, groups_of(3, 1, 1), seed=seed, done=2 if name == "c" else None)
    _, first, second = report(tmp_path, tmp_path / "a", tmp_path / "b").table("figures")
    assert all(("(best)" in one) != ("(best)" in other) for one, other in zip(first[1:], second[1:], strict=True))
    page = report(tmp_path, tmp_path / "a", tmp_path / "c")
    assert "(best)" not in page.text
    assert "a also knows class 5" in page.text
    header, first, second = page.table("figures")
    column = header.index("in common")
    scores = RunFolder(tmp_path / "a").scores()[-1]
    common = [scores.iou[name] for name in scores.classes if name != "class 5"]
    assert first[column] == percent(sum(value or 0 for value in common) / len(common))


def test_other_data_and_other_steps_are_said(tmp_path: Path) -> None:
    write_run(tmp_path / "a", groups_of(3, 2))
    write_run(tmp_path / "b", groups_of(4, 1), dataclasses.replace(small(), seed=7))
    config = RunFolder(tmp_path / "b").config()
    other = dataclasses.replace(config, stream=dataclasses.replace(config.stream, protocol="4-1"))
    (tmp_path / "b" / "config.json").write_text(to_json(other))
    scores = tmp_path / "b" / "step-1" / "scores.json"
    scores.write_text(scores.read_text().replace("3000", "2999", 2))
    page = report(tmp_path, tmp_path / "a", tmp_path / "b")
    assert "in different steps or in another order" in page.text
    assert "not measured on the same test pixels" in page.text
    assert ["stream.protocol", "5-5", "4-1"] in page.table("numbers words")
    assert ["seed", "0", "7"] in page.table("numbers words")


# --- experiments repeated ---------------------------------------------------------------------------------------------


def repeated(folder: Path, method: str, seeds: int) -> list[Path]:
    return [
        write_run(folder / f"{method}-seed{seed}", groups_of(3, 1, 1), small(method, seed=seed), seed=seed)
        for seed in range(seeds)
    ]


def test_runs_that_differ_in_seed_only_are_one_row_with_a_spread(tmp_path: Path) -> None:
    folders = [*repeated(tmp_path, "sats", 3), *repeated(tmp_path, "mib", 2)]
    page = report(tmp_path, *folders)
    header, *rows = page.table("figures")
    assert [row[0] for row in rows] == ["satsn = 3", "mibn = 2"]
    values = [RunFolder(folder).scores()[-1].miou["new"] or 0 for folder in folders[:3]]
    cell = rows[0][header.index("new")].removesuffix("(best)").strip()
    assert cell == f"{percent(float(np.mean(values)))}±{percent(float(np.std(values, ddof=1)))}"
    assert "from the lowest to the highest run" in page.text
    assert "Means over runs that differ in seed" in page.text
    unlike = dataclasses.replace(small("sats", seed=4), stream=dataclasses.replace(small().stream, order_seed=3))
    other = write_run(tmp_path / "other", groups_of(3, 1, 1), unlike)
    copy = write_run(tmp_path / "copy", groups_of(3, 1, 1), small("mib", seed=0))
    early = write_run(tmp_path / "early", groups_of(3, 1, 1), small("mib", seed=5), done=2)
    groups = grouped(gather([*folders, other, copy, early]))
    assert [(group.name, len(group.runs)) for group in groups] == [("sats", 4), ("mib", 2), ("copy", 1), ("early", 1)]


def test_one_experiment_may_be_all_there_is(tmp_path: Path) -> None:
    page = report(tmp_path, *repeated(tmp_path, "sats", 3))
    assert "3 runs compared" in page.text
    assert "Mean and standard deviation of 3 runs that differ in seed" in page.text
    assert "mean of 3 runs" in page.text
    assert len(page.table("figures")) == 2
    assert ["seed", "0", "1", "2"] in page.table("numbers words")


def test_orders_may_differ_among_repetitions(tmp_path: Path) -> None:
    stream = small().stream
    for method in ("sats", "mib"):
        for seed, groups in enumerate(
            (groups_of(3, 1), [["background", "class 4", "class 3", "class 2"], ["class 1"]])
        ):
            config = small(method, stream=dataclasses.replace(stream, order_seed=seed))
            write_run(tmp_path / f"{method}-{seed}", groups, config, seed=seed)
    runs = sorted(tmp_path.iterdir())
    page = report(tmp_path, *runs)
    assert "do not compare" not in page.text
    assert "differ in seed or class order: mib-0 and mib-1" in page.text
    assert "mib-0 alone: the runs learn in different orders" in page.text
    assert "in another order" in report(tmp_path, *runs[1:]).text


def test_unfinished_runs_of_other_orders_know_other_classes(tmp_path: Path) -> None:
    groups = [["background", "class 1", "class 2"], ["class 3"]]
    for method in ("sats", "mib"):
        for seed, order in enumerate((groups, [["background", "class 3", "class 2"], ["class 1"]])):
            config = small(method, stream=dataclasses.replace(small().stream, order_seed=seed))
            write_run(tmp_path / f"{method}-{seed}", order, config, done=1, seed=seed)
    page = report(tmp_path, *sorted(tmp_path.iterdir()))
    _, *rows = page.table("heat apart")
    shown = {row[0]: row[1] for row in rows}
    iou = {place: RunFolder(tmp_path / f"mib-{place}").scores()[-1].iou for place in range(2)}
    assert shown["class 1"] == percent(iou[0]["class 1"])
    assert shown["class 3"] == percent(iou[1]["class 3"])
    assert shown["class 2"] == percent(((iou[0]["class 2"] or 0) + (iou[1]["class 2"] or 0)) / 2)


def test_a_folder_of_runs_is_all_of_them(tmp_path: Path) -> None:
    repeated(tmp_path / "sweep", "sats", 2)
    write_run(tmp_path / "sweep" / "begun", groups_of(3, 1), done=0)
    (tmp_path / "sweep" / "logs").mkdir()
    assert [run.name for run in gather([tmp_path / "sweep"])] == ["sats-seed0", "sats-seed1"]
    with pytest.raises(ValueError, match="holds no run"):
        gather([tmp_path / "sweep" / "logs"])


def test_twelve_experiments_are_still_a_page(tmp_path: Path) -> None:
    methods = ("finetune", "lwf", "lwf-mc", "ilt", "ewc", "pi", "rw", "mib", "plop", "ssul", "sats", "joint")
    folders = [write_run(tmp_path / name, groups_of(3, 1), small(name), seed=n) for n, name in enumerate(methods)]
    page = report(tmp_path, *folders)
    assert len(page.table("figures")) == 13
    assert len(page.table("heat apart")[0]) == 13
    assert "article" not in page.tags  # no cards: the table says it all
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_classes_on_which_experiments_differ_most_come_first(tmp_path: Path) -> None:
    first, second = (write_run(tmp_path / name, groups_of(3, 1), seed=seed) for seed, name in enumerate("ab"))
    _, *rows = report(tmp_path, first, second).table("heat apart")
    ious = [RunFolder(folder).scores()[-1].iou for folder in (first, second)]
    expected = sorted(ious[0], key=lambda name: -abs((ious[0][name] or 0) - (ious[1][name] or 0)))
    assert [row[0] for row in rows] == expected
    one, other = (iou[expected[0]] or 0 for iou in ious)
    assert rows[0][1:] == [percent(one), f"{percent(other)}{percent(other - one, '+')}"]


# --- what became of pixels --------------------------------------------------------------------------------------------


def test_flows_follow_pixels_from_step_to_step(tmp_path: Path) -> None:
    groups = [["background", "cat", "dog"], ["cow"]]
    before = [[90, 10, 0], [20, 80, 0], [0, 50, 50]]
    after = [[90, 10, 0, 0], [30, 20, 10, 40], [0, 50, 50, 0], [60, 0, 0, 40]]
    folder = write_run(tmp_path / "run", groups, matrices=[before, after])
    run = gather([folder])[0]
    (flow,) = flows(run)
    assert [part.text for part in flow.before] == ["65.0", "25.0", "0.0", "10.0"]
    assert [part.text for part in flow.after] == ["35.0", "30.0", "20.0", "15.0"]
    turns = [(turn.source, turn.target, turn.is_new, turn.share, turn.gain) for turn in flow.turns]
    assert turns == [
        ("cat", "cow", True, "40.0", "+40.0"),
        ("cat", "background", False, "30.0", "+10.0"),
        ("cat", "dog", False, "10.0", "+10.0"),
    ]
    shifts = [(shift.old, shift.new) for shift in background_shift(run)]
    assert shifts == [(None, 0.1), (0.15, 0.6)]
    page = report(tmp_path, folder)
    assert page.table("turns")[1] == ["1", "cat", "cownew", "40.0", "+40.0"]
    assert page.table("fates")[2] == ["1", "after", "", "35.0", "30.0", "20.0", "15.0"]
    assert ["classes the step learned", "10.0", "60.0"] in page.table("numbers", 1)
    virtual = [[[9, 0], [0, 5]], [[9, 0, 0], [0, 5, 0], [0, 1, 4]]]
    never = write_run(tmp_path / "never", [["background: not learned yet", "cat"], ["cow"]], matrices=virtual)
    assert "Background shift" not in report(tmp_path, never).text
    (folder / "step-0" / "confusion.json").unlink()
    page = report(tmp_path, folder)
    assert "Which class turned into which" not in page.text
    assert "Background shift" in page.text


def test_later_classes_may_have_a_matrix_of_their_own(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [["background", "cat"], ["cow"]])
    path = folder / "step-1" / "confusion.json"
    values = {"classes": ["background", "cat", "cow"], "matrix": [[5, 0, 0], [1, 4, 0], [0, 0, 0]]}
    path.write_text(json.dumps(values | {"matrix of later classes": [[9, 9, 9], [9, 9, 9], [2, 0, 3]]}))
    confusion = gather([folder])[0].confusions[1]
    assert confusion is not None
    assert confusion.tolist() == [[5, 0, 0], [1, 4, 0], [2, 0, 3]]


def test_a_matrix_with_a_number_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [["background", "cat"], ["cow"]])
    path = folder / "step-1" / "confusion.json"
    path.write_text(json.dumps({"classes": ["background", "cat", "cow"], "matrix": [[10**30] * 3] * 3}))
    with pytest.raises(ValueError, match=r"cannot be read .*: leave the run out, or fix them"):
        gather([folder])


def test_a_line_of_metrics_without_a_step_is_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [["background", "cat"], ["cow"]])
    lines = len(gather([folder])[0].losses)
    with (folder / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": Infinity, "iteration": 1, "losses": {}}\n')
    assert len(gather([folder])[0].losses) == lines


def test_domains_bring_no_class_and_no_empty_number(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [*groups_of(3), []])
    plain = report(tmp_path, folder).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "then no new class" in plain
    steps = [
        {"learns": groups_of(3)[0], "images": 1, "domains": ["aachen"]},
        {"learns": [], "images": 1, "domains": ["ulm"]},
    ]
    (folder / "steps.json").write_text(json.dumps(steps))
    page = report(tmp_path, folder)
    assert "Learned 3 classes from aachen; then from ulm." in page.text
    assert "mIoU of later steps" not in page.text
    assert "new classes" not in page.text
    assert "a new class" not in page.text
    assert [row[0] for row in page.table("numbers")[1:]] == ["all classes"]
    assert "old" not in page.table("figures")[0]
    assert NOTHING not in [cell for row in page.table("figures")[1:] for cell in row]


def test_a_step_says_how_long_it_trained_and_in_what_memory(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", groups_of(3, 1))
    lines = [
        {"step": step, "iteration": iteration, "losses": {"loss": 1.0}, "images_per_second": speed, **memory}
        for step, iteration, speed, memory in (
            (0, 1, 1.0, {"memory_mib": 700}),
            (0, 11, 0.5, {"memory_mib": 1200}),
            (0, 21, 0.5, {"memory_mib": 900}),
            (1, 1, 6.0, {}),  # of a run from before memory was logged
        )
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    costs = report(tmp_path, folder).table("numbers costs")
    assert costs[1:] == [
        ["0", "21", "4 min 6 s", "0.5", "1,200"],
        ["1", "1", "1 s", "6.0", NOTHING],
        ["all", "22", "4 min 7 s", "0.8", "1,200"],
    ]


def test_durations_have_two_units_and_round_up_to_the_next() -> None:
    expected = {
        0.4: "0 s",
        59.4: "59 s",
        59.7: "1 min 0 s",
        185: "3 min 5 s",
        3599.6: "1 h 0 min",
        7175: "2 h 0 min",
        7384: "2 h 3 min",
        90000: "25 h 0 min",
    }
    assert {seconds: duration(seconds) for seconds in expected} == expected


def test_a_run_as_large_as_voc_stays_below_five_megabytes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", groups_of(15, 1, 1, 1, 1, 1))
    lines = [
        {
            "step": step,
            "iteration": iteration,
            "losses": {"a": 1.0, "b": 2.0, "c": iteration / 9},
            "images_per_second": 9,
        }
        for step in range(6)
        for iteration in range(10, 5000, 10)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rng = np.random.default_rng(0)
    runs = gather([folder])
    classes = runs[0].last.classes
    blocks = rng.integers(0, 21, (6, 24, 32)).astype(np.uint8)
    maps = [np.kron(block, np.ones((16, 16), np.uint8)) for block in blocks]
    pair = (Image.fromarray(rng.integers(0, 255, (384, 512, 3), np.uint8)), maps[0])
    seen = [gallery.Seen([one], [{index: rng.random((16, 22), np.float32) for index in range(1, 7)}]) for one in maps]
    variants = [gallery.Variant(f"step {step}", folder, step) for step in range(6)]
    example = gallery.followed("key", 0, pair, variants, seen, classes)
    shown_images = gallery.Gallery((example,) * 4, gallery.legend(maps, classes), (), tuple(range(6)), tuple(range(6)))
    page = html.render(runs, shown_images)
    assert len(example.attention) == 6
    assert 500_000 < len(page.encode()) < 5_000_000


# --- runs of every kind -----------------------------------------------------------------------------------------------


def test_an_unfinished_run_is_reported_as_far_as_it_is(tmp_path: Path) -> None:
    page = report(tmp_path, write_run(tmp_path / "run", groups_of(3, 1, 1), done=2))
    assert "Not finished: 2 of 3 steps done so far" in page.text
    assert page.table("heat")[0] == ["class / step", "0", "1"]
    page = report(tmp_path, write_run(tmp_path / "first", groups_of(3, 1, 1), done=1))
    assert "There is one step only" in page.text
    assert "nothing to forget yet" in page.text
    (tmp_path / "first" / "steps.json").unlink()
    assert "Not finished: 1 step done so far" in report(tmp_path, tmp_path / "first").text


def test_a_run_without_a_finished_step_says_what_to_do(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", groups_of(3, 1), done=0)
    with pytest.raises(ValueError, match=r"no finished step yet.*sats resume"):
        make_report([folder])
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Which run"),
        (["{run}", "{run}"], "named twice"),
        (["{run}/step-0"], "holds no run"),
        (["{run}", "--images", "-1"], "--images must not be negative"),
        (["{run}", "--images", "0", "--out", "{run}"], "is a folder"),
        (["{broken}"], "cannot be read"),
    ],
)
def test_mistakes_are_answered_with_the_mend(tmp_path: Path, words: list[str], message: str) -> None:
    good, broken = (write_run(tmp_path / name, groups_of(2, 1)) for name in ("good", "broken"))
    (broken / "step-1" / "scores.json").write_text('{"step": 1}')
    with pytest.raises(ValueError, match=message):
        main([word.format(run=good, broken=broken) for word in words])


def test_an_unreadable_run_in_a_folder_of_runs_is_left_out_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("good", "broken"):
        write_run(tmp_path / name, groups_of(2, 1))
    (tmp_path / "broken" / "step-1" / "scores.json").write_text('{"step": 1}')
    main([str(tmp_path), "--images", "0"])
    said = capsys.readouterr()
    assert "broken" not in (tmp_path / "good" / "report.html").read_text(encoding="utf-8")
    assert said.err.startswith("left out: ")
    assert str(tmp_path / "broken" / "step-1" / "scores.json") in said.err
    (tmp_path / "good" / "step-1" / "scores.json").write_text('{"step": 1}')
    with pytest.raises(ValueError, match="cannot be read"):
        main([str(tmp_path), "--images", "0"])


def test_joint_training_alone_has_no_curves_and_forgets_nothing(trained: dict[str, Path], tmp_path: Path) -> None:
    page = report(tmp_path, trained["joint"])
    assert "There is one step only" in page.text
    assert "Forgetting" not in page.text


def test_losses_are_drawn_where_they_were_logged(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", groups_of(3, 1))
    assert "No losses were logged." in report(tmp_path, folder).text
    lines = [
        {"step": step, "iteration": iteration, "losses": {"cross_entropy": 2.0 - iteration / 1000, "other": -0.5}}
        for step in (0, 1)
        for iteration in range(1, 1001)
    ]
    text = "\n".join([*map(json.dumps, lines), '{"step": 1, "itera', '{"losses": {"nan": NaN}}', ""])
    (folder / "metrics.jsonl").write_text(text)
    page = report(tmp_path, folder)
    assert ["cross_entropy", "1.000", "1.000"] in page.table("numbers", -1)
    drawn = loss_chart(gather([folder])[0])
    assert drawn is not None
    assert [line.name for line in drawn.lines] == ["cross_entropy", "other"]
    assert all(len(line.points) < 250 for line in drawn.lines)
    root = ET.fromstring(drawn.svg)  # noqa: S314 (ours)
    assert ["".join(text.itertext()) for text in root.iter("text")][:2] == ["0", "1"]


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / parent / "run", groups_of(2, 1)) for parent in ("one", "two")]
    main([*map(str, paths), "--images", "0"])
    page = Page(tmp_path / "report.html")
    assert [row[0] for row in page.table("figures")] == ["run", "one/run", "two/run"]


def test_the_page_goes_into_the_run_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", groups_of(2, 1))
    main([str(folder), "--images", "0"])
    assert (folder / "report.html").is_file()
    main([str(folder), "--images", "0", "--out", str(tmp_path / "new" / "page.html")])
    assert capsys.readouterr().out == f"report: {folder / 'report.html'}\nreport: {tmp_path / 'new' / 'page.html'}\n"
    assert (tmp_path / "new" / "page.html").read_bytes() == (folder / "report.html").read_bytes()


# --- the page itself --------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_from_outside_and_is_the_same_every_time(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    for runs in (list(trained.values()), [trained["sats"]]):
        pages = [make_report(runs, tmp_path / name, images=2) for name in ("first.html", "second.html")]
        assert pages[0].read_bytes() == pages[1].read_bytes()
        assert pages[0].stat().st_size < 700_000
        page = Page(pages[0])
        assert page.script == (Path(html.__file__).parent / "templates" / "script.js").read_text()
        assert page.links
        assert all(link.startswith(("data:image/", "#")) for link in page.links)


def test_names_of_any_content_are_text(tmp_path: Path) -> None:
    config = small()
    data = dataclasses.replace(config.data, source="folder", root=f"/{HOSTILE[0]}\u202e</pre>{'y' * 10_000}")
    groups = [["background", *HOSTILE[:4]], list(HOSTILE[4:8]), list(HOSTILE[8:])]
    folder = write_run(tmp_path / "<b>run & 'x'", groups, dataclasses.replace(config, data=data))
    (folder / "environment.json").write_text(json.dumps({"command": list(HOSTILE), "<i>": {"a": None}}))
    loss = {"step": 0, "iteration": 1, "losses": {HOSTILE[0]: 1.0}}
    (folder / "metrics.jsonl").write_text(json.dumps(loss) + "\n")
    for runs in ([folder], [folder, write_run(tmp_path / HEBREW, groups, seed=1)]):
        page = report(tmp_path, *runs, images=2)
        assert "i" not in page.tags
        assert "alert(" not in page.script
        assert "<script>alert(1)</script>" in page.text
        assert "{{ 7 * 7 }}{% raw %}" in page.text
        assert "There are no pictures" in page.text
        assert not set("\x00\x1b\u202e") & set((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert max(len(cell) for _, rows in page.tables for row in rows for cell in row) < 200


def test_names_are_shortened_and_kept_apart_from_the_text_around_them() -> None:
    assert shown("plain name") == "plain name"
    assert shown("") == "(no name)"
    assert shown("a\n\tb") == "a b"
    assert len(shown("x" * 500)) == 80
    assert shown(HEBREW) == f"\u2068{HEBREW}\u2069"
    assert shown("\u202e\ud800") == "\N{REPLACEMENT CHARACTER}" * 2
    assert shown("e" + "\u0301" * 9) == "e" + "\u0301" * 3


def test_ticks_are_round_and_last_values_apart() -> None:
    assert round_ticks([]) == [0, 1]
    assert round_ticks([3.2, 71]) == [0, 20, 40, 60, 80]
    assert round_ticks([100]) == [0, 20, 40, 60, 80, 100]
    assert round_ticks([-0.3, 0.9]) == pytest.approx([-0.5, -0.25, 0, 0.25, 0.5, 0.75, 1])
    assert apart([50, 10, 50, 49], 13, 100) == [62, 10, 75, 49]
    assert apart([90, 95, 99], 13, 100) == [74, 87, 100]


def test_charts_are_text_in_the_colours_of_the_page() -> None:
    series = [
        Series("first <&>", 0, ((0.0, 1.0), (1.0, -5.0)), band=((0.5, 2.0), (-6.0, -4.0))),
        Series("second", 2, ((0.0, 1.0), (1.0, -3.0))),
        Series("level", 2, ((0.0, 6.0),), is_level=True),
    ]
    axes = Axes("step", [(0.0, "0"), (1.0, "1")], round_ticks([-5, 6]), decimals=1)
    drawn = chart("mIoU & <more>", series, axes).svg
    assert drawn == chart("mIoU & <more>", series, axes).svg
    root = ET.fromstring(drawn)  # noqa: S314 (ours)
    texts = ["".join(text.itertext()).replace("\N{MINUS SIGN}", "-") for text in root.iter("text")]
    assert texts == ["0", "1", "step", *(f"{tick:g}" for tick in axes.y_ticks), "-5.0", "-3.0", "6.0"]
    says = ["".join(title.itertext()) for title in root.iter("title")]
    assert says == [
        "first <&>: 1.0 (0.5 to 2.0)",
        "first <&>: -5.0 (-6.0 to -4.0)",
        "second: 1.0",
        "second: -3.0",
    ]
    assert root.get("aria-label") == "mIoU & <more>; the numbers are in the table below"
    for outside in ("http", "<style", "#0000", "font-family", "metadata"):
        assert outside not in drawn
    assert {"--c0", "--c2", "--level", "--muted"} <= set(re.findall(r"var\((--\w+)\)", drawn))
