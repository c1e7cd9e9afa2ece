"""The report: figures as they were measured, nothing from outside, any name, any set of runs."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports import Page, groups_of, report, write_run
from sats.commands.report import main
from sats.config import to_json
from sats.engine.run_folder import RunFolder
from sats.evaluation.scores import backward_transfer
from sats.report import pictures
from sats.report.gather import gather
from sats.report.html import make_report
from sats.report.pictures import choose, picture_size
from sats.report.plots import Axes, Series, chart, loss_chart, round_ticks
from sats.words import NOTHING, percent, shown
from test_engine import run, small

HEBREW = "\u05e9\u05dc\u05d5\u05dd"
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(2)>",
    "line\nbreak\x00\x1b[31m",
    HEBREW,
    "\u202eturned",
    "👩‍👩‍👧‍👦",
    "x" * 10_000,
    "wide " * 2_000,
    "{{ 7 * 7 }}{% raw %}",
    "a" + "\u0301" * 50,
    "]]> --> </style></pre></svg>",
    "%s {0} {name}",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three small runs on the scenes."""
    parent = tmp_path_factory.mktemp("runs")
    for name in ("sats", "joint"):
        run(parent / name, small(name))
    run(parent / "finetune", dataclasses.replace(small(), start_from=str(parent / "sats" / "step-0")))
    return {name: parent / name for name in ("sats", "finetune", "joint")}


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
    assert all(len(line.marks) < 250 for line in drawn.lines)
    assert [text for _, text in drawn.x_ticks] == ["0", "1"]


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
        assert pages[0].stat().st_size < 500_000
        page = Page(pages[0])
        assert "script" not in page.tags
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
        assert not {"script", "i"} & page.tags
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


def test_charts_keep_their_lines_inside_and_their_last_values_apart() -> None:
    assert round_ticks([]) == [0, 1]
    assert round_ticks([3.2, 71]) == [0, 20, 40, 60, 80]
    assert round_ticks([100]) == [0, 20, 40, 60, 80, 100]
    assert round_ticks([-0.3, 0.9]) == pytest.approx([-0.5, -0.25, 0, 0.25, 0.5, 0.75, 1])
    series = [Series(str(index), index, ((0.0, 1.0), (1.0, 50.0 + index / 10))) for index in range(8)]
    series.append(Series("level", 8, ((0.0, 60.0),), is_level=True))
    drawn = chart("title", series, Axes("step", [(0.0, "0"), (1.0, "1")], round_ticks([60]), decimals=1))
    assert all(drawn.left <= x <= drawn.right for line in drawn.lines for x, _, _ in line.marks)
    assert all(drawn.top <= y <= drawn.bottom for line in drawn.lines for _, y, _ in line.marks)
    ends = sorted(line.end[1] for line in drawn.lines)
    assert min(np.diff(ends)) >= 12
    assert drawn.lines[-1].marks[0][0] == drawn.left
    assert drawn.lines[-1].marks[-1] == (drawn.right, drawn.top, "60.0")


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_images_are_chosen_to_show_many_classes() -> None:
    presence = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 0, 1], [1, 0, 1, 1, 0]], bool)
    assert choose(presence, 3) == [1, 4, 3]
    assert choose(presence, 9) == [1, 4, 3, 0, 2]
    film = np.ones((100, 4), dtype=bool)
    assert choose(film, 4) == [0, 7, 14, 21]


def test_pictures_are_of_a_modest_size() -> None:
    assert picture_size(64, 64) == (192, 192)
    assert picture_size(2000, 1000) == (220, 110)
    assert picture_size(200, 180) == (200, 180)
    assert picture_size(1, 5000) == (1, 220)


def test_truth_and_predictions_are_maps_in_the_classes_of_the_last_step(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    page = report(tmp_path, trained["sats"], images=2)
    drawn = [Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))) for link in page.links if link[0] == "d"]
    kinds = [picture.mode for picture in drawn]
    assert kinds == ["RGB", "P", "P", "P"] * 2
    from sats.api import load
    from sats.engine.build import open_source

    source = open_source(RunFolder(trained["sats"]).config(), "val")
    index = choose(source.presence(), 2)[0]
    assert source.key(index) in page.text
    enlarged = np.kron(source.mask(index), np.ones((6, 6))).astype(np.uint8)  # 32 pixels a side, to 192
    assert np.array_equal(np.asarray(drawn[1]), enlarged)
    predicted = load(trained["sats"]).predict(source.image(index)).labels
    assert np.array_equal(np.asarray(drawn[3])[::6, ::6], predicted)


def test_several_runs_show_every_step_and_a_shared_step_0_once(
    trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = report(tmp_path, *trained.values(), images=2)
    rows = page.table("pictures")
    titles = ["sats and finetune, step 0", "sats, step 1", "finetune, step 1", "joint"]
    assert [row[0] for row in rows[1:]] == ["image", "ground truth", *titles]
    assert len([link for link in page.links if link.startswith("data:")]) == 2 * 6
    longer = write_run(tmp_path / "longer", groups_of(3, 1, 1))
    monkeypatch.setattr(pictures, "MOST_MODELS", 5)
    shown = [(run.name, step) for run, step in pictures.models_to_show(gather([trained["sats"], longer]))]
    assert shown == [("sats", 0), ("sats", 1), ("longer", 0), ("longer", 1), ("longer", 2)]
    monkeypatch.setattr(pictures, "MOST_MODELS", 4)
    shown = [(run.name, step) for run, step in pictures.models_to_show(gather([trained["sats"], longer]))]
    assert shown == [("sats", 0), ("sats", 1), ("longer", 0), ("longer", 2)]
    assert "only the first and the last step are shown" in report(tmp_path, trained["sats"], longer, images=1).text


def test_runs_without_weights_or_data_say_so(trained: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained["sats"], folder)
    shutil.rmtree(folder / "step-0" / "model")
    page = report(tmp_path, folder, images=1)
    assert "no predictions, of step 0." in page.text
    assert len([link for link in page.links if link.startswith("data:")]) == 3
    config = RunFolder(folder).config()
    gone = dataclasses.replace(config, data=dataclasses.replace(config.data, source="folder", root="/not/there"))
    (folder / "config.json").write_text(to_json(gone))
    page = report(tmp_path, folder, images=1)
    assert "There are no pictures" in page.text
    assert "/not/there is not a folder" in page.text


# --- in a browser -----------------------------------------------------------------------------------------------------


def test_nothing_is_wider_than_a_phone(trained: dict[str, Path], tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs chromium")
    hostile = write_run(tmp_path / ("z" * 200), [["background", *HOSTILE[:6]], list(HOSTILE[6:])])
    for number, runs in enumerate((list(trained.values()), [hostile, trained["sats"]], [trained["sats"]])):
        make_report(runs, tmp_path / f"{number}.html", images=1)
    frames = "".join(f'<iframe width="390" height="800" src="{number}.html"></iframe>' for number in range(3))
    measure = "Array.from(frames, frame => frame.document.documentElement.scrollWidth).join()"
    page = f"<body>{frames}<script>onload = () => document.body.textContent = {measure}</script>"
    (tmp_path / "page.html").write_text(page)
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files")
    quiet = ("--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}")
    command = [chromium, *flags, *quiet, "--dump-dom", (tmp_path / "page.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "390,390,390" in shown
