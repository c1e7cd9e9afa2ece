"""`sats app` in a real browser: pictures and masks, a class that is added. Skipped where there is no chromium."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import sats
from sats.app.models import models_in
from test_app import mask, picture

pytest.importorskip("gradio", reason="needs gradio")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

from sats.app.launching import MOST_BYTES, Place, serving

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # gradio's
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 400, "height": 850}
NAME = "<img src=x onerror=alert(1)>"
SECONDS = 1000.0
"""Milliseconds, as playwright counts."""


@dataclass
class Served:
    """A page that is served at ``url``, its working folder, and the addresses that its server connected to."""

    url: str
    work: Path
    spare: Path
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def served(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place, asked = tmp_path_factory.mktemp("app"), list[str]()
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def watched(self: socket.socket, address: object) -> None:
        asked.append(str(address[0]) if isinstance(address, tuple) else "")
        connect(self, address)  # type: ignore[arg-type]

    def resolved(host: str, *rest: object, **others: object) -> object:
        asked.append(str(host))
        return resolve(host, *rest, **others)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", watched)
        patch.setattr(socket, "getaddrinfo", resolved)
        patch.setattr(tempfile, "tempdir", str(place))
        for name in ("GRADIO_TEMP_DIR", "NO_PROXY", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
            patch.setenv(name, os.environ.get(name, ""))  # to be put back
        with serving(models_in([trained["sats"], trained["finetune"]]), Place(), place / "work") as url:
            yield Served(url, place / "work", next(place.glob("sats-app-*")), asked)
        assert not list(place.glob("sats-app-*"))


class Opened:
    """The page in a browser of its own, and whatever it should not have done."""

    def __init__(self, browser: sync_api.Browser, url: str, viewport: dict[str, int] | None = None) -> None:
        self.context = browser.new_context(viewport=viewport or DESKTOP)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60 * SECONDS)
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._said)
        self.page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))
        self.page.on("request", self._asked)
        self._own = url
        self.page.goto(url)
        self.page.get_by_text("Drop a picture into the box").wait_for()

    def _said(self, message: sync_api.ConsoleMessage) -> None:
        if message.type == "error":
            self.faults.append(message.text)

    def _asked(self, request: sync_api.Request) -> None:
        if not request.url.startswith((self._own, "data:", "blob:")):
            self.faults.append(request.url)

    def __enter__(self) -> sync_api.Page:
        return self.page

    def __exit__(self, *raised: object) -> None:
        self.context.close()
        assert not self.faults or any(raised)


def put(page: sync_api.Page, *files: Path, place: int = 0) -> None:
    """Drop files on the page's upload of that number."""
    page.locator("input[type=file]").nth(place).set_input_files([str(file) for file in files])


def wide(page: sync_api.Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


def test_what_every_step_sees_stands_side_by_side(
    browser: sync_api.Browser, served: Served, trained: dict[str, Path], tmp_path: Path
) -> None:
    file = picture(tmp_path / "photo.png")
    with Opened(browser, served.url) as page:
        put(page, file)
        layers = page.locator(".seen .stack img")
        layers.nth(3).wait_for()
        assert page.locator(".seen h3").all_inner_texts() == ["sats", "finetune"]
        assert [text.split()[:2] for text in page.locator(".seen figcaption").all_inner_texts()] == [
            ["step", "0"],
            ["step", "1"],
        ] * 2
        with page.expect_download() as download:
            page.locator("a[download]").nth(1).click()
        stored = np.asarray(Image.open(download.value.path()))
        assert np.array_equal(stored, sats.load(trained["sats"]).predict(file).labels)
        page.get_by_label("finetune, step 0").uncheck()
        page.get_by_label("finetune, step 1").uncheck()
        layers.nth(2).wait_for(state="detached")
        assert page.locator(".seen h3").all_inner_texts() == ["sats"]


def test_opacity_follows_the_slider(browser: sync_api.Browser, served: Served, tmp_path: Path) -> None:
    opacity = "getComputedStyle(document.querySelector('.stack img')).opacity"
    with Opened(browser, served.url) as page:
        put(page, picture(tmp_path / "photo.png"))
        page.locator(".stack img").first.wait_for()
        assert page.evaluate(opacity) == "0.6"
        page.get_by_role("slider").fill("25")
        page.wait_for_function(f"{opacity} === '0.25'")


def test_what_cannot_be_read_is_told(browser: sync_api.Browser, served: Served, tmp_path: Path) -> None:
    fake = tmp_path / "fake.png"
    fake.write_text("text")
    with Opened(browser, served.url) as page:
        put(page, fake)
        page.get_by_text("fake.png is not an image of a known format").wait_for()
        page.get_by_role("tab", name="Add a class").click()
        put(page, fake, picture(tmp_path / "it.png"), place=-2)
        page.get_by_text("1 image, 0 with a mask").wait_for()
        page.get_by_text("fake.png is not an image of a known format").last.wait_for()
        page.get_by_role("button", name="Start").click()
        page.get_by_text("A class needs a name").wait_for()
        page.get_by_role("button", name="Take all away").click()
        page.locator(".shelf").wait_for(state="detached")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
def test_everything_fits(browser: sync_api.Browser, served: Served, tmp_path: Path, viewport: dict[str, int]) -> None:
    with Opened(browser, served.url, viewport) as page:
        put(page, picture(tmp_path / "photo.png"))
        page.locator(".stack img").first.wait_for()
        assert wide(page) == viewport["width"]
        page.get_by_role("tab", name="Add a class").click()
        put(page, picture(tmp_path / f"{'wide ' * 20}.png"), place=-2)
        page.locator(".shelf img").first.wait_for()
        assert wide(page) == viewport["width"]
        page.get_by_role("button", name="Take all away").click()
        page.locator(".shelf").wait_for(state="detached")


def answer(url: str, headers: dict[str, str] | None = None, data: bytes | None = None) -> int:
    """The status that a request gets."""
    try:
        request = urllib.request.Request(url, data, headers or {})  # noqa: S310 (our own server's)
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 (the same)
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_only_this_machine_is_served_and_only_what_was_uploaded(served: Served, trained: dict[str, Path]) -> None:
    address = urlsplit(served.url)
    assert address.hostname == "127.0.0.1"
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", address.port))  # this machine as well, but not where the page is
    assert answer(served.url) == 200
    assert answer(served.url, {"Host": "elsewhere.example"}) == 400
    assert answer(served.url, {"Origin": served.url.rstrip("/")}) == 200
    for origin in ("http://elsewhere.example", "null"):
        assert answer(served.url, {"Origin": origin}) == 403
    for file in (trained["sats"] / "config.json", Path("/etc/passwd")):
        assert answer(f"{served.url}gradio_api/file={file}") in (403, 404)


def test_uploads_have_a_limit(served: Served) -> None:
    edge = b"--it\r\nContent-Disposition: form-data; name=files; filename=it.png\r\n\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=it"}
    url = f"{served.url}gradio_api/upload"
    assert answer(url, headers, edge + b"x" * 10 + b"\r\n--it--\r\n") == 200
    assert answer(url, headers, edge + b"x" * (MOST_BYTES + 1) + b"\r\n--it--\r\n") == 413


