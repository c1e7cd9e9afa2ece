"""Draw the figures of docs/how-sats-works.md from a finished demo: python tools/figures.py runs/demo docs/figures"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

import sats
from sats import losses
from sats.data.scenes import ScenesSource
from sats.evaluation.attend import class_attention
from sats.evaluation.overlay import overlay
from sats.methods.pseudo_labelling import THRESHOLDS
from sats.report.flows import KINDS
from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from sats.evaluation.predict import Predictor

OLD = 5  # digits that step 0 of the demo learns
ENLARGED = 4
VIOLET = (124, 58, 237)
GREY = (150, 150, 150)
COLOURS = ("#009e73", "#56b4e9", "#e69f00", "#9a9a9a")  # one of KINDS each


def scenes_with(source: ScenesSource, old: int, new: int, count: int) -> list[int]:
    """The first scenes with at least so many old and new digits."""
    held = source.presence()
    wanted = (held[:, 1 : OLD + 1].sum(1) >= old) & (held[:, OLD + 1 :].sum(1) >= new)
    return [int(index) for index in np.flatnonzero(wanted)[:count]]


def as_classes(image: Image.Image, labels: NDArray[np.uint8]) -> Image.Image:
    """The classes' colours over the dimmed image; ignored pixels are grey."""
    dim = image.convert("L").point(lambda level: level * 2 // 5).convert("RGB")
    drawn = np.asarray(overlay(dim, np.where(labels == IGNORE, BACKGROUND, labels), strength=1)).copy()
    drawn[labels == IGNORE] = GREY
    return Image.fromarray(drawn)


def as_attention(image: Image.Image, seen: NDArray[np.float32], region: NDArray[np.bool_]) -> Image.Image:
    """Violet over the grey image, from least to most; the region that looks has a white outline."""
    least, most = seen.min(), np.quantile(seen, 0.98)
    scaled = Image.fromarray((np.clip((seen - least) / (most - least), 0, 1) * 255).astype(np.uint8))
    strength = np.asarray(scaled.resize(image.size, Image.Resampling.BICUBIC), dtype=np.float32)[..., None] / 255
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float32) * 0.6
    mixed = grey * (1 - 0.85 * strength) + np.array(VIOLET, dtype=np.float32) * 0.85 * strength
    inner = region.copy()
    for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
        inner &= np.roll(region, shift, axis)
    mixed[region & ~inner] = 255
    return Image.fromarray(mixed.astype(np.uint8))


def sheet(rows: list[list[Image.Image]], titles: list[str], captions: list[list[str]] | None = None) -> Figure:
    """Pictures in rows and columns, a title over each column, a caption below each picture."""
    height = 1.65 if captions is None else 1.85
    figure, axes = plt.subplots(
        len(rows), len(titles), figsize=(1.6 * len(titles), height * len(rows)), squeeze=False, layout="constrained"
    )
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            axis = axes[row, column]
            axis.imshow(picture.resize((ENLARGED * picture.width, ENLARGED * picture.height)))
            axis.set(xticks=[], yticks=[], frame_on=False)
            if row == 0:
                axis.set_title(titles[column], fontsize=9)
            if captions is not None:
                axis.set_xlabel(captions[row][column], fontsize=8)
    return figure


def pseudo_labels(source: ScenesSource, teacher: Predictor, thresholds: torch.Tensor) -> Figure:
    """What step 1 is given, and what becomes of it."""
    rows = []
    for index in scenes_with(source, old=2, new=1, count=3):
        image, truth = source.image(index), source.mask(index)
        given = np.where(truth > OLD, truth, BACKGROUND).astype(np.uint8)
        answers = teacher.predict(image)
        logits = torch.from_numpy(answers.probabilities).log()[None]  # their softmax is the probabilities
        learned = losses.pseudo_labels(torch.from_numpy(given.astype("int64"))[None], logits, thresholds)[0]
        maps = [truth, given, answers.labels, learned.numpy().astype(np.uint8)]
        rows.append([image, *[as_classes(image, one) for one in maps]])
    return sheet(rows, ["image", "truth", "labels in step 1", "old model", "pseudo-labels"])


def attention(source: ScenesSource, models: dict[str, Predictor]) -> Figure:
    """Where the region of an old digit looks, in the old model and in each new one."""
    rows, captions = [], []
    for index in scenes_with(source, old=2, new=2, count=3):
        image, truth = source.image(index), source.mask(index)
        digit = int(np.bincount(truth[(truth > BACKGROUND) & (truth <= OLD)]).argmax())
        maps = [class_attention(model, image, truth)[digit] for model in models.values()]
        rows.append([image, *[as_attention(image, seen, truth == digit) for seen in maps]])
        far = [float(np.linalg.norm(seen - maps[0])) for seen in maps]
        captions.append(["", "", *[f"{distance:.3f}" for distance in far[1:]]])
    return sheet(rows, ["image", *models], captions)


def shares(confusion: list[list[int]]) -> NDArray[np.float64]:
    """Test pixels of the old digits by KINDS of what they are called, in percent."""
    old = np.array(confusion)[BACKGROUND + 1 : OLD + 1]
    right, background, new = np.trace(old[:, 1:]), old[:, BACKGROUND].sum(), old[:, OLD + 1 :].sum()
    return 100 * np.array([right, old.sum() - right - background - new, new, background]) / old.sum()


def what_became(matrices: dict[str, list[list[int]]]) -> Figure:
    """Bars of 100 percent, one for each model."""
    figure, axis = plt.subplots(figsize=(8, 1.9), layout="constrained")
    parts = np.array([shares(matrix) for matrix in matrices.values()])
    starts = np.zeros(len(parts))
    for kind, values in enumerate(parts.T):
        bars = axis.barh(list(matrices), values, left=starts, color=COLOURS[kind], label=KINDS[kind], height=0.65)
        texts = [f"{value:.0f}" if value >= 4 else "" for value in values]
        axis.bar_label(bars, texts, label_type="center", fontsize=9)
        starts += values
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xlabel="% of the pixels of the old digits")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(left=False)
    axis.legend(ncols=len(KINDS), loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=9)
    return figure


def save(figure: Figure, target: Path) -> None:
    """A PNG of few colours: a third of the size."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=120)
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(256).save(target, optimize=True)


def main(demo: Path, target: Path, seed: str = "0") -> None:
    finetune, kept = demo / f"seed-{seed}-finetune", demo / f"seed-{seed}-sats"
    source = ScenesSource("val", 500)
    steps = {"before step 1": finetune / "step-0", "fine-tuning": finetune / "step-1", "SATS": kept / "step-1"}
    models = {name: sats.load(step) for name, step in steps.items()}
    thresholds = load_file(kept / "step-1" / "state.safetensors")[THRESHOLDS]
    matrices = {name: json.loads((step / "confusion.json").read_text())["matrix"] for name, step in steps.items()}
    target.mkdir(parents=True, exist_ok=True)
    save(pseudo_labels(source, models["before step 1"], thresholds), target / "pseudo-labels.png")
    save(attention(source, models), target / "attention.png")
    save(what_became(matrices), target / "what-became.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
