"""A run from Python, as a script and a notebook use it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sats
from reports import HOSTILE, Page, groups_of, write_run
from sats.engine.run_folder import RunFolder, create_run, new_folder
from sats.evaluation.contact_sheet import GAP, MARGIN, WIDTH
from sats.evaluation.table import class_table, figure_table, show
from sats.words import evenly
from test_engine import small


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> sats.Run:
    return sats.train(small("sats"), tmp_path_factory.mktemp("runs") / "one")


def test_a_run_has_what_its_folder_holds(finished: sats.Run) -> None:
    folder = RunFolder(finished.path)
    assert finished.path.is_absolute()
    assert finished == sats.read_run(folder.path)
    assert (finished.config, list(finished.scores)) == (folder.config(), folder.scores())
    assert finished.state == "finished"
    assert [(step.index, step.scores) for step in finished.steps] == list(enumerate(finished.scores))
    assert finished.steps[0].learns[:2] == ("background", "zero")
    assert finished.steps[1].images == folder.steps()[1]["images"]
    assert [line["step"] for line in finished.metrics] == sorted(line["step"] for line in finished.metrics)
    assert "lr" in finished.metrics[-1]


def test_a_run_stands_for_its_folder(finished: sats.Run) -> None:
    assert Path(finished) == Path(os.fspath(finished)) == finished.path
    assert sats.load(finished).classes == finished.scores[-1].classes
    assert sats.resume(finished) == finished  # done already


def test_the_model_of_each_step(finished: sats.Run) -> None:
    assert [len(finished.model(step).classes) for step in (0, 1, -1, -2)] == [6, 11, 11, 6]
    with pytest.raises(ValueError, match="has 2 finished step"):
        finished.model(2)
    with pytest.raises(ValueError, match="no step -3"):
        finished.model(-3)


def test_a_picture_has_a_row_of_image_truth_and_every_step(finished: sats.Run) -> None:
    width = finished.picture(2).width - 2 * MARGIN
    assert width == 2 * (4 * (WIDTH + GAP) - GAP) + 36  # two cells of four pictures side by side
    last = finished.picture(1, steps=[-1])
    assert last.width - 2 * MARGIN == 3 * (WIDTH + GAP) - GAP
    again = finished.picture(1, steps=[-1])
    assert np.array_equal(np.asarray(last), np.asarray(again))
    with pytest.raises(ValueError, match="at least one image"):
        finished.picture(0)


def test_steps_to_show_are_spread_from_the_first_to_the_last() -> None:
    assert evenly(range(4), 6) == [0, 1, 2, 3]
    assert evenly(range(11), 6) == [0, 2, 4, 6, 8, 10]
    assert evenly(range(101), 6) == [0, 20, 40, 60, 80, 100]


def test_showing_a_run_in_a_terminal_prints_its_tables(finished: sats.Run, capsys: pytest.CaptureFixture[str]) -> None:
    finished.show()
    shown = capsys.readouterr().out
    show(class_table(finished.scores), figure_table(finished.scores))
    assert shown.startswith(capsys.readouterr().out)


def test_an_unfinished_run_says_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = sats.Run(create_run(tmp_path / "new", small()).path)
    assert repr(fresh) == f"Run({str(fresh.path)!r}: finetune, interrupted, 0 of ? steps)"
    assert (fresh.scores, fresh.steps, fresh.metrics) == ((), (), [])
    fresh.show()
    assert capsys.readouterr().out.strip() == repr(fresh)
    assert "<table" not in fresh._repr_html_()
    with pytest.raises(ValueError, match="no finished step"):
        fresh.picture()
    with pytest.raises(ValueError, match="holds no run"):
        sats.read_run(tmp_path)


def test_a_line_of_metrics_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    run = sats.Run(create_run(tmp_path / "run", small()).path)
    (run.path / "metrics.jsonl").write_text('{"step": 0, "iteration": 1}\n{"step": 0, "itera')
    assert run.metrics == [{"step": 0, "iteration": 1}]


# --- in a notebook ----------------------------------------------------------------------------------------------------


def html_of(run: sats.Run, folder: Path) -> Page:
    text = run._repr_html_().replace("<table>", '<table class="scores">')
    (folder / "page.html").write_text(text, encoding="utf-8")
    return Page(folder / "page.html")


def test_the_html_has_the_figures_of_the_tables(finished: sats.Run, tmp_path: Path) -> None:
    page = html_of(finished, tmp_path)
    of_classes, of_means = page.table("scores"), page.table("scores", 1)
    assert of_classes[0] == ["class", "step 0", "step 1", "forgot"]
    assert [row[0] for row in of_classes[1:]] == list(finished.scores[-1].classes)
    assert of_means[1][0] == "all classes"
    assert page.tags <= {"div", "p", "b", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert not page.links


def test_names_are_text_in_html_whatever_they_look_like(tmp_path: Path) -> None:
    names = [["background", *HOSTILE[:6]], [*HOSTILE[6:], "[bold]brackets[/bold]", "[/]"]]
    run = sats.Run(write_run(tmp_path / "<b>run & co", names, small("sats")))
    page = html_of(run, tmp_path)
    assert page.tags <= {"div", "p", "b", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert "<script>alert(1)</script>" in page.text
    assert "[bold]brackets[/bold]" in page.text
    assert "<b>run & co" in page.text


def test_showing_a_run_in_a_notebook_displays_tables_and_a_picture(
    finished: sats.Run, displayed: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    finished.show(images=1)
    run, picture = displayed
    assert run == finished
    assert isinstance(picture, Image.Image)
    finished.show(images=0)
    assert displayed[2:] == [finished]
    assert capsys.readouterr().out == ""


def test_a_run_whose_folder_is_gone_can_still_be_displayed(tmp_path: Path) -> None:
    run = sats.Run(write_run(tmp_path / "a<b", groups_of(2, 1)))
    run.path.rename(tmp_path / "other")
    assert repr(run) == f"Run({str(run.path)!r})"
    assert "a&lt;b/config.json cannot be read" in run._repr_html_()


def test_runs_that_start_at_the_same_moment_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(lambda _: new_folder(tmp_path / "runs", "mine"), range(40)))
    assert len(set(folders)) == 40
    assert all(folder.is_dir() for folder in folders)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="link cannot be written: File exists"):
        new_folder(tmp_path / "link", "mine")
    with pytest.raises(ValueError, match=r"file cannot be written: File exists\. Choose a folder with --out"):
        new_folder(tmp_path / "file", "mine")
