"""Old against new classes, a point for each variant of a sweep, mean over its class orders, with lines of equal hIoU.

    python benchmarks/real/picture.py benchmarks/real/ccp/scores docs/figures/ccp.png [VARIANT ...]

The first is what ``sats bench --scores`` keeps, or with + the names of several such folders beside each other; without
variants, those that have the most class orders are drawn. An order counts once, however many folders have it, and not
where some of the variants lack it.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#8a8f98"
MARK = 12  # pixels of a point and some room around it
PLACES = (((7, -3), "left"), ((-7, -3), "right"), ((0, 7), "center"), ((0, -13), "center"), ((9, -13), "left"))
"""Where a point's name may be, in points from it, the best first."""
OURS = {
    "sats": "#7c3aed",
    **dict.fromkeys(
        ("sats-plus", "plus-no-transfer", "plus-frozen", "plus-adjusted", "plus-frozen-adjusted"), "#d9480f"
    ),
}


def points(folders: list[Path], variants: list[str]) -> dict[str, tuple[float, float]]:
    """Old and new mIoU in percent, by variant: means over the orders that all were run on."""
    found: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(path for folder in folders for path in folder.glob("*.json")):
        cell = json.loads(path.read_text(encoding="utf-8"))
        found[cell["variant"]][str(cell["values"])].append([100 * cell["figures"][name] for name in ("old", "new")])
    most = max(map(len, found.values()))
    drawn = variants or [variant for variant, cells in found.items() if len(cells) == most]
    if missing := [name for name in drawn if name not in found]:
        raise SystemExit(f"No scores are kept of {', '.join(missing)}.")
    everywhere = sorted(set.intersection(*(set(found[variant]) for variant in drawn)))
    means = {name: np.mean([np.mean(found[name][where], axis=0) for where in everywhere], axis=0) for name in drawn}
    return {variant: (float(old), float(new)) for variant, (old, new) in means.items()}


def main(scores: str, out: Path, variants: list[str]) -> None:
    """Draw."""
    first, *others = scores.split("+")
    drawn = points([Path(first), *(Path(first).with_name(name) for name in others)], variants)
    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained", dpi=130)
    right, top = (1.18 * max(values) for values in zip(*drawn.values(), strict=True))
    old, new = np.meshgrid(np.linspace(0.01, right, 300), np.linspace(0.01, top, 300))
    lines = axes.contour(old, new, 2 * old * new / (old + new), levels=8, colors="#d5d8dd", linewidths=0.8)
    heights = axes.clabel(lines, fmt="hIoU %.0f", fontsize=7, colors=GREY)
    axes.set(xlim=(0, right), ylim=(-0.03 * top, top), xlabel="old classes, mIoU in %", ylabel="new classes, mIoU in %")
    axes.spines[["top", "right"]].set_visible(False)
    figure.draw_without_rendering()  # from here on it is known where things are
    taken = [
        Bbox.from_bounds(x - MARK / 2, y - MARK / 2, MARK, MARK) for x, y in axes.transData.transform([*drawn.values()])
    ]
    for variant, (x, y) in sorted(drawn.items(), key=lambda item: item[1], reverse=True):
        colour = OURS.get(variant, "black" if variant == "joint" else "#0b7285")
        axes.plot(x, y, "D" if variant == "joint" else "o", color=colour, markersize=6, zorder=6)
        name_point(axes, variant, (x, y), colour, taken)
    for height in heights:
        height.set_visible(not any(height.get_window_extent().overlaps(box) for box in taken))
    figure.savefig(out)


def name_point(axes: Axes, name: str, point: tuple[float, float], colour: str, taken: list[Bbox]) -> None:
    """Write ``name`` beside a point, in the first of PLACES where nothing is; it is ``taken`` then."""
    for number, (where, side) in enumerate(PLACES, start=1):
        word = axes.annotate(
            name,
            point,
            xytext=where,
            textcoords="offset points",
            ha=side,
            fontsize=8,
            color=colour,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            zorder=5,
        )
        box = word.get_window_extent()
        if number == len(PLACES) or not any(box.overlaps(other) for other in taken):
            taken.append(box)
            return
        word.remove()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
