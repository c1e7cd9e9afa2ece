"""Peak memory of SATS's losses on logits, a piece at a time as sats computes them or straightforwardly.

    python benchmarks/loss_memory.py [--classes 151] [--old 101] [--size 512] [--batch 4] [--json FILE]

Logits of student and teacher at a quarter of the resolution are given; pseudo-labels, cross-entropy and unbiased
distillation at full resolution, and their gradient in the student's logits, are computed. "straightforward" writes the
equations down in torch. Each runs in a process of its own; the figure is its peak resident size over what it had
before, in MiB. Values and gradients are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil
import torch
from torch import Tensor
from torch.nn import functional

from sats import losses
from sats.types import BACKGROUND, IGNORE

VARIANTS = ("straightforward", "sats")


def straightforward(logits: Tensor, old: Tensor, labels: Tensor, thresholds: Tensor) -> Tensor:
    """Cross-entropy on pseudo-labels and 20 times the unbiased distillation, as they are written in the papers."""
    logits, old = (
        functional.interpolate(part, size=labels.shape[1:], mode="bilinear", align_corners=False)
        for part in (logits, old)
    )
    with torch.no_grad():
        probabilities = old.softmax(dim=1)
        classes = probabilities.argmax(dim=1)
        sure = losses.entropy(probabilities) < thresholds[classes]
        targets = torch.where(labels == BACKGROUND, torch.where(sure, classes, IGNORE), labels)
    learned = functional.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none").mean()
    num_old = old.shape[1]
    everything = logits.logsumexp(dim=1, keepdim=True)
    background = torch.cat([logits[:, :1], logits[:, num_old:]], dim=1).logsumexp(dim=1, keepdim=True) - everything
    log_probabilities = torch.cat([background, logits[:, 1:num_old] - everything], dim=1)
    distilled = -(old.softmax(dim=1) * log_probabilities).mean(dim=1).mean()
    return learned + 20 * distilled


def in_pieces(logits: Tensor, old: Tensor, labels: Tensor, thresholds: Tensor) -> Tensor:
    """The same by the losses of sats."""
    size = labels.shape[1], labels.shape[2]
    with torch.no_grad():
        targets = losses.pseudo_labels(labels, old, thresholds, size)
    return losses.cross_entropy(logits, targets).mean() + 20 * losses.unbiased_distillation(logits, old, size=size)


def run(variant: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Peak MiB, CPU seconds, the loss and the norm of the gradient."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size, side = (arguments.size, arguments.size), arguments.size // 4
    logits = (3 * torch.randn(arguments.batch, arguments.classes, side, side)).requires_grad_()
    old = 3 * torch.randn(arguments.batch, arguments.old, side, side)
    labels = torch.randint(arguments.old - 1, arguments.classes, (arguments.batch, *size))
    labels = torch.where(labels < arguments.old, BACKGROUND, labels)
    thresholds = torch.full((arguments.old,), 0.002)
    Path("/proc/self/clear_refs").write_text("5")
    before, start = psutil.Process().memory_info().rss / 2**20, time.process_time()
    loss = (straightforward if variant == "straightforward" else in_pieces)(logits, old, labels, thresholds)
    loss.backward()
    seconds = time.process_time() - start
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    assert logits.grad is not None
    return {
        "mib": round(int(line.split()[1]) / 2**10 - before),
        "seconds": round(seconds, 2),
        "loss": loss.item(),
        "gradient": logits.grad.norm().item(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--classes", type=int, default=151)
    parser.add_argument("--old", type=int, default=101)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(run(arguments.only, arguments)))
        return
    found = {}
    for variant in VARIANTS:
        words = [sys.executable, __file__, *sys.argv[1:], "--only", variant]
        done = subprocess.run(words, check=True, capture_output=True, text=True)  # noqa: S603 (this file itself)
        found[variant] = json.loads(done.stdout)
        print(variant, found[variant])
    print(f"memory: {found['sats']['mib'] / found['straightforward']['mib']:.2f} of the straightforward version's")
    if arguments.json:
        settings = {name: getattr(arguments, name) for name in ("classes", "old", "size", "batch")}
        arguments.json.write_text(json.dumps({**settings, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
