"""How the rows of new classes start where that takes a look at the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sats.engine import processes
from sats.engine.pretune import pretune
from sats.engine.run import OnePass
from sats.losses.regions import class_members, resize_labels
from sats.methods.base import pretunes

if TYPE_CHECKING:
    from sats.data.loader import TrainLoader
    from sats.engine.run import Run
    from sats.models.segmenter import Segmenter
    from sats.types import Step


def start_new_rows(run: Run, model: Segmenter, step: Step, loader: TrainLoader) -> None:
    """Make the new rows of the grown ``model`` where the method's init asks for more than the old rows tell."""
    if pretunes(run.method, step):
        pretune(run, model, step, loader)
    elif step.index > 0 and step.num_new > 0 and run.method.init == "teacher":
        model.classifier.mix_old(teacher_shares(run, model, step, loader))


@torch.no_grad()
def teacher_shares(run: Run, model: Segmenter, step: Step, loader: TrainLoader) -> torch.Tensor:
    """What the old classes of ``model`` see in the pixels of each new one: mean probabilities [new, old].

    One pass over the step's images, at the head's resolution. A class without a pixel there has zeros.
    """
    classes = torch.arange(step.new.start, step.new.stop, device=next(model.parameters()).device)
    sums = torch.zeros(len(classes), step.num_old, device=classes.device)
    counts = torch.zeros(len(classes), 1, device=classes.device)
    model.eval()
    for batch in OnePass(run, loader, f"step {step.index}, looking at the new classes"):
        logits = model(batch.images).logits[:, : step.num_old].float()
        members = class_members(resize_labels(batch.labels, (logits.shape[2], logits.shape[3])), classes).float()
        sums += torch.einsum("bnp,bkp->nk", members, logits.softmax(dim=1).flatten(2))
        counts += members.sum(dim=(0, 2))[:, None]
    model.train()
    return processes.total(sums) / processes.total(counts).clamp(min=1)
