"""Learn from your own images and masks, class by class.

python examples/own_data.py --data DIR --protocol 2-1

DIR holds images/train, images/val, masks/train, masks/val (PNGs of class indices, 255 = ignore) and classes.txt.
Without --data, circles and squares are learned first, triangles later, from images that are drawn for it.
"""

from __future__ import annotations

from pathlib import Path

import shapes
import tyro

import sats

QUICK = {"train.epochs": 1, "train.batch_size": 4}


def main(
    out: Path = Path("runs/own-data"), data: Path | None = None, protocol: str = "2-1", quick: bool = False
) -> sats.Run:
    """Train on a folder; ``protocol`` A-B learns A of its classes first, then B more at a time."""
    if data is None:
        data = shapes.main(out.with_name(f"{out.name}-shapes"), images=16 if quick else 400)
    config = sats.recipe("folder", method="sats")
    config = sats.with_settings(
        config,
        {
            "data.root": data,
            "stream.protocol": protocol,
            "model.name": "segformer-tiny",  # of photos take segformer-b0, with "model.weights" to start from
            "optim.lr": 2e-3,  # for a network that starts at random
            "optim.lr_later": 2e-3,
            "train.crop": 64,  # of photos 384 and more
            **(QUICK if quick else {}),
        },
    )
    run = sats.train(config, out)
    for step in run.steps:
        print(f"step {step.index} learned {', '.join(step.learns)} from {step.images} images")
    run.show()
    return run


if __name__ == "__main__":
    tyro.cli(main)
