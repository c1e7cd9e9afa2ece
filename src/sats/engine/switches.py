"""How a step is computed, whatever its method: memory layout, checkpointing, compilation."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sats.config import TrainConfig
    from sats.models.segmenter import Segmenter

BACKEND = "inductor"
"""What torch.compile compiles with."""


def check_compiler() -> None:
    """ValueError if nothing can be compiled here."""
    try:
        torch.compile(lambda values: values + 1, backend=BACKEND)(torch.zeros(2))
    except Exception as error:
        reason = " ".join(str(error).split("\n")[:2])  # who raised it, and what
        raise ValueError(
            f"torch.compile does not work here ({reason}): it needs a C++ compiler. Install one, or leave out "
            "--train.compile."
        ) from error


def arrange(network: Segmenter, settings: TrainConfig) -> None:
    """Lay out and prepare a ``network`` that will learn as ``settings`` ask; ValueError if it cannot be."""
    if settings.channels_last:
        lay_out(network)
    if settings.checkpointing:
        checkpoint_layers(network)


def lay_out(network: Segmenter) -> None:
    """Store the weights of convolutions with the channels last; their shapes stay."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def checkpoint_layers(network: Segmenter) -> None:
    """Let each layer of the encoder be computed again in backward, not kept; ValueError if transformers cannot.

    What is drawn at random is drawn again as it was. Taps see the first run alone, as recordings end with a forward.
    """
    encoder = network.encoder
    if not any(isinstance(module, GradientCheckpointingLayer) for module in encoder.modules()):
        raise ValueError(
            f"transformers cannot compute the layers of a {type(encoder).__name__} again: leave out "
            "--train.checkpointing; to save memory, share a batch with --train.accumulation."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its new name is not in every version that we take
        encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


@contextmanager
def compiled(*networks: Segmenter | None) -> Iterator[None]:
    """Within this context the parts of ``networks`` run compiled, under the same names and with the same hooks.

    Their forward is covered for the time being: a copy of a network made meanwhile would run the original's.
    """
    parts = [part for network in networks if network is not None for part in compilable(network)]
    for part in parts:
        vars(part)["forward"] = torch.compile(part.forward, backend=BACKEND, dynamic=False)
    try:
        # parts of one class share their code, and torch keeps but a few versions of it
        with torch._dynamo.config.patch(recompile_limit=VERSIONS * len(parts)):  # noqa: SLF001 (documented as it is)
            yield
    finally:
        for part in parts:
            del vars(part)["forward"]


VERSIONS = 4
"""Compiled versions of a part: with and without gradient, for micro-batches and for single images to be cached."""


def compilable(network: Segmenter) -> list[nn.Module]:
    """The parts of ``network`` that can be compiled whole.

    Layers of the encoder, and the largest modules that hold neither the encoder, nor layers, nor the classifier, as
    hooks of each forward look at these. Single operations are left out.
    """
    barred = {network.encoder, network.classifier}
    return [part for child in network.network.children() for part in _parts(child, barred)]


def _parts(module: nn.Module, barred: set[nn.Module]) -> Iterator[nn.Module]:
    within = set(module.modules())
    has_layers = any(isinstance(part, GradientCheckpointingLayer) for part in within)
    whole = isinstance(module, GradientCheckpointingLayer) or not (has_layers or within & barred)
    if not whole or isinstance(module, (nn.ModuleList, nn.ModuleDict)):  # those two have no forward
        for child in module.children():
            yield from _parts(child, barred)
    elif next(module.children(), None) is not None:
        yield module
