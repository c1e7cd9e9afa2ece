"""Add classes to a model that somebody else trained, and see what it keeps.

python examples/extend_a_checkpoint.py --model nvidia/segformer-b0-finetuned-ade-512-512 --data DIR

MODEL is any SegFormer, UperNet, BEiT or DPT that transformers saved, or its name on the hub; in DIR only the new
classes are labelled. Without them a model of circles and squares is trained first, and triangles are added to it.
"""

from __future__ import annotations

from pathlib import Path

import own_data
import shapes
import tyro
from transformers import AutoModelForSemanticSegmentation

import sats

QUICK = {"train.epochs": 1, "train.batch_size": 4}


def main(out: Path = Path("runs/extended"), model: str = "", data: Path | None = None, quick: bool = False) -> sats.Run:
    """Extend ``model`` by the classes of ``data``; ``out`` becomes a model folder of Hugging Face's."""
    settings = dict(QUICK) if quick else {}
    if data is None:
        labelled = ("background", "triangle")
        data = shapes.main(out.with_name(f"{out.name}-triangles"), images=16 if quick else 400, classes=labelled)
        settings |= {"train.crop": 64, "optim.lr_later": 2e-3}
    if not model:
        model = str(somebodys_model(out, quick))

    config = sats.extension(model, data, method="sats")
    run = sats.extend(sats.with_settings(config, settings), out)

    before, after = run.scores
    for name in before.classes:
        if before.iou[name] is not None:
            print(f"{name}: {before.iou[name]:.3f} before, {after.iou[name]:.3f} after")
    extended = AutoModelForSemanticSegmentation.from_pretrained(out)  # needs no sats
    print("it knows", ", ".join(extended.config.id2label.values()))
    return run


def somebodys_model(out: Path, quick: bool) -> Path:
    """A model of circles and squares, in Hugging Face's layout."""
    folder = out.with_name(f"{out.name}-before")
    run = own_data.main(folder, quick=quick)
    return run.path / "step-0" / "model"


if __name__ == "__main__":
    tyro.cli(main)
