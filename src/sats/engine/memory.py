"""A run's memory: chosen after each step, written down in memory.json, learned from in the next step."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from sats.data.copies import CopySource, copy_exemplar, discard_others
from sats.data.loader import EvaluationBatches
from sats.data.memory import Exemplar, select
from sats.data.stream import Joined, Samples
from sats.data.transforms import TestTransform
from sats.documents import read_json
from sats.engine import build, launch, processes
from sats.engine.run import finished_model
from sats.files import saving
from sats.types import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from sats.data.source import Source
    from sats.engine.run import Run
    from sats.engine.run_folder import RunFolder
    from sats.types import Step

VERSION: Final = 1
SURE: Final = 0.7
"""The probability from which on a class that the model sees counts as held (SSUL)."""

Memories = list[list[Exemplar]]
"""The memory after each finished step."""


def complete(run: Run) -> None:
    """Choose the memory after each finished step that has none yet, in order.

    It follows from the settings, the data and the steps' saved models alone, so it does not matter when it is done.
    Only the main process writes; the others read before it does, and again afterwards.
    """
    if not run.config.memory.size:
        return
    processes.wait()
    finished = run.stream.steps[: len(run.folder.scores())]
    stored = read(run.folder)
    memories = stored[: len(finished)]
    if len(stored) > len(finished) and launch.is_main():  # somebody removed a step, to learn it again
        _write(run.folder, memories)
    for step in finished[len(memories) :]:
        memories.append(_choose(run, step, memories[-1] if memories else []))
        processes.wait()
        if launch.is_main():
            _store(run, memories)
        processes.wait()
        memories = read(run.folder)


def exemplars(run: Run, step: Step) -> Joined:
    """What ``step`` learns from beside its own images, labelled for it; empty where there is no memory."""
    kept = _kept_before(run, step)
    if run.config.memory.labels == "seen":
        tables = [run.stream.seen_labels(step)] * step.index
    else:
        tables = [run.stream.own_labels(earlier) for earlier in run.stream.steps[: step.index]]
    return Joined(_samples(run, kept, tables))


def described(run: Run, step: Step) -> str:
    """How many exemplars of which steps ``step`` learns from, as the end of a sentence; empty without a memory."""
    counts = Counter(exemplar.step for exemplar in _kept_before(run, step))
    parts = [f"{number} of step {earlier}" for earlier, number in sorted(counts.items())]
    return f" and {counts.total()} exemplars ({', '.join(parts)})" if parts else ""


def _kept_before(run: Run, step: Step) -> list[Exemplar]:
    if not run.config.memory.size or not step.index:
        return []
    return read(run.folder)[step.index - 1]


# --- memory.json ------------------------------------------------------------------------------------------------------


def read(folder: RunFolder) -> Memories:
    """The memory after each step, as memory.json says; empty if there is none. ValueError if it is broken."""
    path = folder.memory_path
    if not path.is_file():
        return []
    try:
        return _memories(read_json(path))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): put back what sats wrote, or remove it to choose the memory again."
        ) from error


def _memories(values: dict[str, Any]) -> Memories:
    if values["version"] != VERSION:
        raise ValueError(f"it has format {values['version']}, this program reads {VERSION}")
    memories = [[_exemplar(entry) for entry in memory] for memory in values["steps"]]
    for step, memory in enumerate(memories):
        if any(exemplar.step > step for exemplar in memory):
            raise ValueError(f"the memory after step {step} has exemplars of later ones")
    return memories


def _exemplar(entry: dict[str, str | int]) -> Exemplar:
    exemplar = Exemplar(**entry)  # type: ignore[arg-type]  # checked on the next lines
    texts = (exemplar.key, exemplar.image, exemplar.mask)
    is_one = isinstance(exemplar.step, int) and exemplar.step >= 0 and all(isinstance(text, str) for text in texts)
    if not is_one or any(Path(name).name != name for name in texts[1:]) or bool(exemplar.image) != bool(exemplar.mask):
        raise ValueError(f"no exemplar: {entry}")
    return exemplar


def _store(run: Run, memories: Memories) -> None:
    """Write down the memories, with copies of the last one's exemplars where they are wanted; then drop others'."""
    folder, last = run.folder, memories[-1]
    with saving(folder.memory_path):
        if run.config.memory.copy:
            places = _places(run.stream.train_source)
            copies = [exemplar if exemplar.image else _copied(run, exemplar, places) for exemplar in last]
            last = [exemplar for exemplar in copies if exemplar is not None]
        _write(folder, [*memories[:-1], last])
        discard_others(last, folder.copies)


def _copied(run: Run, exemplar: Exemplar, places: dict[str, int]) -> Exemplar | None:
    """The exemplar, copied; None where it cannot be read, and such images are skipped."""
    try:
        return copy_exemplar(exemplar, run.stream.train_source, places[exemplar.key], run.folder.copies)
    except ValueError as error:
        if run.skipped is None:
            raise
        run.skipped(str(error))
        return None


def _write(folder: RunFolder, memories: Memories) -> None:
    steps = [[_entry(exemplar) for exemplar in memory] for memory in memories]
    folder.write(folder.memory_path.name, json.dumps({"version": VERSION, "steps": steps}, indent=1) + "\n")


def _entry(exemplar: Exemplar) -> dict[str, str | int]:
    files = {"image": exemplar.image, "mask": exemplar.mask} if exemplar.image else {}
    return {"key": exemplar.key, "step": exemplar.step, **files}


# --- exemplars as samples ---------------------------------------------------------------------------------------------


def _samples(run: Run, kept: Sequence[Exemplar], tables: Sequence[NDArray[np.uint8]]) -> tuple[Samples, ...]:
    """The images of ``kept`` in their order, those of step k labelled by ``tables[k]``; from copies where there are."""
    copies = CopySource(
        run.folder.copies, tuple(exemplar for exemplar in kept if exemplar.image), run.stream.train_source.classes
    )
    _refuse_lost_copies(run, copies)
    sources: dict[bool, Source] = {False: run.stream.train_source, True: copies}
    places = {copied: _places(source) for copied, source in sources.items()}
    parts = []
    for (step, copied), group in itertools.groupby(kept, key=lambda one: (one.step, bool(one.image))):
        indices = [_place(run, places[copied], exemplar) for exemplar in group]
        parts.append(Samples(sources[copied], np.array(indices), tables[step]))
    return tuple(parts)


def _places(source: Source) -> dict[str, int]:
    """Where each key is in ``source``."""
    return {source.key(index): index for index in range(len(source))}


def _place(run: Run, places: dict[str, int], exemplar: Exemplar) -> int:
    if exemplar.key not in places:
        raise ValueError(
            f"The data no longer holds {exemplar.key}, an exemplar of step {exemplar.step} in "
            f"{run.folder.memory_path}: put it back, or start again with --memory.copy, which keeps copies."
        )
    return places[exemplar.key]


def _refuse_lost_copies(run: Run, copies: CopySource) -> None:
    for exemplar in copies.exemplars:
        for name in (exemplar.image, exemplar.mask):
            if not (copies.folder / name).is_file():
                raise ValueError(
                    f"{copies.folder / name}, a copy of the exemplar {exemplar.key}, is gone: put it back, or remove "
                    f"{run.folder.memory_path} to choose the memory again, if the old data is still there."
                )


# --- the choice -------------------------------------------------------------------------------------------------------


def _choose(run: Run, step: Step, last: list[Exemplar]) -> list[Exemplar]:
    """The memory after ``step``, from the one before it and the step's images."""
    settings, stream = run.config.memory, run.stream
    new = stream.train_samples(step)
    candidates = [*last, *(Exemplar(new.source.key(index), step.index) for index in new.indices.tolist())]
    tables = [stream.own_labels(earlier) for earlier in stream.steps[: step.index]]
    samples = Joined((*_samples(run, last, tables), new))
    held = np.concatenate([part.presence(step.num_seen) for part in samples.parts])
    if settings.asks_the_model and step.index > 0:
        held |= seen_by_model(run, step, samples)
    return select(settings.selection, candidates, held, settings.size, run.config.seed, step.index)


