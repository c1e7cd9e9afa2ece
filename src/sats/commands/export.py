"""``sats export``: a trained model for other programs."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import tyro
from rich.table import Table

from sats import api
from sats.engine.remeasure import manner_of, measure_again, open_source_of
from sats.engine.run_folder import EXTENSION, find_model, run_of
from sats.evaluation.scores import mean
from sats.evaluation.table import percent, show
from sats.files import at_home, building, saving, working
from sats.methods import METHODS
from sats.types import MIN_SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.models.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class ExportArguments:
    """Write a trained model for other programs."""

    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN|MODEL")]
    """A run (its last step), a step of one, or a model folder."""
    out: Path
    """Where to: a file (onnx) or a folder (hf) that does not exist yet."""
    format: Literal["onnx", "hf"] = "onnx"
    """ONNX, checked under onnxruntime; or the folder that transformers reads, without anything of ours."""
    size: Annotated[tuple[int, int], tyro.conf.arg(metavar="H W")] = (0, 0)
    """ONNX: for images of this height and width only. 0 0: of any size."""
    int8: bool = False
    """ONNX: store the weights of linear layers in 8 bits, and say what that costs in mIoU."""
    data: Annotated[str, tyro.conf.arg(metavar="DIR")] = ""
    """With --int8: the folder of images and masks to measure on. Default: the run's own."""
    split: str = ""
    """With --int8: the split to measure on. Default: the run's test split, else val."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    arguments = tyro.cli(ExportArguments, args=words, prog="sats export", config=(tyro.conf.FlagCreatePairsOff,))
    model, out = find_model(at_home(arguments.model)), at_home(arguments.out)
    if out.exists():
        raise ValueError(f"{out} exists: choose another --out.")
    check(arguments)
    size = arguments.size if any(arguments.size) else None
    if arguments.format == "hf":
        export_folder(model, out)
    elif arguments.int8:
        export_int8(model, out, size, arguments.data, arguments.split)
    else:
        export_float(model, out, size)
    print(f"{arguments.format}: {out}")


def check(arguments: ExportArguments) -> None:
    """ValueError for a size that cannot be, and for flags that would say nothing."""
    height, width = arguments.size
    if min(height, width) < MIN_SIDE and (height, width) != (0, 0):
        raise ValueError(f"--size is a height and a width of at least {MIN_SIDE} pixels, not {height} {width}.")
    if arguments.format == "hf" and (arguments.int8 or height):
        raise ValueError("--int8 and --size are for ONNX alone: leave them out, or leave out --format hf.")
    if (arguments.data or arguments.split) and not arguments.int8:
        raise ValueError("--data and --split say what to measure --int8 on: add that, or leave them out.")


def export_float(model: Path, out: Path, size: tuple[int, int] | None) -> None:
    """Write the model to the ONNX file ``out``."""
    print("exporting and checking: half a minute or more", flush=True)
    from sats.models.export import export_onnx

    export_onnx(model, out, size)


def export_int8(model: Path, out: Path, size: tuple[int, int] | None, data: str, split: str) -> None:
    """Write the model with 8-bit weights to ``out``, and print its mIoU beside that of the file with 32 bits.

    It is measured on the ``split`` of the folder ``data``; where they are empty, on those of its run.
    """
    run = run_of(model)
    if data or split or run is None or not run.config().extends.checkpoint:
        open_source_of(run, manner_of(run), data, split)  # tells of a mistake before the export, which takes long
    with working(out) as folder:
        whole, small = folder / "float32.onnx", folder / "int8.onnx"
        export_float(model, whole, size)
        from sats.models.quantise import OnnxModel, quantise

        with saving(out):
            quantise(whole, small)
        table = Table()
        for title in ("weights", "MB", "mIoU, %"):
            table.add_column(title, justify="left" if title == "weights" else "right")
        for file in (whole, small):
            trained = api.load(model)
            predictor = dataclasses.replace(
                trained, model=OnnxModel(file, cast("Segmenter", trained.model), size), method=METHODS["finetune"]()
            )
            scores = measure_again(predictor, model, data, split, {})
            table.add_row(file.stem, f"{file.stat().st_size / 1e6:.1f}", percent(mean(scores.iou.values())))
        with saving(out):
            small.replace(out)
    show(table)


def export_folder(model: Path, out: Path) -> None:
    """Copy the model folder to ``out``, without the rows that only sats reads."""
    from sats.models.checkpoint import RESERVED

    if out.resolve().is_relative_to(model.resolve()):
        raise ValueError(f"{out} lies in the folder that is exported: choose another --out.")
    with saving(out), building(out) as beside:
        shutil.copytree(model, beside, ignore=shutil.ignore_patterns(RESERVED, EXTENSION), dirs_exist_ok=True)
