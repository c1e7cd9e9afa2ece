"""SATS on DINOv2: any attention backbone of transformers under an UperNet head, its attention transferred.

python examples/dinov2.py --weights facebook/dinov2-small

Without --weights a tiny DINOv2 with random weights is built, which shows that all fits together and learns little.
"""

from __future__ import annotations

from pathlib import Path

import tyro
from transformers import Dinov2Config, Dinov2Model

import sats

QUICK = {"data.images": 12, "train.epochs": 1, "train.epochs_later": 1, "train.batch_size": 4}


def main(out: Path = Path("runs/dinov2"), weights: str = "", quick: bool = False) -> sats.Run:
    """Train on the built-in data; for your own see own_data.py."""
    config = sats.recipe("scenes", method="sats")
    config = sats.with_settings(
        config,
        {
            "model.name": "auto",  # whatever the weights are of
            "model.weights": weights or tiny(out.with_name(f"{out.name}-weights")),
            "model.decoder_size": 32,  # channels of the head
            "data.image_size": 56,  # patches are 14 pixels wide
            "train.crop": 56,
            "method.attention_transfer.blocks": "last",  # of each stage that the head reads
            "optim.lr": 1e-3,
            "optim.factors": {"encoder": 0.1, "decoder": 1.0, "classifier": 1.0},  # it is trained already
            **(QUICK if quick else {}),
        },
    )
    run = sats.train(config, out)
    terms = run.metrics[-1]["losses"]
    print("the loss of the last step:", ", ".join(f"{name} {value:.3f}" for name, value in terms.items()))
    run.show()
    return run


def tiny(folder: Path) -> Path:
    """A DINOv2 of 5 blocks of 24 channels with random weights, as transformers saves it."""
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=5, num_attention_heads=3, mlp_ratio=2, image_size=56, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    tyro.cli(main)
