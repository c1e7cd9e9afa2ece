"""The floating-point operations of a network's forward on one image, as torch counts them.

    python benchmarks/flops.py [--model segformer-b2] [--size 512] [--decoder-size 256] [--classes 21]

Attention is computed eagerly: torch does not count it otherwise on a processor. A multiplication and an addition are
two.
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.flop_counter import FlopCounterMode

from sats.models import creation


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="segformer-b2")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--decoder-size", type=int, default=256)
    parser.add_argument("--classes", type=int, default=21)
    arguments = parser.parse_args()
    names = ["background", *(f"class {index}" for index in range(1, arguments.classes))]
    model = creation.create(arguments.model, names, "", arguments.decoder_size).eval()
    model.encoder.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model(torch.zeros(1, 3, arguments.size, arguments.size))
    print(f"{counted.get_total_flops() / 1e9:.1f} GFLOP")


if __name__ == "__main__":
    main()
