"""Peak memory of a training iteration with attention transfer on a plain ViT, tapped or with stored maps.

    python benchmarks/attention_memory.py [--size 518] [--batch 1] [--variants none tapped stored] [--json FILE]

A DINOv2-small (random weights) under a light UperNet, student and teacher, 21 classes, the transfer of the four tapped
blocks pooled by class. "none": the same iteration without transfer. "tapped": queries and keys are kept, as sats does.
"stored": eager attention hands out every block's map, as a straightforward version does, and pooled rows are taken from
those of the same four blocks. Each runs in a process of its own; the figure is its peak resident size less that before
the iteration, in MiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import Dinov2Config, UperNetForSemanticSegmentation

from sats import losses
from sats.models.segmenter import Segmenter
from sats.models.upernet import upernet_config

if TYPE_CHECKING:
    from sats.types import SegOutput

SMALL = Dinov2Config(
    hidden_size=384,
    num_attention_heads=6,
    image_size=518,
    patch_size=14,
    out_indices=[3, 6, 9, 12],
    reshape_hidden_states=True,
)
BLOCKS = (2, 5, 8, 11)
VARIANTS = ("none", "tapped", "stored")


def make_model(eager: bool) -> Segmenter:
    """A segmenter of 21 classes; ``eager``: its attention hands out whole maps instead of being tapped."""
    torch.manual_seed(0)
    segmenter = Segmenter(UperNetForSemanticSegmentation(upernet_config(SMALL, 21)), [str(i) for i in range(21)])
    if eager:
        segmenter.encoder.set_attn_implementation("eager")
    return segmenter


def iteration(variant: str, student: Segmenter, teacher: Segmenter, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Forward of both, cross-entropy, the transfer, backward."""
    taps = student.default_taps if variant == "tapped" else ()
    with torch.no_grad():
        old, old_maps = forward(variant, teacher, images, taps)
    new, new_maps = forward(variant, student, images, taps)
    loss = losses.cross_entropy(new.pixel_logits, labels).mean()
    if variant == "tapped":
        loss = loss + losses.attention_transfer(new.attentions, old.attentions, labels)
    elif variant == "stored":
        grid = (images.shape[2] // 14, images.shape[3] // 14)
        rows = ([maps[block][:, :, 1:] for block in BLOCKS] for maps in (new_maps, old_maps))
        loss = loss + losses.attention_transfer(*rows, labels, grids=[grid] * len(BLOCKS))
    loss.backward()


def forward(
    variant: str, model: Segmenter, images: torch.Tensor, taps: tuple[str, ...]
) -> tuple[SegOutput, tuple[torch.Tensor, ...]]:
    """The model's output, and its maps where they are stored."""
    if variant != "stored":
        return model(images, taps), ()
    kept: dict[str, tuple[torch.Tensor, ...]] = {}
    backbone = model.network.backbone
    plain = backbone.forward

    def with_maps(pixel_values: torch.Tensor, **asked: object) -> object:
        output = plain(pixel_values, **{**asked, "output_attentions": True})
        kept["maps"] = output.attentions
        return output

    backbone.forward = with_maps
    try:
        output = model(images)
    finally:
        backbone.forward = plain
    return output, kept["maps"]


def measure(variant: str, size: int, batch: int) -> dict[str, float]:
    """Peak MiB and seconds of one iteration, in this process."""
    student, teacher = make_model(variant == "stored").train(), make_model(variant == "stored").frozen_copy()
    images, labels = torch.randn(batch, 3, size, size), torch.randint(0, 21, (batch, size, size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    iteration(variant, student, teacher, images, labels)
    seconds = time.perf_counter() - start
    return {"MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before, "seconds": seconds}


def main() -> None:
    """Run each variant in a process of its own and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=518)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", action="store_true", help="measure the first variant in this process")
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure(arguments.variants[0], arguments.size, arguments.batch)))
        return
    found = {}
    for variant in arguments.variants:
        command = [sys.executable, __file__, "--alone", "--variants", variant]
        command += ["--size", str(arguments.size), "--batch", str(arguments.batch)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (its own words)
        found[variant] = json.loads(done.stdout.strip().split("\n")[-1])
        print(f"{variant:8s} {found[variant]['MiB']:8.0f} MiB  {found[variant]['seconds']:6.1f} s", flush=True)
    if arguments.json:
        setting = {"size": arguments.size, "batch": arguments.batch, "threads": torch.get_num_threads()}
        arguments.json.write_text(json.dumps({**setting, "variants": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
