"""An ablation: the attention transfer off, of whole images, of class regions; all from one trained step 0.

python examples/ablation.py --seeds 0 1 2

`sats bench` does this for larger sweeps, several at a time, with a table and a report: docs/bench.md.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import tyro

import sats

QUICK = {"data.images": 24, "train.epochs": 1, "train.epochs_later": 1}
VARIANTS = {
    "no transfer": {"method.attention_transfer.weight": 0.0},
    "whole images": {"method.attention_transfer.pooling": "global"},
    "class regions": {},
}


def main(
    out: Path = Path("runs/ablation"), seeds: tuple[int, ...] = (0, 1), quick: bool = False
) -> dict[str, list[sats.Scores]]:
    """Train every variant with every seed and print what it keeps and learns."""
    found = {name: [] for name in VARIANTS}
    for seed in seeds:
        first = ""  # the first variant trains step 0, the others take it over
        for name, variant in VARIANTS.items():
            settings = {"seed": seed, "start_from": first, **variant, **(QUICK if quick else {})}
            config = sats.with_settings(sats.recipe("scenes", "sats"), settings)
            run = sats.train(config, out / f"{name.replace(' ', '-')}-seed{seed}")
            first = first or run.path / "step-0"
            found[name].append(run.scores[-1])
    for name, scores in found.items():
        old, new = (statistics.mean(one.miou[group] for one in scores) for group in ("old", "new"))
        print(f"{name:15} old {100 * old:5.1f}   new {100 * new:5.1f}   mean of {len(scores)} seeds, mIoU in %")
    return found


if __name__ == "__main__":
    tyro.cli(main)
