"""Time of the attention transfer, forward and backward, over that of a straightforward one with whole maps.

    python benchmarks/attention_time.py [--rounds 7] [--json FILE]

Queries and keys of the four blocks that are tapped, random, of student and teacher; labels are blocks of five classes
and of background. The straightforward version softmaxes the maps of all queries and keeps them for backward, pools
rows by every class of the batch and compares; values and gradients are the same to rounding. CPU time of one thread,
medians, the two in turn; ``share`` is that of the tokens in regions.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor
from torch.nn import functional

from sats import losses
from sats.losses.regions import class_regions, resize_labels
from sats.types import AttentionTap

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = 384, 64
"""A DINOv2-small's width, and that of a head."""
SEGFORMER = ((64, 1), (32, 2), (16, 5), (8, 8))
"""Side of the grid and heads of each stage of a SegFormer-B0 at 256 pixels; all have 8 x 8 keys and heads of 32."""
CASES = {
    "segformer-b0, 256": ("segformer", 8, 4),
    "dinov2-small, 252": ("plain", 18, 4),
    "dinov2-small, 518": ("plain", 37, 2),
}
"""Kind, side of the keys' grid, batch."""
SHARES = (0.25, 0.5, 1.0)


def taps(kind: str, side: int, batch: int, learns: bool) -> list[AttentionTap]:
    """Random taps of four blocks."""
    width, head = PLAIN
    shapes = SEGFORMER if kind == "segformer" else ((side, width // head),) * 4
    size, prefix = (32, 0) if kind == "segformer" else (head, 1)
    found = []
    for grid, heads in shapes:
        query = torch.randn(batch, heads, grid * grid, size, requires_grad=learns)
        key = torch.randn(batch, heads, side * side + prefix, size, requires_grad=learns)
        found.append(AttentionTap(query, key, size**-0.5, None, (grid, grid), (side, side), prefix))
    return found


def labelled(side: int, batch: int, share: float) -> Tensor:
    """Labels [batch, 8 side, 8 side] in 4 x 4 blocks of which about a ``share`` is of some class."""
    blocks = torch.randint(1, 6, (batch, 4, 4)).where(torch.rand(batch, 4, 4) < share, 0)
    return functional.interpolate(blocks[:, None].float(), size=(8 * side, 8 * side))[:, 0].long()


def straightforward(new: list[AttentionTap], old: list[AttentionTap], labels: Tensor) -> Tensor:
    """The same transfer with whole maps."""
    distances = []
    for student, teacher in zip(new, old, strict=True):
        weights, present = class_regions(resize_labels(labels, student.grid))
        with torch.no_grad():
            expected = weights[:, None] @ teacher.rows()
        distance = torch.linalg.vector_norm(weights[:, None] @ student.rows() - expected, dim=3).mean(dim=1)
        distances.append(((distance * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)).mean())
    return torch.stack(distances).mean()


def seconds(
    transfer: Callable[..., Tensor], new: list[AttentionTap], old: list[AttentionTap], labels: Tensor
) -> tuple[float, float]:
    """CPU seconds of forward and backward, and the value."""
    begun = time.process_time()
    value = transfer(new, old, labels)
    value.backward()
    return time.process_time() - begun, value.item()


def measure(name: str, share: float, rounds: int) -> dict[str, object]:
    """One case."""
    torch.manual_seed(0)
    kind, side, batch = CASES[name]
    new, old = taps(kind, side, batch, learns=True), taps(kind, side, batch, learns=False)
    labels = labelled(side, batch, share)
    ours, theirs = [], []
    for _ in range(rounds + 1):  # the first warms up
        ours.append(seconds(losses.attention_transfer, new, old, labels))
        theirs.append(seconds(straightforward, new, old, labels))
    assert abs(ours[0][1] - theirs[0][1]) < 1e-5, "the two do not compute the same"
    own, plain = (statistics.median(time for time, _ in times[1:]) for times in (ours, theirs))
    return {
        "case": name,
        "share": round(float((labels > 0).float().mean()), 2),
        "seconds": round(own, 4),
        "straightforward": round(plain, 4),
        "ratio": round(own / plain, 2),
    }


def main() -> None:
    """Measure all cases and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(name, share, arguments.rounds) for name in CASES for share in SHARES]
    print("| model, side | share of tokens in regions | seconds | straightforward | ratio |\n|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    if arguments.json:
        arguments.json.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


if __name__ == "__main__":
    main()
