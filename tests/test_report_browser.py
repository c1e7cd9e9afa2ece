"""A report in a real browser: what moves, what fits, what stays text. Skipped where there is no chromium."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports import HEBREW, HOSTILE, groups_of, write_run
from sats.engine.run_folder import RunFolder
from sats.report.html import make_report
from sats.words import percent
from test_engine import small

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
WIDTH = "document.documentElement.scrollWidth"
CUT_OFF = """() => Array.from(document.querySelectorAll("body *"))
    .filter(element => !element.closest(".scroll, pre, .hidden, .defs"))
    .filter(element => {
        const place = element.getBoundingClientRect();
        return place.width && (place.right > innerWidth + 1 || place.left < 0);
    })
    .map(element => element.outerHTML.slice(0, 80))"""
"""Elements that reach beyond the page and lie in no box that scrolls."""
CONTRAST = """element => {
    const luminance = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number)
        .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, index) => sum + v * [0.2126, 0.7152, 0.0722][index], 0);
    const style = getComputedStyle(element);
    const ink = luminance(element instanceof SVGElement ? style.fill : style.color);
    const paper = luminance(getComputedStyle(document.body).backgroundColor);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
}"""


@pytest.fixture(scope="module")
def single(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report([trained["sats"]], tmp_path_factory.mktemp("single") / "report.html", images=2)


@pytest.fixture(scope="module")
def several(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(list(trained.values()), tmp_path_factory.mktemp("several") / "report.html", images=1)


class Opened:
    """A page that is open, and whatever it should not have done."""

    def __init__(self, browser: sync_api.Browser, path: Path, **settings: object) -> None:
        self.context = browser.new_context(**{"viewport": DESKTOP, **settings})
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.faults.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> sync_api.Page:
        return self.page

    def __exit__(self, *raised: object) -> None:
        document = self.page.url.partition("#")[0]
        self.context.close()
        outside = [fault for fault in self.faults if fault != document and not fault.startswith("data:")]
        assert not outside or any(raised)


def captions(page: sync_api.Page) -> list[str]:
    """What stands first under each picture of the first example that is to be seen."""
    figures = page.locator(".example").first.locator("figure:visible figcaption")
    return [text.splitlines()[0] for text in figures.all_inner_texts()]


def test_the_slider_shows_one_step_at_a_time(browser: sync_api.Browser, single: Path) -> None:
    with Opened(browser, single) as page:
        last = ["image", "ground truth", "step 1", "step 0 to step 1", "attention, step 0", "attention, step 1"]
        assert captions(page) == last
        slider = page.get_by_label("Step", exact=True)
        slider.focus()
        page.keyboard.press("ArrowLeft")
        assert captions(page) == ["image", "ground truth", "step 0", "attention, step 0"]
        assert page.locator("output").inner_text() == "0: learns zero, one, two, three and four"
        assert slider.get_attribute("aria-valuetext") == "step 0: learns zero, one, two, three and four"
        page.keyboard.press("End")
        assert captions(page) == last


def test_a_class_is_asked_for_its_attention(browser: sync_api.Browser, single: Path) -> None:
    with Opened(browser, single) as page:
        example = page.locator(".example").first
        chips = example.get_by_role("button")
        assert chips.count() > 1
        chips.nth(1).click()
        assert [chip.get_attribute("aria-pressed") for chip in chips.all()][:2] == ["false", "true"]
        seen = example.locator("figure.attended:visible img")
        name = chips.nth(1).inner_text()
        assert [one.get_attribute("alt") for one in seen.all()] == [f"attention of {name}, step {n}" for n in (0, 1)]
        chips.nth(1).click()
        assert seen.count() == 0
        assert page.locator(".example").nth(1).locator("figure.attended:visible").count() == 2


def test_a_class_may_be_chosen_in_the_ground_truth(browser: sync_api.Browser, single: Path) -> None:
    with Opened(browser, single) as page:
        example = page.locator(".example").first
        chip, truth = example.get_by_role("button").nth(1), example.locator(".truth img")
        content = base64.b64decode(str(truth.get_attribute("src")).partition(",")[2])
        colours = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        wanted = [int(part) for part in re.findall(r"\d+", chip.locator(".swatch").evaluate("e => e.style.background"))]
        row, column = np.argwhere((colours == wanted).all(axis=2))[0] + 5  # within a pixel of 10 x 10
        size = truth.bounding_box()
        assert size is not None
        where = {"x": column * size["width"] / colours.shape[1], "y": row * size["height"] / colours.shape[0]}
        truth.click(position=where)
        assert chip.get_attribute("aria-pressed") == "true"


def test_several_runs_share_the_slider(browser: sync_api.Browser, several: Path) -> None:
    with Opened(browser, several) as page:
        rows = page.locator(".pictures tbody tr:visible th")
        assert rows.all_inner_texts() == ["image", "ground truth", "sats, step 1", "finetune, step 1", "joint"]
        page.get_by_label("Step", exact=True).fill("0")
        assert rows.all_inner_texts() == ["image", "ground truth", "sats and finetune, step 0", "joint"]


def test_charts_say_their_numbers_to_pointer_and_keyboard(
    browser: sync_api.Browser, single: Path, trained: dict[str, Path]
) -> None:
    history = RunFolder(trained["sats"]).scores()
    says = [f"all classes: {100 * (scores.miou['all'] or 0):.1f}" for scores in history]
    with Opened(browser, single) as page:
        chart, note = page.locator("#curves .chart > svg"), page.locator(".note[role=status]:visible")
        marks = chart.locator("[data-says]")
        assert note.count() == 0  # hidden
        for place, text in enumerate(says):
            marks.nth(place).hover(force=True)
            assert note.inner_text() == text
        page.mouse.move(0, 0)
        assert note.count() == 0
        chart.focus()
        assert note.inner_text() == says[0]
        page.keyboard.press("ArrowRight")
        assert note.inner_text() == says[1]
        page.keyboard.press("Escape")
        assert note.count() == 0
        chart.evaluate("element => getSelection().selectAllChildren(element)")
        ends = [percent(history[-1].miou[figure]) for figure in ("all", "old", "new")]
        assert set(ends) <= set(str(page.evaluate("String(getSelection())")).split())


def test_light_and_dark(browser: sync_api.Browser, single: Path) -> None:
    def paper(page: sync_api.Page) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    line = "getComputedStyle(document.querySelector('#curves svg path[style*=--c0]')).stroke"
    with Opened(browser, single, color_scheme="dark") as page:
        dark, dark_line = paper(page), page.evaluate(line)
        button = page.get_by_role("button", name="Light page")
        button.click()
        light = paper(page)
        assert dark_line != page.evaluate(line)
        page.get_by_role("button", name="Dark page").click()
        assert paper(page) == dark
        page.emulate_media(media="print")
        assert paper(page) == light == "rgb(255, 255, 255)"
        page.emulate_media(media="screen")
        for _ in range(2):
            for words in (".lead", ".subtitle", "nav a", "#curves svg text", ".strip figcaption", "td"):
                assert page.locator(words).first.evaluate(CONTRAST) >= 4.5, words
            page.locator("#theme").click()


@pytest.mark.parametrize("kind", ["single", "several", "hostile"])
def test_a_phone_shows_everything(
    browser: sync_api.Browser, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "hostile":
        run = write_run(tmp_path / ("z" * 200), [["background", *HOSTILE[:6]], list(HOSTILE[6:])])
        other = write_run(tmp_path / HEBREW, groups_of(2, 1), seed=1)
        path = make_report([run, other], tmp_path / "report.html", images=0)
    else:
        path = request.getfixturevalue(kind)
    with Opened(browser, path, viewport=PHONE) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert page.evaluate(WIDTH) == PHONE["width"]
        assert page.evaluate(CUT_OFF) == []


def test_names_run_nothing_and_stand_as_text(browser: sync_api.Browser, tmp_path: Path) -> None:
    groups = [["background", *HOSTILE[:4]], list(HOSTILE[4:])]
    run = write_run(tmp_path / "<script>alert(3)</script>".replace("/", "\N{DIVISION SLASH}"), groups)
    config = dataclasses.replace(small(), data=dataclasses.replace(small().data, source="folder", root=HOSTILE[1]))
    other = write_run(tmp_path / "other", groups, config, seed=1)
    for runs in ([run], [other, run]):
        with Opened(browser, make_report(runs, tmp_path / "report.html", images=0)) as page:
            assert page.get_by_text("<script>alert(1)</script>", exact=True).count() > 1
            assert page.locator("script").count() == 1
            assert page.locator("img").count() == 0
            assert page.evaluate("document.querySelectorAll('[onerror]').length") == 0


def test_a_page_runs_no_script_but_its_own(browser: sync_api.Browser, single: Path, tmp_path: Path) -> None:
    text = single.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", text)
    broken_into = tmp_path / "report.html"
    broken_into.write_text(text.replace("<main>", "<main><script>document.title = 'in'</script>"), encoding="utf-8")
    opened = Opened(browser, broken_into)
    assert opened.page.title() != "in"
    assert any("Content Security Policy" in fault for fault in opened.faults)
    opened.context.close()


def test_print_and_pages_without_script_show_every_step(browser: sync_api.Browser, single: Path, several: Path) -> None:
    every = ["image", "ground truth", "step 0", "step 1", "step 0 to step 1"]
    with Opened(browser, single, java_script_enabled=False) as page:
        assert captions(page) == every
        assert page.locator("button:visible, input:visible").count() == 0
    with Opened(browser, single) as page:
        page.emulate_media(media="print")
        assert captions(page) == every
        assert page.locator("button:visible, input:visible, nav:visible").count() == 0
        page.set_viewport_size({"width": 718, "height": 1000})  # an A4 page within its margins
        assert page.evaluate(WIDTH) == 718
    with Opened(browser, several) as page:
        page.emulate_media(media="print")
        assert page.locator(".pictures tbody tr:visible").count() == 6
