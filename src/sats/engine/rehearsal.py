"""A rehearsal on one blank image before a step: what cannot work is refused now, what never learns is frozen."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from sats.models.modes import looking_only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sats.methods.attention_transfer import AttentionTransfer
    from sats.models.segmenter import Segmenter

SIDE = 64
"""Pixels of the blank image."""


@torch.no_grad()
def rehearse_transfer(model: Segmenter, transfer: AttentionTransfer) -> None:
    """Try the attention transfer between ``model`` and itself; ValueError if the two do not go together.

    ValueError as well if the logits do not depend on a block whose attention would be transferred.
    """
    if transfer.weight > 0:
        taps = transfer.taps(model)
        with looking_only(model):
            output = model(_blank(model), taps)
        transfer.loss(torch.ones(1, SIDE, SIDE, dtype=torch.int64, device=output.logits.device), output, output)
        if unread := _unread(model, taps):
            raise ValueError(
                f"Nothing that {type(model.network).__name__} predicts depends on the attention of {unread[0]}: choose "
                "other blocks with --method.attention-transfer.stages or .blocks."
            )


@torch.enable_grad()
def _unread(model: Segmenter, blocks: Sequence[str]) -> list[str]:
    """Those of the attention ``blocks`` that the logits have no gradient for."""
    if not blocks:
        return []
    firsts = [next(model.network.get_submodule(block).parameters()) for block in blocks]
    learned = [parameter.requires_grad for parameter in firsts]
    for parameter in firsts:
        parameter.requires_grad = True
    with looking_only(model):
        gradients = torch.autograd.grad(model(_blank(model)).logits.sum(), firsts, allow_unused=True)
    for parameter, learns in zip(firsts, learned, strict=True):
        parameter.requires_grad = learns
    return [block for block, gradient in zip(blocks, gradients, strict=True) if gradient is None]


@torch.no_grad()
def rehearse_batch(model: Segmenter, images: int) -> None:
    """ValueError if ``model`` can't train on ``images`` at a time, as its head normalises over what it pooled."""
    if images > 1:
        return
    try:
        copy.deepcopy(model).train()(_blank(model))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            f"{type(model.network).__name__} can't train on one image at a time: its head pools to a single value and "
            "normalises that over the batch. Raise --batch-size, or lower --train.accumulation or the processes."
        ) from error


def freeze_unused(model: Segmenter) -> list[str]:
    """Freeze the parameters that the logits do not depend on, such as a backbone's mask token; returns their names.

    They would get no gradient, for which data parallelism waits, and importances would count them as unimportant.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with looking_only(model), torch.enable_grad():
        logits = model(_blank(model)).logits
        gradients = torch.autograd.grad(logits.sum(), list(trained.values()), allow_unused=True)
    unused = [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]
    for name in unused:
        trained[name].requires_grad = False
    return unused


def _blank(model: Segmenter) -> Tensor:
    return torch.zeros(1, 3, SIDE, SIDE, device=next(model.parameters()).device)
