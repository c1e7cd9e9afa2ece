"""Train SATS on the built-in data, look at what was kept, and use the model.

python examples/quickstart.py            # some minutes on two cores
python examples/quickstart.py --quick    # seconds, too short to learn anything
"""

from __future__ import annotations

from pathlib import Path

import tyro

import sats

QUICK = {"data.images": 24, "train.epochs": 1, "train.epochs_later": 1}


def main(out: Path = Path("runs/quickstart"), quick: bool = False) -> sats.Run:
    """Learn five digits, then five more without labels of the first ones."""
    config = sats.recipe("scenes", method="sats")  # every setting, as `sats train scenes` has it
    config = sats.with_settings(config, {"stream.protocol": "5-5", "seed": 0, **(QUICK if quick else {})})
    run = sats.train(config, out)  # sats.resume(out) goes on after an interruption

    run.show()
    before, after = run.scores
    print(f"old digits: {before.miou['old']:.3f} before, {after.miou['old']:.3f} after; new: {after.miou['new']:.3f}")
    run.picture(images=4).save(out / "picture.png")

    prediction = run.model().predict(out / "picture.png")  # any image
    print(prediction.shares)
    return run


if __name__ == "__main__":
    tyro.cli(main)
