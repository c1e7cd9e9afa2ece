"""How many updates an epoch has, and what each of them takes. Loads no torch."""

from __future__ import annotations


def new_per_batch(batch_size: int, with_exemplars: bool) -> int:
    """A step's own images in one update; exemplars, where there are any, are half of it, rounded down."""
    return batch_size - batch_size // 2 if with_exemplars else batch_size


def updates_per_epoch(images: int, batch_size: int, with_exemplars: bool) -> int:
    """Updates in one pass over a step's own ``images``, at least 1; what fills no batch is left out."""
    return max(1, images // new_per_batch(batch_size, with_exemplars))
