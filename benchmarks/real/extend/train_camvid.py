"""Train a segmentation model on seven classes of CamVid with transformers and torch alone, as anybody would.

    python benchmarks/real/extend/train_camvid.py --data CAMVID --weights BACKBONE --out MODEL

The model is the one that `sats extend` is tried on: it has no background, its folder is written by ``save_pretrained``,
and nothing of sats takes part. Cars, people and signs are left out of its labels, as if it had never been told of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from transformers import AutoConfig, Dinov2Backbone, SegformerImageProcessorPil, UperNetConfig
from transformers import UperNetForSemanticSegmentation as UperNet

KEPT = ("sky", "building", "pole", "road", "pavement", "tree", "fence")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHORT, CROP, BATCH = 252, 252, 4
IGNORE = 255


def build(weights: Path) -> UperNet:
    """An UperNet over a DINOv2 backbone, whose blocks 3, 6, 9 and 12 it reads."""
    config = AutoConfig.from_pretrained(weights)
    config.out_indices = [3, 6, 9, 12]
    names = dict(enumerate(KEPT))
    whole = UperNetConfig(
        backbone_config=config,
        hidden_size=64,
        use_auxiliary_head=False,
        num_labels=len(KEPT),
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    whole._attn_implementation = "eager"  # noqa: SLF001 (UperNet refuses to be asked for another)
    network = UperNet(whole).float()
    backbone = Dinov2Backbone.from_pretrained(weights, out_indices=config.out_indices, dtype=torch.float32)
    network.backbone.load_state_dict(backbone.state_dict())
    network.backbone.set_attn_implementation("sdpa")
    return network


def sample(data: Path, name: str, table: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A normalised crop of one training image, mirrored half of the time, and its labels."""
    image = Image.open(data / "images" / "train" / f"{name}.jpg").convert("RGB")
    mask = Image.open(data / "masks" / "train" / f"{name}.png")
    factor = SHORT / min(image.size) * rng.uniform(1.0, 1.5)
    size = (round(image.width * factor), round(image.height * factor))
    left, top = rng.integers(0, size[0] - CROP + 1), rng.integers(0, size[1] - CROP + 1)
    box = (left, top, left + CROP, top + CROP)
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR).crop(box), dtype=np.float32) / 255
    labels = table[np.asarray(mask.resize(size, Image.Resampling.NEAREST).crop(box))]
    if rng.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    normalised = (pixels - np.array(MEAN, dtype=np.float32)) / np.array(STD, dtype=np.float32)
    return torch.from_numpy(normalised.transpose(2, 0, 1).copy()), torch.from_numpy(labels.astype(np.int64))


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser()
    for name in ("data", "weights", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=300)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    names = (arguments.data / "classes.txt").read_text().split("\n")
    table = np.full(256, IGNORE, dtype=np.uint8)
    for index, name in enumerate(KEPT):
        table[names.index(name)] = index
    images = sorted(path.stem for path in (arguments.data / "images" / "train").iterdir())
    network = build(arguments.weights).train()
    head = [parameter for name, parameter in network.named_parameters() if not name.startswith("backbone.")]
    groups = [{"params": network.backbone.parameters(), "lr": 2e-5}, {"params": head, "lr": 1e-3}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: (1 - i / arguments.iterations) ** 0.9)
    for iteration in range(arguments.iterations):
        chosen = [sample(arguments.data, str(name), table, rng) for name in rng.choice(images, BATCH, replace=False)]
        pixels, labels = (torch.stack(part) for part in zip(*chosen, strict=True))
        loss = functional.cross_entropy(network(pixels).logits, labels, ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if iteration % 20 == 0:
            print(f"iteration {iteration}  loss {loss.item():.3f}", flush=True)
    network.save_pretrained(arguments.out)
    size = {"shortest_edge": SHORT}
    SegformerImageProcessorPil(size=size, default_to_square=False).save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
