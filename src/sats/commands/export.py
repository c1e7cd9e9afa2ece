"""``sats export``: a trained model for other programs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from sats.engine.run_folder import find_model
from sats.files import into_place, saving
from sats.types import MIN_SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    """ONNX: for images of this height and width only. 0 0: of any size, where the network allows it."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    arguments = tyro.cli(ExportArguments, args=words, prog="sats export")
    model, out = find_model(arguments.model.expanduser()), arguments.out.expanduser()
    if out.exists():
        raise ValueError(f"{out} exists: choose another --out.")
    height, width = arguments.size
    if min(height, width) < MIN_SIDE and (height, width) != (0, 0):
        raise ValueError(f"--size is a height and a width of at least {MIN_SIDE} pixels, not {height} {width}.")
    if arguments.format == "hf":
        export_folder(model, out)
    else:
        from sats.models.export import export_onnx

        print("exporting and checking: half a minute or more", flush=True)
        export_onnx(model, out, arguments.size if height else None)
    print(f"{arguments.format}: {out}")


def export_folder(model: Path, out: Path) -> None:
    """Copy the model folder to ``out``, without the rows that only sats reads."""
    from sats.models.checkpoint import RESERVED

    beside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    with saving(out):
        try:
            shutil.copytree(model, beside, ignore=shutil.ignore_patterns(RESERVED))
            into_place(beside, out)
        finally:
            shutil.rmtree(beside, ignore_errors=True)  # there still only after an error
