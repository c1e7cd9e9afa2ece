"""What the feature replay keeps of a finished step's classes, gathered while their images are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from sats import losses
from sats.data.extension import Extension
from sats.engine.run import OnePass, make_loader
from sats.models.modes import looking_only

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sats.engine.run import Run
    from sats.methods.context import Context
    from sats.methods.feature_replay import FeatureReplay
    from sats.types import Batch, Step


def gather(run: Run, context: Context, step: Step) -> None:
    """Let the model see the images of ``step`` once more, where the method replays features."""
    replay = run.method.feature_replay
    if replay.weight == 0 or step.num_new == 0:
        return
    passed = OnePass(run, make_loader(run, step), f"step {step.index}, keeping features")
    with run.accelerator.autocast():
        keep_features(replay, context, passed, step)


@torch.no_grad()
def keep_features(replay: FeatureReplay, context: Context, loader: Iterable[Batch], step: Step) -> None:
    """Keep in ``context.state`` what the model, in eval mode, makes of the classes of ``step`` in its images."""
    model = context.model
    rows = model.classifier.weights[0]
    classes = torch.arange(step.first_new, step.num_seen, device=rows.device)
    device = torch.device("cpu") if rows.device.type == "mps" else rows.device  # as `class_moments`
    moments = torch.zeros(len(classes), 1 + 2 * rows.shape[1], device=device, dtype=torch.float64)
    with looking_only(model), model.other_classifier(nn.Identity()):
        for batch in loader:
            features = model(batch.images).logits
            labels = losses.resize_labels(batch.labels, (features.shape[2], features.shape[3]))
            moments += losses.class_moments(features, labels, classes)
    replay.keep(context.state, step, context.sum_over_processes(moments), rows.device)


def prepare(run: Run, context: Context) -> None:
    """Before a step: gather what the replay needs that was not gathered yet.

    That is the classes of the step before, where it was taken over from another run, and this step's own, as the old
    network sees them, where there are old ones to tell them from. Where the earlier images are gone (an extension, or a
    whole run taken over), earlier classes are not replayed.
    """
    step, replay = context.step, run.method.feature_replay
    if replay.weight == 0 or step.index == 0:
        return
    before = run.stream.steps[step.index - 1]
    if not replay.knows(context.state, before):
        if isinstance(run.stream, Extension) or "taken_over" in run.folder.steps()[before.index]:
            run.log.say("No features of the classes that were learned before are known: these are not replayed.")
        else:
            gather(run, context, before)
    if replay.takes_part(context.state, step):
        gather(run, context, step)