def painting(page: sync_api.Page) -> None:
    """Draw a stroke over the middle of the editor's picture."""
    canvas = page.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(3 * SECONDS)  # until the editor has put the picture there nothing tells
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 20, y)
    page.mouse.down()
    page.mouse.move(x + 20, y + 10, steps=10)
    page.mouse.up()
    page.wait_for_timeout(SECONDS)


def after(page: sync_api.Page, done: Callable[[], bool], seconds: int = 300) -> None:
    """Wait until it is ``done``."""
    for _ in range(2 * seconds):
        if done():
            return
        page.wait_for_timeout(SECONDS / 2)
    pytest.fail("It takes too long.")


@pytest.mark.slow
def test_the_command_serves_until_it_is_stopped_and_cleans_up(trained: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sats", "app", str(trained["sats"])]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert "until Ctrl-C.\n" in said
        assert len(list(tmp_path.glob("sats-app-*"))) == 2  # for uploads, and to work in
        assert answer(said.split()[4]) == 200
        process.terminate()
        assert process.stdout.read() == ""
        assert process.wait() == 0
    assert list(tmp_path.glob("sats-app-*")) == []


@pytest.mark.slow
def test_a_class_is_added_while_the_page_is_closed(browser: sync_api.Browser, served: Served, tmp_path: Path) -> None:
    images = [picture(tmp_path / "up" / f"{number}.png", seed=number) for number in range(6)]
    masks = [mask(tmp_path / "masks" / image.name) for image in images]
    with Opened(browser, served.url) as page:
        page.get_by_role("tab", name="Add a class").click()
        put(page, *images, place=-2)
        page.get_by_text("6 images, 0 with a mask").wait_for()
        put(page, *masks[:5], place=-1)
        page.get_by_text("6 images, 5 with a mask").wait_for()
        page.get_by_label("Image to paint").click()
        page.get_by_role("option", name="5").click()
        painting(page)
        page.get_by_role("button", name="Keep what is painted").click()
        page.get_by_text("6 images, 6 with a mask").wait_for()
        page.get_by_label("Name of the new class").fill(NAME)
        page.get_by_label("Passes over the images").fill("2")
        page.get_by_role("button", name="Start").click()
        page.get_by_role("progressbar").wait_for()
    stored = np.asarray(Image.open(served.work / "collected" / "masks" / "5.png"))
    assert 0 < (stored == 1).mean() < 0.5
    assert stored[stored.shape[0] // 2, stored.shape[1] // 2] == 1

    with Opened(browser, served.url, PHONE) as page:
        page.get_by_role("tab", name="Add a class").click()
        status = page.locator(".status")
        after(page, lambda: "Done." in status.inner_text())
        assert status.locator("tbody").first.inner_text().startswith(NAME)
        assert status.locator("tbody").nth(1).locator("th").last.inner_text() == "mean"
        assert wide(page) == PHONE["width"]
        page.get_by_role("tab", name="Try").click()
        put(page, images[0])
        page.locator(".seen h3").nth(2).wait_for()
        assert NAME in page.locator(".seen h3").nth(2).inner_text()
        assert wide(page) == PHONE["width"]
        assert page.evaluate("document.querySelectorAll('[onerror]').length") == 0
    model = served.work / "extension-1" / "model"
    assert list(json.loads((model / "config.json").read_text())["id2label"].values())[-1] == NAME


def test_nobody_outside_was_asked_for_anything(served: Served) -> None:
    """What the tests before this one did: the server connects to itself alone."""
    assert served.asked
    for host in filter(None, served.asked):
        assert host == "localhost" or ipaddress.ip_address(host).is_loopback, host
