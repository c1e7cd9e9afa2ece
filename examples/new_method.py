"""A continual-learning method of your own, in one file: what it learns from is five lines, the rest the engine does.

python examples/new_method.py

Importing this file is enough for sats.recipe to know the method; CONTRIBUTING.md shows how one becomes a part of
sats, with its flags on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import tyro

import sats
from sats import losses
from sats.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from sats.methods.context import Context
    from sats.types import Batch, SegOutput

QUICK = {"data.images": 24, "train.epochs": 1, "train.epochs_later": 1}


@dataclass(frozen=True, kw_only=True)
class FeatureDrift(Method, name="feature-drift"):
    """Cross-entropy on the old model's pseudo-labels, and every stage's features held near the old ones."""

    uses_teacher: ClassVar[bool] = True
    uses_pseudo_labels: ClassVar[bool] = True

    drift: float = 10.0
    """Weight of the squared distance to the old features."""

    def losses(
        self, context: Context, batch: Batch, targets: Tensor, student: SegOutput, teacher: SegOutput | None
    ) -> dict[str, Tensor]:
        """The terms of the loss by name; there is no teacher at step 0."""
        terms = {"cross_entropy": losses.cross_entropy(student.logits, targets).mean()}
        if teacher is not None:
            pairs = zip(student.features, teacher.features, strict=True)
            terms["drift"] = self.drift * sum((new - old).square().mean() for new, old in pairs)
        return terms


def main(out: Path = Path("runs/new-method"), quick: bool = False) -> dict[str, sats.Run]:
    """Train it beside fine-tuning, from the same step 0."""
    quickly = QUICK if quick else {}
    finetune = sats.train(sats.with_settings(sats.recipe("scenes", "finetune"), quickly), out / "finetune")
    config = sats.with_settings(sats.recipe("scenes", "feature-drift"), {"method.drift": 20.0, **quickly})
    config = sats.with_settings(config, {"start_from": finetune.path / "step-0"})
    runs = {"finetune": finetune, "feature-drift": sats.train(config, out / "feature-drift")}
    for name, run in runs.items():
        print(f"{name}: old {run.scores[-1].miou['old']:.3f}, new {run.scores[-1].miou['new']:.3f}")
    return runs


if __name__ == "__main__":
    tyro.cli(main)
