"""Taps on attention blocks: what a block's attention function received, kept while a forward runs."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor, nn

IMPLEMENTATION = "sats_tapped_sdpa"


@dataclass(frozen=True)
class Received:
    """What a block's attention function was called with; shapes as in `sats.types.AttentionTap`."""

    query: Tensor
    key: Tensor
    scaling: float
    mask: Tensor | None


Recording = dict["nn.Module", Received | None]
_recording: ContextVar[Recording | None] = ContextVar("attention_recording", default=None)


@contextmanager
def record(blocks: Iterable[nn.Module]) -> Iterator[Recording]:
    """Within this context, keep what each of the attention ``blocks`` receives; None where one is not reached.

    Blocks are known by identity, because some families do not hand a forward's keyword arguments down.
    """
    recording: Recording = dict.fromkeys(blocks)
    token = _recording.set(recording)
    try:
        yield recording
    finally:
        _recording.reset(token)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # a compiler would not see which recording is on
def tapped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Fast attention that keeps its inputs where a recording asks for them.

    Arguments and result as transformers' attention functions have them: query [B, heads, Q, d], key and value
    [B, heads, K, d].
    """
    recording = _recording.get()
    if recording is not None and module in recording:
        factor = query.shape[-1] ** -0.5 if scaling is None else scaling
        recording[module] = Received(query, key, factor, attention_mask)
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return output, None


def register() -> None:
    """Make transformers know `tapped_attention` as IMPLEMENTATION; may be called again."""
    AttentionInterface.register(IMPLEMENTATION, tapped_attention)
