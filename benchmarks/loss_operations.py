"""How many operations SATS's losses launch, and how often they ask what came out: as on a processor, and on a GPU.

    python benchmarks/loss_operations.py [--side 512] [--batch 24] [--classes 21] [--json]

A GPU that waits for the next operation, or that is asked, does nothing. What is counted, by torch's profiler and on the
CPU, are the operations of the innermost level, forward and backward, of cross-entropy and unbiased distillation (logits
of a quarter of the side) and of the attention transfer of SegFormer-B2's last blocks. 512 pixels take a minute, and 6
GiB.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import torch

from sats import losses
from sats.losses import portions
from sats.types import AttentionTap

if TYPE_CHECKING:
    from collections.abc import Callable

OLD = {21: 16, 151: 101}
STAGES = ((1, 4), (2, 8), (5, 16), (8, 32))
"""Heads and stride of the queries of each stage; keys have a stride of 32, heads 64 channels."""
STRIDE, CHANNELS = 32, 64
QUESTIONS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::_unique2")


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


def counted(function: Callable[[], torch.Tensor]) -> dict[str, int]:
    """Operations that call no other, of ``function`` and its gradient, and how many of them ask."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        function().backward()
    events = [event for event in profile.events() or () if event.name.startswith("aten::")]
    inner = [event for event in events if not any(child.name.startswith("aten::") for child in event.cpu_children)]
    return {"operations": len(inner), "questions": sum(event.name in QUESTIONS for event in events)}


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
    for way in ("on a processor", "on a GPU"):
        found[f"pixels, {way}"], found[f"attention, {way}"] = counted(pixels), counted(transfer)
        portions.LOGITS["cpu"], portions.ROWS["cpu"] = portions.LOGITS_ELSEWHERE, portions.ROWS_ELSEWHERE
        portions.ASKED.clear()
    print(json.dumps(found) if arguments.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
