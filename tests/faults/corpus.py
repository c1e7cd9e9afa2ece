"""Sound files of every kind that sats reads, small: data, a finished run, an interrupted one, a suite, pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import signal
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from labelled import coco_polygons, coco_runs, colours, png, yolo
from sats.config import RunConfig
from sats.data.ccp import ARCHIVE
from sats.engine.log import Log
from sats.engine.run_folder import create_run
from sats.methods import Method
from sats.recipes import recipe

FORMATS = ("png", "jpg", "webp", "tif", "bmp", "gif")


def make_corpus(root: Path) -> Path:
    """Write everything below ``root``: some seconds of training."""
    from sats.engine.train import train

    root.mkdir(parents=True)
    write_data(root / "data", ("background", "cat", "dog"))
    write_data(root / "new", ("background", "cow", "hen"))
    write_pictures(root / "pictures")
    config = settings(root / "data")
    with contextlib.redirect_stderr(io.StringIO()):
        folder = create_run(root / "run", config)
        train(config, folder, Log(folder.metrics_path))
        (root / "run" / "skipped.jsonl").write_text('{"problem": "an image"}\n')
        stopped = create_run(root / "stopped", config)
        log = Stopping(stopped.metrics_path)
        with contextlib.suppress(KeyboardInterrupt):
            train(config, stopped, log)
    write_formats(root / "formats")
    write_archives(root / "archives")
    suite = {"name": "s", "variants": {"finetune": {}, "sats": {"train": {"epochs": 1}}}, "grid": {"seed": [0, 1]}}
    (root / "suite.json").write_text(json.dumps({**suite, "base": {"stream": {"protocol": "5-5"}}}))
    return root


class Stopping(Log):
    """A log that stops the run in the middle of step 1."""

    moved: int = 0

    def advance(self) -> None:
        """Press Ctrl-C when the bar moves for the eighth time."""
        super().advance()
        self.moved += 1
        if self.moved == STOP:
            signal.raise_signal(signal.SIGINT)


STOP = 6


def settings(data: Path) -> RunConfig[Method]:
    """Two steps of two iterations, with a memory of copies."""
    config = recipe("folder", "ewc")
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, root=str(data)),
        stream=dataclasses.replace(config.stream, protocol="1-1"),
        model=dataclasses.replace(config.model, name="segformer-tiny"),
        train=dataclasses.replace(config.train, epochs=1, batch_size=2, crop=32, log_every=1),
        memory=dataclasses.replace(config.memory, size=3, copy=True),
    )


def write_data(root: Path, names: tuple[str, ...]) -> None:
    """Four images to learn from and two to measure on, with every class in each."""
    for split, number in (("train", 4), ("val", 2)):
        for part in ("images", "masks"):
            (root / part / split).mkdir(parents=True)
        for index in range(number):
            mask = np.kron(np.random.default_rng(index).integers(0, 3, (4, 4)), np.ones((10, 10))).astype(np.uint8)
            mask[:20, :20], mask[20:, 20:] = 1, 2
            Image.fromarray(mask).save(root / "masks" / split / f"{index}.png")
            image = Image.fromarray(np.repeat(mask[..., None] * 80, 3, 2))
            image.save(root / "images" / split / f"{index}.{('jpg', 'png', 'webp', 'tif')[index]}")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))


def write_formats(root: Path) -> None:
    """The same label maps as people have them elsewhere; the words that convert them are in `fuzz.KINDS`."""
    maps = {str(index): np.random.default_rng(index).integers(0, 4, (6, 8)).astype(np.uint8) for index in range(2)}
    for name, write in (("coco", coco_polygons), ("runs", coco_runs), ("yolo", yolo), ("colours", colours)):
        write(root / name, maps)


def write_archives(root: Path) -> None:
    """What `sats data prepare ccp` unpacks, as a zip file."""
    root.mkdir()
    with zipfile.ZipFile(root / f"{ARCHIVE}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("0001", "0002"):
            content = io.BytesIO()
            savemat(content, {"groundtruth": np.arange(12, dtype=np.uint8).reshape(3, 4)})
            archive.writestr(f"{ARCHIVE}/annotations/pixel-level/{name}.mat", content.getvalue())
            archive.writestr(f"{ARCHIVE}/photos/{name}.jpg", png(np.zeros((3, 4, 3))))


def write_pictures(root: Path) -> None:
    """A picture in every format and most modes."""
    root.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (24, 20, 3)).astype(np.uint8)
    picture = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x112] = 6
    for suffix in FORMATS:
        if suffix != "gif":
            picture.save(root / f"plain.{suffix}", **({} if suffix == "bmp" else {"exif": exif}))
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        kind = picture.convert("I").convert("I;16") if mode == "I;16" else picture.convert(mode)
        kind.save(root / f"mode-{mode.replace(';', '')}.png")
    picture.convert("CMYK").save(root / "cmyk.jpg")
    picture.save(root / "deflated.tif", compression="tiff_deflate")
    picture.convert("P").save(root / "rle.bmp")
