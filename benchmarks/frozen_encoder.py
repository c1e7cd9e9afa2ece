"""What an iteration costs whose encoder is frozen: run by both networks, run once, and read from a cache.

    python benchmarks/frozen_encoder.py [--model segformer-b0] [--size 256] [--method mib] [--json]

The method stands in step 1 with a frozen encoder, as in `iteration.py`. ``apart``: student and teacher each run their
encoder; ``once``: one of them does, for both; ``kept``: neither, as all images were seen before; ``filling``: as in a
cache's first epoch, when each image is new, encoded alone and kept. A round has one iteration of each in turn; seconds
are medians of CPU time over rounds, ratios medians of the rounds' ratios to ``apart``. ``image_mib`` is what an image
takes in the cache, ``difference`` by how much what is kept differs from what a batch yields, relative to the largest
value of each map. ``--json`` prints one line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from typing import TYPE_CHECKING

import torch
from iteration import OLD, make_batch, make_learner  # first, as it settles the number of threads

from sats.engine.frozen_encoder import FeatureCache, FrozenEncoder, same_encoder
from sats.engine.loop import Learner, update
from sats.methods import METHODS

if TYPE_CHECKING:
    from sats.types import Batch

ENOUGH = 4096
"""MiB: more than the images of this benchmark take."""


def variants(learner: Learner, batch: Batch) -> dict[str, Learner]:
    """The learner with each way to run its encoder; that which reads has seen the batch."""
    student, teacher = learner.context.model, learner.context.teacher
    networks = (student,)
    if teacher is not None:
        if not same_encoder(student, teacher):
            raise SystemExit("The encoder is not frozen.")
        networks = (student, teacher)
    encoders = {
        "apart": FrozenEncoder(),
        "once": FrozenEncoder(networks),
        "kept": FrozenEncoder(networks, FeatureCache(student, ENOUGH)),
        "filling": FrozenEncoder(networks, FeatureCache(student, ENOUGH)),
    }
    found = {name: dataclasses.replace(learner, encoder=encoder) for name, encoder in encoders.items()}
    update(found["kept"], [batch])
    return found


def cpu_seconds(learner: Learner, batch: Batch) -> float:
    """CPU time of one update."""
    before = time.process_time()
    update(learner, [batch])
    return time.process_time() - before


@torch.no_grad()
def difference(learner: Learner, batch: Batch) -> float:
    """How much what the cache keeps differs from what a batch yields."""
    model = learner.context.model
    pairs = zip(FeatureCache(model, ENOUGH).encode(batch.images), model.encode(batch.images), strict=True)
    return max(float((alone - together).abs().max() / together.abs().max()) for alone, together in pairs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="segformer-b0")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--classes", type=int, choices=tuple(OLD), default=21)
    parser.add_argument("--method", default="mib")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    learner = make_learner(METHODS[arguments.method](frozen_encoder=True), arguments)
    batch = make_batch(learner.context.step, arguments.size, arguments.batch)
    learners = variants(learner, batch)
    times: dict[str, list[float]] = {name: [] for name in learners}
    for _ in range(arguments.rounds):
        fresh = dataclasses.replace(batch, images=torch.randn_like(batch.images))
        for name, each in learners.items():
            times[name].append(cpu_seconds(each, fresh if name == "filling" else batch))
    with torch.no_grad():
        image_bytes = sum(part.nbytes for part in learner.context.model.encode(batch.images[:1]))
    found = {
        **{name: getattr(arguments, name) for name in ("model", "size", "classes", "method", "batch", "rounds")},
        "seconds": {name: round(statistics.median(seconds), 4) for name, seconds in times.items()},
        "ratio_to_apart": {
            name: round(statistics.median(own / base for own, base in zip(seconds, times["apart"], strict=True)), 3)
            for name, seconds in times.items()
        },
        "image_mib": round(image_bytes / 2**20, 3),
        "difference": difference(learner, batch),
        "torch": torch.__version__,
    }
    print(json.dumps(found) if arguments.json else "\n".join(f"{name}: {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
