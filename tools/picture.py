"""Draw the README's picture from a finished demo: python tools/picture.py runs/demo docs/scenes.png [seed]"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import sats
from sats.data.scenes import ScenesSource
from sats.evaluation.overlay import overlay

ROWS = ("image", "truth", "after step 0", "fine-tuning", "SATS")
SHOWN = 7
ENLARGED = 4


def chosen_scenes(source: ScenesSource) -> list[int]:
    """The first test scenes that hold both old and new digits, at least three of them."""
    presence = source.presence()
    both = presence[:, 1:6].any(1) & presence[:, 6:].any(1) & (presence[:, 1:].sum(1) >= 3)
    return [int(index) for index in np.flatnonzero(both)[:SHOWN]]


def dimmed(image: Image.Image) -> Image.Image:
    """The same in dark grey, so that what a model does not see is not taken for a class."""
    return image.convert("L").point(lambda level: level * 2 // 5).convert("RGB")


def main(demo: Path, target: Path, seed: str = "0") -> None:
    finetune, kept = demo / f"seed-{seed}-finetune", demo / f"seed-{seed}-sats"
    models = [sats.load(folder) for folder in (finetune / "step-0", finetune / "step-1", kept / "step-1")]
    source = ScenesSource("val", 500)
    chosen = chosen_scenes(source)
    figure, axes = plt.subplots(len(ROWS), len(chosen), figsize=(1.1 * len(chosen) + 0.9, 1.1 * len(ROWS)))
    for column, index in enumerate(chosen):
        image = source.image(index)
        maps = [None, source.mask(index), *[model.predict(image).labels for model in models]]
        for row, labels in enumerate(maps):
            picture = image if labels is None else overlay(dimmed(image), labels, strength=1)
            large = picture.resize((ENLARGED * picture.width, ENLARGED * picture.height))
            axes[row, column].imshow(large)
            axes[row, column].set(xticks=[], yticks=[])
            axes[row, column].set_frame_on(False)
    for row, name in enumerate(ROWS):
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.subplots_adjust(left=0.13, right=1, top=1, bottom=0, wspace=0.04, hspace=0.04)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110)
    Image.open(drawn).convert("RGB").quantize(256).save(target, optimize=True)  # a third of the size


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
