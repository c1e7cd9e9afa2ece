"""On a GPU no loss asks what was computed: it would stand still until it is told more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sats.engine.recollection import keep_features
from sats.losses import portions
from sats.methods import METHODS, Method
from sats.methods.attention_transfer import AttentionTransfer
from sats.methods.base import all_losses
from steps import STEP_0, STEP_1, batch, outputs, step1

ASKING = ("_local_scalar_dense", "nonzero", "_unique2", "masked_select", "bincount", "equal")


class NothingIsAsked(TorchDispatchMode):
    """Refuses operations that a GPU would be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        picks = name in ("index", "index_put", "index_put_") and any(
            each is not None and each.dtype == torch.bool for each in args[1]
        )
        assert name not in ASKING, name
        assert not picks, name
        return func(*args, **(kwargs or {}))


def transferring(name: str, **settings: Any) -> Method:
    return METHODS[name](attention_transfer=AttentionTransfer(weight=20.0, **settings))


CASES = {
    "finetune": METHODS["finetune"](),
    "mib": METHODS["mib"](),
    "plop": METHODS["plop"](),
    "lwf": METHODS["lwf"](),
    "ilt": METHODS["ilt"](),
    "ssul": METHODS["ssul"](),
    "mib, transfer": transferring("mib"),
    **{
        f"sats, {pooling}": transferring("sats", pooling=pooling)
        for pooling in ("class", "global", "none", "class-pair")
    },
    "sats, features": transferring("sats", of="features"),
    "sats-plus": METHODS["sats-plus"](),
}


def terms_and_gradients(method: Method, quiet: bool) -> list[Tensor]:
    """The terms of a batch of step 1, and the gradients of their sum."""
    where = step1(method)
    if method.feature_replay.weight:
        with torch.no_grad():
            for step in (STEP_0, STEP_1):
                keep_features(method.feature_replay, where, [batch(step, 1)], step)
    data = batch(STEP_1)
    new, old = outputs(method, where, data)
    learned = [parameter for parameter in where.model.parameters() if parameter.requires_grad]
    with NothingIsAsked() if quiet else torch.enable_grad():
        terms = all_losses(method, where, data, new, old)
        gradients = torch.autograd.grad(torch.stack(list(terms.values())).sum(), learned, allow_unused=True)
    return [*terms.values(), *(each for each in gradients if each is not None)]


@pytest.mark.parametrize("method", CASES.values(), ids=CASES)
def test_a_gpu_is_asked_nothing_and_finds_the_same(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = terms_and_gradients(method, quiet=False)
    monkeypatch.setitem(portions.WAYS, "cpu", portions.GPU)
    for found, expected in zip(terms_and_gradients(method, quiet=True), asked, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_asks_is_seen() -> None:
    for ask in (lambda: torch.ones(2).sum().item(), lambda: torch.ones(2)[torch.ones(2) > 0], torch.ones(2).unique):
        with NothingIsAsked(), pytest.raises(AssertionError):
            ask()
