"""A small data folder that the other examples draw where you bring none: circles, squares and triangles on noise.

python examples/shapes.py --out data/shapes
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw

CLASSES = ("background", "circle", "square", "triangle")
SIDE = 64


def main(out: Path = Path("data/shapes"), images: int = 200, classes: tuple[str, ...] = CLASSES) -> Path:
    """Draw ``images`` training images, a quarter as many test images, their masks and classes.txt; returns ``out``.

    Only shapes among ``classes`` are labelled; all are drawn.
    """
    for split, count in (("train", images), ("val", max(1, images // 4))):
        for kind in ("images", "masks"):
            (out / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, mask = draw(np.random.default_rng([number, split == "val"]), classes)
            image.save(out / "images" / split / f"{number:04}.png")
            mask.save(out / "masks" / split / f"{number:04}.png")
    (out / "classes.txt").write_text("\n".join(classes) + "\n")
    return out


def draw(rng: np.random.Generator, classes: tuple[str, ...]) -> tuple[Image.Image, Image.Image]:
    """An image with two shapes and its mask of class indices."""
    image = Image.fromarray(rng.integers(60, 120, (SIDE, SIDE, 3), dtype=np.uint8))
    mask = Image.new("L", (SIDE, SIDE), 0)
    for shape in rng.permutation(CLASSES[1:])[:2]:
        left, top = rng.integers(0, SIDE - 24, 2).tolist()
        index = classes.index(shape) if shape in classes else 0
        put(image, shape, left, top, fill=tuple(rng.integers(140, 256, 3).tolist()))
        put(mask, shape, left, top, fill=index)
    return image, mask


def put(picture: Image.Image, shape: str, left: int, top: int, fill: tuple[int, ...] | int) -> None:
    """Draw a shape of 22 pixels into a picture."""
    pen, right, bottom = ImageDraw.Draw(picture), left + 22, top + 22
    if shape == "circle":
        pen.ellipse((left, top, right, bottom), fill)
    elif shape == "square":
        pen.rectangle((left, top, right, bottom), fill)
    else:
        pen.polygon([(left, bottom), (right, bottom), (left + 11, top)], fill)


if __name__ == "__main__":
    print(tyro.cli(main))
