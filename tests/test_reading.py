"""Images and masks are read as they are stored, or refused with the fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sats.data.index import ids_in, image_size, read_image, read_mask
from test_index import save

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
        ("absent", "is gone: put it back"),
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


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_no_larger_than_needed(tmp_path: Path, orientation: int) -> None:
    """Never below the scale asked for, upright, and the same picture."""
    ramp = np.add.outer(np.arange(248), np.arange(400)) / 3
    exif = Image.Exif()
    exif[0x112] = orientation
    path = str(tmp_path / "image.jpg")
    Image.fromarray(np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)).save(path, exif=exif, quality=95)
    whole = read_image(path)
    for scale, by in ((1.0, 1), (0.51, 1), (0.5, 2), (0.3, 2), (0.25, 4), (0.05, 8)):
        image = read_image(path, scale)
        assert image.size == (-(-whole.width // by), -(-whole.height // by))
        small = np.asarray(whole.resize(image.size, Image.Resampling.BOX)).astype(int)
        assert np.abs(np.asarray(image).astype(int) - small).mean() < 1.5


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
