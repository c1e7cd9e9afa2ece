"""The index of image and mask pairs: what it finds, when it looks again, what it survives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sats import progress
from sats.data import index
from sats.data.index import Pair, cache_path, ids_in, image_size, index_pairs, read_image, read_mask, scan_files

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


IDS = [[0, 1, 2, 3], [0, 0, 255, 3]]
PALETTE = [value for color in range(256) for value in (255 - color, color, 7)]


def palette_mask(path: Path, **options: Any) -> str:
    mask = Image.fromarray(np.array(IDS, dtype=np.uint8))
    mask.putpalette(PALETTE)
    mask.save(path, **options)
    return str(path)


def test_masks_are_read_as_stored(tmp_path: Path) -> None:
    grey = save(tmp_path / "grey.png", IDS)
    palette = palette_mask(tmp_path / "palette.png", transparency=0)
    for path in (grey, palette):
        mask = read_mask(path)
        np.testing.assert_array_equal(np.asarray(mask), IDS)
        assert ids_in(mask) == [0, 1, 2, 3, 255]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palette_of_few_bits_keeps_its_ids(tmp_path: Path, bits: int) -> None:
    ids = np.array([[0, 1, 0, 1]], dtype=np.uint8)
    mask = Image.fromarray(ids)
    mask.putpalette(PALETTE[:48])
    mask.save(tmp_path / "mask.png", bits=bits)
    read = read_mask(str(tmp_path / "mask.png"))
    np.testing.assert_array_equal(np.asarray(read), ids)
    assert ids_in(read) == [0, 1]


def test_one_bit_mask_holds_0_and_1(tmp_path: Path) -> None:
    mask = read_mask(save(tmp_path / "mask.png", [[0, 255]], "1"))
    assert mask.mode == "1"
    assert ids_in(mask) == [0, 1]
    assert ids_in(read_mask(save(tmp_path / "full.png", [[255, 255]], "1"))) == [1]


def few_bits_png(path: Path) -> None:
    """A greyscale PNG of 4 bits, which Pillow can't write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 4, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\x00\x12"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))


def bad_mask(path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 9, (64, 64))
    if kind == "RGB":
        save(path, noise, "RGB")
    elif kind == "alpha":
        save(path, noise, "LA")
    elif kind == "16 bits":
        Image.fromarray(noise.astype(np.uint16)).save(path)
    elif kind == "4 bits":
        few_bits_png(path)
    elif kind == "JPEG":
        save(path, noise, format="JPEG")
    elif kind == "cut short":
        save(path, noise)
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "empty":
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("RGB", "mode RGB, not class indices: save the mask as a PNG with one 8-bit"),
        ("alpha", "mode LA, not class indices: save the mask as a PNG with one 8-bit"),
        ("16 bits", "mode I;16, not class indices: save the mask as a PNG with one 8-bit"),
        ("4 bits", "greyscale of 4 bits: save the mask as a PNG with one 8-bit"),
        ("JPEG", "is a JPEG file, not a PNG: save the mask as a PNG"),
        ("cut short", "can't be read .*truncated.*: save or fetch it anew"),
        ("empty", "is not an image of a known format .*: save it anew"),
        ("absent", "can't be read .*: save or fetch it anew"),
    ],
)
def test_bad_masks_are_refused(tmp_path: Path, kind: str, cause: str) -> None:
    path = tmp_path / "mask.png"
    bad_mask(path, kind)
    with pytest.raises(ValueError, match=cause) as caught:
        read_mask(str(path))
    assert str(caught.value).startswith(str(path))


UPRIGHT = np.zeros((6, 8, 3), dtype=np.uint8)
UPRIGHT[:3, :4] = 60
UPRIGHT[:3, 4:] = 120
UPRIGHT[3:, :4] = 240
STORED = {  # what undoes each EXIF orientation
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_images_are_turned_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    image = Image.fromarray(UPRIGHT)
    turn = STORED[orientation]
    exif = Image.Exif()
    exif[0x112] = orientation
    path = str(tmp_path / f"image.{suffix}")
    (image.transpose(turn) if turn is not None else image).save(path, exif=exif, quality=100)
    assert image_size(path) == (6, 8)
    read = np.asarray(read_image(path)).astype(int)
    assert read.shape == (6, 8, 3)
    assert np.abs(read[[0, 0, -1, -1], [0, -1, 0, -1]] - UPRIGHT[[0, 0, -1, -1], [0, -1, 0, -1]]).max() < 30


GREY = np.array([[0, 102, 204, 255]], dtype=np.uint8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = str(tmp_path / ("image.tif" if mode in {"CMYK", "PA"} else "image.png"))
    Image.fromarray(GREY).convert("RGB").convert(mode).save(path)
    image = read_image(path)
    assert image.mode == "RGB"
    if mode != "1":
        np.testing.assert_array_equal(np.asarray(image), np.repeat(GREY[..., None], 3, axis=2))
    assert image_size(path) == (1, 4)


def test_palette_image_with_transparency_does_not_warn(tmp_path: Path) -> None:
    image = Image.fromarray(GREY).convert("RGB").convert("P")
    image.save(tmp_path / "image.png", transparency=bytes([0, 128, 255]))
    np.testing.assert_array_equal(np.asarray(read_image(str(tmp_path / "image.png")))[..., 0], GREY)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_greyscale_keeps_its_upper_bits(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path)
    np.testing.assert_array_equal(np.asarray(read_image(str(path))), np.repeat(GREY[..., None], 3, axis=2))


def test_16_bit_greyscale_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    path = str(tmp_path / "image.png")
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path, exif=exif)
    assert image_size(path) == (4, 1)
    assert np.asarray(read_image(path))[:, 0, 0].tolist() == [0, 102, 204, 255]


@pytest.mark.parametrize("function", [read_image, image_size])
def test_32_bit_images_are_refused(tmp_path: Path, function: Any) -> None:
    path = str(tmp_path / "image.tif")
    Image.fromarray(GREY.astype(np.float32)).save(path)
    with pytest.raises(ValueError, match=r"image.tif has 32-bit pixels.*save it with 8 or 16 bits"):
        function(path)


@pytest.mark.parametrize("function", [read_image, image_size])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_images_cut_short_are_refused(tmp_path: Path, suffix: str, function: Any) -> None:
    path = tmp_path / f"image.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=f"image.{suffix} (can't be read|is not an image).* anew") as caught:
        function(str(path))
    assert str(caught.value).startswith(str(path))


def test_image_with_bytes_after_its_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(UPRIGHT).save(path)
    path.write_bytes(path.read_bytes() + b"\0\0")
    assert image_size(str(path)) == (6, 8)


def test_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "image.png", np.zeros((8, 8)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"image.png has too many pixels .*tiles"):
        read_image(path)


def test_torch_is_not_loaded() -> None:
    check = "import sys, sats.data.folder; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
