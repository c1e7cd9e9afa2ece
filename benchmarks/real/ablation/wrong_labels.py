"""What SATS loses when its old model is wrong: regions, or pseudo-labels, of a class that is not there.

    python benchmarks/real/ablation/wrong_labels.py runs/ablation/sats --out DIR [--where labels] [--share 0.1 0.3 1]

Goes on from the step 0 of the finished run with its settings. In each image the old model's answer for a class is
replaced as a whole, with probability ``share``, by another class that it knows: in the regions by which attention is
pooled alone, or in all that is learned from pseudo-labels. Scores go to DIR/scores, a small file each.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import sats
from sats.methods import Sats
from sats.types import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput


@dataclass(frozen=True, kw_only=True)
class WrongLabels(Sats, name="wrong-labels"):
    """SATS with an old model that takes whole classes for others."""

    share: float = 0.0
    """How often an image's class is taken for another."""
    where: Literal["regions", "labels"] = "regions"
    """Where that counts: in the transfer's regions alone, or in every pseudo-label."""

    def targets(self, context: Context, batch: Batch, teacher: SegOutput | None) -> Tensor:
        """Pseudo-labels, wrong ones where that is asked for."""
        targets = super().targets(context, batch, teacher)
        if teacher is None or self.where == "regions":
            return targets
        return self._mistaken(context, batch, targets)

    def regions(self, context: Context, batch: Batch, targets: Tensor, teacher: SegOutput) -> Tensor:  # noqa: ARG002 (the base's)
        """The targets, made wrong if they are not already."""
        return targets if self.where == "labels" else self._mistaken(context, batch, targets)

    def _mistaken(self, context: Context, batch: Batch, targets: Tensor) -> Tensor:
        """``targets`` [B, H, W], with classes of which labels know nothing taken for others, image by image."""
        old, images = context.step.num_old, len(targets)
        table = torch.arange(IGNORE + 1).repeat(images, 1)  # drawn on the CPU, whatever trains
        shifts = torch.randint(1, old, (images, old))
        wrong = torch.rand(images, old) < self.share
        table[:, :old] = torch.where(wrong, (table[:, :old] + shifts) % old, table[:, :old])
        answers = table.to(targets.device).gather(1, targets.flatten(1)).view_as(targets)
        return torch.where(batch.labels == BACKGROUND, answers, targets)


def main() -> None:
    """Train a run for each share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--where", nargs="+", choices=("regions", "labels"), default=("regions", "labels"))
    parser.add_argument("--share", nargs="+", type=float, default=(0.1, 0.3, 1.0))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = sats.read_run(arguments.run).config
    for where in arguments.where:
        for share in arguments.share:
            name = f"wrong-{where}-{share:g}"
            kept = arguments.out / "scores" / f"{name}.json"
            if kept.exists():
                continue
            own = {field.name: getattr(config.method, field.name) for field in dataclasses.fields(config.method)}
            method = WrongLabels(**own, share=share, where=where)
            changed = dataclasses.replace(config, method=method, start_from=str(arguments.run.resolve() / "step-0"))
            run = sats.train(changed, arguments.out / name)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(run.scores[-1].to_json())


if __name__ == "__main__":
    main()
