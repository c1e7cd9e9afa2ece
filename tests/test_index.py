"""The index of image and mask pairs: what it finds, when it looks again, what it survives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from sats import progress
from sats.data import index
from sats.data.folder import open_folder
from sats.data.index import Pair, cache_path, index_pairs, read_mask, scan_files
from sats.data.loader import TrainLoader
from sats.data.stream import Samples
from sats.data.transforms import TrainTransform

PNG = frozenset({".png"})


def save(path: Path, pixels: Any, mode: str = "L", **options: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(pixels, dtype=np.uint8)
    Image.fromarray(array).convert(mode).save(path, **options)
    return str(path)


def pair(folder: Path, key: str) -> Pair:
    image, mask = folder / f"{key}.jpg", folder / f"{key}.png"
    of_image, of_mask = image.stat(), mask.stat()
    stamp = (of_mask.st_size, of_mask.st_mtime_ns, of_image.st_size, of_image.st_mtime_ns)
    return Pair(key, str(image), str(mask), stamp)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pairs of 3 x 4 pixels; mask ``i`` holds ids 0, i and 255."""
    for number, key in enumerate("abc", start=1):
        save(tmp_path / f"{key}.jpg", np.full((3, 4), 90), "RGB")
        save(tmp_path / f"{key}.png", [[0, 0, number, 255]] * 3)
    return tmp_path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the masks decoded."""
    names: list[str] = []
    lock = threading.Lock()

    def counting(path: str) -> Image.Image:
        with lock:
            names.append(Path(path).name)
        return read_mask(path)

    monkeypatch.setattr(index, "read_mask", counting)
    return names


def test_index_holds_sizes_and_raw_ids(folder: Path) -> None:
    found = index_pairs([pair(folder, key) for key in "abc"], folder / "cache.json")
    assert found.problems == ()
    assert found.sizes.tolist() == [[3, 4]] * 3
    assert found.ids.tolist() == [0, 1, 255, 0, 2, 255, 0, 3, 255]
    assert found.owners.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_index_of_nothing() -> None:
    found = index_pairs([], Path("never-written.json"))
    assert found.sizes.shape == (0, 2)
    assert found.ids.size == found.owners.size == 0
    assert not Path("never-written.json").exists()


def test_second_look_decodes_nothing_and_says_the_same(folder: Path, decoded: list[str]) -> None:
    pairs, cache = [pair(folder, key) for key in "abc"], folder / "cache.json"
    first = index_pairs(pairs, cache)
    assert sorted(decoded) == ["a.png", "b.png", "c.png"]
    written = cache.stat().st_mtime_ns
    second = index_pairs(pairs, cache)
    assert len(decoded) == 3
    assert cache.stat().st_mtime_ns == written
    for name in ("sizes", "ids", "owners"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_changed_file_redoes_its_row_only(folder: Path, decoded: list[str], suffix: str) -> None:
    cache = folder / "cache.json"
    index_pairs([pair(folder, key) for key in "abc"], cache)
    decoded.clear()
    save(folder / "b.png", [[7] * 4] * 3)
    if suffix == "jpg":
        save(folder / "b.jpg", np.full((3, 4), 10), "RGB")
    os.utime(folder / f"b.{suffix}", ns=(1, 1))
    found = index_pairs([pair(folder, key) for key in "abc"], cache)
    assert decoded == ["b.png"]
    assert found.ids[found.owners == 1].tolist() == [7]
    assert found.ids[found.owners == 2].tolist() == [0, 3, 255]


def test_removed_file_drops_its_row(folder: Path, decoded: list[str]) -> None:
    cache = folder / "cache.json"
    index_pairs([pair(folder, key) for key in "abc"], cache)
    decoded.clear()
    found = index_pairs([pair(folder, key) for key in "ac"], cache)
    assert decoded == []
    assert found.ids.tolist() == [0, 1, 255, 0, 3, 255]
    assert json.loads(cache.read_text())["key"] == ["a", "c"]


def test_rebuild_looks_at_every_file(folder: Path, decoded: list[str]) -> None:
    pairs, cache = [pair(folder, key) for key in "abc"], folder / "cache.json"
    index_pairs(pairs, cache)
    decoded.clear()
    index_pairs(pairs, cache, rebuild=True)
    assert sorted(decoded) == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"{}",
        b'{"version":1}',
        b'{"version":1,"key":["a","b"],"mask_size":[1]}',
        b'{"version":1,"key":3}',
        "older version",
        "cut short",
        "a column too short",
    ],
)
def test_broken_cache_is_rebuilt(folder: Path, decoded: list[str], content: bytes | str) -> None:
    pairs, cache = [pair(folder, key) for key in "abc"], folder / "cache.json"
    index_pairs(pairs, cache)
    decoded.clear()
    good = json.loads(cache.read_text())
    derived = {
        "older version": json.dumps(good | {"version": 0}).encode(),
        "cut short": cache.read_bytes()[:-9],
        "a column too short": json.dumps(good | {"ids": good["ids"][:2]}).encode(),
    }
    cache.write_bytes(derived[content] if isinstance(content, str) else content)
    assert index_pairs(pairs, cache).ids.tolist() == [0, 1, 255, 0, 2, 255, 0, 3, 255]
    assert len(decoded) == 3
    assert json.loads(cache.read_text()) == good


def test_cache_that_cannot_be_written_only_warns(folder: Path) -> None:
    (folder / "file").write_text("not a folder")
    with pytest.warns(UserWarning, match="SATS_CACHE") as caught:
        found = index_pairs([pair(folder, "a")], folder / "file" / "cache.json")
    assert found.ids.tolist() == [0, 1, 255]
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)


def test_interrupted_index_keeps_what_it_found(folder: Path, decoded: list[str]) -> None:
    pairs, cache = [pair(folder, key) for key in "abc"], folder / "cache.json"
    counting = index.read_mask

    def interrupted(path: str) -> Image.Image:
        if Path(path).name == "c.png":
            raise KeyboardInterrupt
        return counting(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "read_mask", interrupted)
        with pytest.raises(KeyboardInterrupt):
            index_pairs(pairs, cache)
    assert sorted(decoded) == ["a.png", "b.png"]
    decoded.clear()
    index_pairs(pairs, cache)
    assert decoded == ["c.png"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["cache.json", *(f"{key}.{suffix}" for key in "abc" for suffix in ("jpg", "png"))]
    )


def test_bad_pairs_are_problems_and_the_others_are_kept(folder: Path, decoded: list[str]) -> None:
    save(folder / "a.jpg", np.zeros((5, 4)), "RGB")
    save(folder / "b.png", np.zeros((3, 4)), "RGB")
    pairs = [pair(folder, key) for key in "abc"]
    found = index_pairs(pairs, folder / "cache.json")
    assert len(found.problems) == 2
    assert "a.png has 4 x 3 pixels" in found.problems[0]
    assert "a.jpg 4 x 5: give both the same size" in found.problems[0]
    assert "b.png has pixels of mode RGB" in found.problems[1]
    assert found.sizes.tolist() == [[0, 0], [0, 0], [3, 4]]
    decoded.clear()
    assert index_pairs(pairs, folder / "cache.json").problems == found.problems
    assert sorted(decoded) == ["a.png", "b.png"]


def test_bar_shows_on_a_terminal_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [pair(folder, key) for key in "abc"]
    monkeypatch.setattr(progress, "SECONDS_BEFORE_BAR", -1.0)
    index_pairs(pairs, folder / "one.json")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    index_pairs(pairs, folder / "two.json")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "reading masks" in shown.err
    monkeypatch.setattr(progress, "SECONDS_BEFORE_BAR", 60.0)
    index_pairs(pairs, folder / "three.json")
    assert capsys.readouterr() == ("", "")


def test_cache_path_is_one_for_each_root_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATS_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = cache_path(tmp_path / "my data", "train")
    assert path.is_relative_to(tmp_path)
    assert path.name.startswith("my_data-train-")
    assert path == cache_path(Path("my data"), "train") == cache_path(tmp_path / "x" / ".." / "my data", "train")
    others = {cache_path(tmp_path / "my data", "val"), cache_path(tmp_path / "my_data", "train")}
    assert len(others | {path}) == 3
    monkeypatch.delenv("SATS_CACHE")
    assert not cache_path(tmp_path, "train").is_relative_to(tmp_path)


def test_scan_follows_links_and_leaves_out_hidden_files(tmp_path: Path) -> None:
    for name in ("one/a.png", "one/deep/b.PNG", "one/.hidden.png", "one/.cache/c.png", "one/d.txt", "two/e.png"):
        save(tmp_path / name, [[1]], format="PNG")
    (tmp_path / "one/link.png").symlink_to(tmp_path / "two/e.png")
    (tmp_path / "one/linked").symlink_to(tmp_path / "two")
    names = sorted(name for name, _, _ in scan_files(tmp_path / "one", PNG))
    assert names == ["a.png", "deep/b.PNG", "link.png", "linked/e.png"]


@pytest.mark.parametrize(
    ("link", "target", "cause"),
    [
        ("dead.png", "nowhere.png", "can't be read"),
        ("dead", "nowhere", "can't be read"),
        ("self", "self", "can't be read"),
        ("up", "..", "links back"),
    ],
)
def test_scan_refuses_bad_links(tmp_path: Path, link: str, target: str, cause: str) -> None:
    folder = tmp_path / "folder" / "deeper"
    folder.mkdir(parents=True)
    (folder / link).symlink_to(target)
    with pytest.raises(ValueError, match=cause) as caught:
        list(scan_files(folder.parent, PNG))
    assert str(folder / link) in str(caught.value)
    assert "take" in str(caught.value)


def test_torch_is_not_loaded() -> None:
    check = "import sys, sats.data.folder; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_2000_pairs_are_checked_again_without_a_look_at_any_and_an_epoch_takes_no_memory(
    tmp_path: Path, decoded: list[str]
) -> None:
    """benchmarks/index.py does it with 100,000."""
    for part, suffix, pixels in (("images", "jpg", np.full((32, 32, 3), 90)), ("masks", "png", np.eye(32))):
        save(tmp_path / part / f"kind.{suffix}", pixels, "RGB" if part == "images" else "L")
        (tmp_path / part / "train").mkdir()
        for number in range(2000):
            os.link(tmp_path / part / f"kind.{suffix}", tmp_path / part / "train" / f"{number}.{suffix}")
    (tmp_path / "classes.txt").write_text("background\nline")
    source = open_folder(tmp_path, "train")
    assert len(decoded) == 2000
    decoded.clear()
    start = time.perf_counter()
    source = open_folder(tmp_path, "train")
    assert time.perf_counter() - start < 0.5
    assert not decoded
    loader = TrainLoader(
        samples=Samples(source, np.arange(2000), np.arange(256, dtype=np.uint8)),
        transform=TrainTransform(32),
        batch_size=16,
        seed=(0,),
    )
    resident = []
    for iteration, _ in enumerate(loader.batches(0, loader.iterations_per_epoch)):
        if iteration % 20 == 19:
            resident.append(psutil.Process().memory_info().rss)
    assert resident[-1] - resident[0] < 8 * 2**20
