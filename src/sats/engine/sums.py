"""Sums of a finished step's weights, so that what rotted on a disk is never trained on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from sats.documents import is_a, read_json
from sats.errors import RunError
from sats.files import sha256, write_text

if TYPE_CHECKING:
    from pathlib import Path

SUMS: Final = "sums.json"
WEIGHTS: Final = "*.safetensors"


def write_sums(step: Path) -> None:
    """Write down the sum of every file of tensors in a step's folder."""
    sums = {path.relative_to(step).as_posix(): sha256(path) for path in sorted(step.rglob(WEIGHTS))}
    write_text(step / SUMS, json.dumps(sums, indent=2) + "\n")


def check_sums(step: Path) -> None:
    """RunError if a file of tensors in a step's folder is not what was written; an older run has no sums to check."""
    path = step / SUMS
    if not path.is_file():
        return
    sums = read_json(path)
    if not is_a(sums, dict[str, str]):
        raise ValueError(f"{path} holds no sums: put back what sats wrote, or remove it to go without.")
    for name, expected in sums.items():
        file = step / name
        if not file.is_file() or sha256(file) != expected:
            raise RunError(
                f"{file} is not what was written when its step was finished: put back a copy of it, or remove {step} "
                "and go on with `sats resume`, which trains the step again."
            )
