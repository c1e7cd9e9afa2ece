"""How many operations SATS's losses launch, and how often they ask what came out: as on a processor, and on a GPU.

    python benchmarks/loss_operations.py [--side 512] [--batch 24] [--classes 21] [--json]

A GPU that waits for the next operation, or that is asked, does nothing. What is counted, on the CPU, is what reaches
torch's dispatcher, views and new memory aside, forward and backward, of cross-entropy and unbiased distillation (logits
of a quarter of the side) and of the attention transfer of SegFormer-B2's last blocks. 512 pixels take a minute, and 6
GiB.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sats import losses
from sats.losses import portions
from sats.types import AttentionTap

if TYPE_CHECKING:
    from collections.abc import Callable

OLD = {21: 16, 151: 101}
STAGES = ((1, 4), (2, 8), (5, 16), (8, 32))
"""Heads and stride of the queries of each stage; keys have a stride of 32, heads 64 channels."""
STRIDE, CHANNELS = 32, 64
QUESTIONS = ("_local_scalar_dense", "nonzero", "_unique2", "masked_select", "bincount", "equal")


def taps(side: int, batch: int) -> list[AttentionTap]:
    """What the last block of each stage receives."""
    keys = side // STRIDE
    return [
        AttentionTap(
            torch.randn(batch, heads, (side // stride) ** 2, CHANNELS, requires_grad=True),
            torch.randn(batch, heads, keys**2, CHANNELS, requires_grad=True),
            CHANNELS**-0.5,
            None,
            (side // stride, side // stride),
            (keys, keys),
        )
        for heads, stride in STAGES
    ]


class Counter(TorchDispatchMode):
    """Counts what is called within it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.questions = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count ``func``, and call it."""
        name = func.overloadpacket.__name__
        returned = [value.alias_info for value in func._schema.returns]  # noqa: SLF001 (no public way to know a view)
        is_view = any(alias is not None and not alias.is_write for alias in returned)
        self.operations += not is_view and not name.startswith(("empty", "new_empty"))
        self.questions += name in QUESTIONS
        return func(*args, **(kwargs or {}))


def counted(function: Callable[[], torch.Tensor]) -> dict[str, int]:
    """Operations and questions of ``function`` and its gradient."""
    function().backward()  # what is made once is there
    with Counter() as counter:
        function().backward()
    return {"operations": counter.operations, "questions": counter.questions}


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--classes", type=int, choices=tuple(OLD), default=21)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    side, classes, batch = arguments.side, arguments.classes, arguments.batch
    logits = torch.randn(batch, classes, side // 4, side // 4, requires_grad=True)
    old_logits = torch.randn(batch, OLD[classes], side // 4, side // 4)
    labels = torch.randint(classes, (batch, 4, 4)).repeat_interleave(side // 4, 1).repeat_interleave(side // 4, 2)
    new, old = taps(side, batch), taps(side, batch)

    def pixels() -> torch.Tensor:
        learned = losses.cross_entropy(logits, labels).mean()
        return learned + losses.unbiased_distillation(logits, old_logits, size=(side, side))

    def transfer() -> torch.Tensor:
        return losses.attention_transfer(new, old, labels, num_classes=classes)

    found: dict[str, object] = {"side": side, "batch": batch, "classes": classes}
    for name, way in {"processor": portions.PROCESSOR, "GPU": portions.GPU}.items():
        portions.WAYS["cpu"] = way
        found[f"pixels, {name}"], found[f"attention, {name}"] = counted(pixels), counted(transfer)
    print(json.dumps(found) if arguments.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