@torch.inference_mode()
def seen_by_model(run: Run, step: Step, samples: Joined) -> NDArray[np.bool_]:
    """Which foreground classes the model of ``step`` is sure to see in each image: [images, channels].

    A class is seen where it is the most probable one of a pixel that the image's labels call background, with a
    probability of at least 0.7. Processes share the images.
    """
    device = run.accelerator.device
    model = finished_model(run, step).to(device).eval()
    transform = TestTransform(resize=run.config.train.resize)
    batches = EvaluationBatches(
        samples,
        transform,
        run.config.evaluation.batch_size,
        build.workers(run.config, device),
        device,
        slice(launch.rank(), None, launch.world_size()),
        run.skipped,
    )
    seen = torch.zeros(len(samples), step.num_seen, dtype=torch.int64, device=device)
    for places, batch in zip(batches.plan, run.log.follow(batches, "choosing exemplars", len(batches)), strict=True):
        height, width = batch.labels.shape[-2:]
        logits = model(batch.images).logits_at((height, width))
        probabilities = run.method.probabilities(logits, step.num_seen)
        seen[places] = sure_classes(probabilities, batch.labels)
    found: NDArray[np.bool_] = processes.total(seen).cpu().numpy() > 0
    return found


def sure_classes(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Which classes are most probable, and at least 0.7, in some background pixel: [B, C] of zeros and ones, int64.

    ``probabilities`` [B, C, H, W]; ``labels`` [B, H, W]. The background itself is never asked for.
    """
    confidence, classes = probabilities.max(dim=1)
    sure = (confidence >= SURE) & (labels == BACKGROUND)
    classes = torch.where(sure, classes, BACKGROUND).flatten(1)
    found = torch.zeros(probabilities.shape[:2], dtype=torch.int64, device=labels.device)
    return found.scatter_(1, classes, 1)
