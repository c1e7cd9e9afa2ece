"""What the cells of a sweep have come to, as plain values."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sats.evaluation.scores import mean, scores_of
from sats.methods import method_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sats.bench.bench_folder import BenchFolder
    from sats.bench.suite import Cell
    from sats.engine.run_folder import RunFolder
    from sats.evaluation.scores import Scores

FIGURES = {"old": "old", "new": "new", "all": "all", "avg": "avg", "hiou": "hIoU", "forgetting": "forgot"}
"""The figures of a cell after its last step, and their titles; "forgetting": the mean over classes known before."""


@dataclass(frozen=True)
class Result:
    """A cell as far as it is: the scores of its finished steps; ``error`` where its last attempt failed.

    ``seconds`` is the median time of an iteration of the steps that tell methods apart: the later ones, or the only
    one. None where nothing was logged. ``is_bound``: it learns everything at once, an upper bound for the others.
    """

    name: str
    variant: str
    values: Mapping[str, Any]
    method: str
    is_bound: bool
    state: str
    history: tuple[Scores, ...]
    seconds: float | None
    error: str = ""

    @property
    def is_done(self) -> bool:
        """Whether every step is finished."""
        return self.state == "done"

    def figures(self) -> dict[str, float | None]:
        """The figures after the last finished step, in 0..1, None where undefined."""
        last = self.history[-1]
        forgotten = mean(last.forgetting.values())
        return {name: forgotten if name == "forgetting" else last.miou[name] for name in FIGURES}


def gather(folder: BenchFolder, cells: Sequence[Cell], failed: Mapping[str, str]) -> list[Result]:
    """What each of the ``cells`` has come to; ``failed`` has the errors of those that failed."""
    return [_result(folder, cell, failed.get(cell.name, "")) for cell in cells]


def keep_scores(folder: BenchFolder, cells: Sequence[Cell]) -> None:
    """Put what the finished ones of ``cells`` have come to into the folder's archive."""
    for cell, result in zip(cells, gather(folder, cells, {}), strict=True):
        folder.archive.keep(cell, result)


def _result(folder: BenchFolder, cell: Cell, error: str) -> Result:
    if (kept := folder.archive.read(cell)) and not folder.run(cell).is_finished():
        return kept
    run, method = folder.run(cell), cell.config.method
    is_bound = method.data == "all"
    return Result(
        name=cell.name,
        variant=cell.variant,
        values=cell.values,
        method=method_name(method),
        is_bound=is_bound,
        state=folder.state(cell),
        history=tuple(run.scores()),
        seconds=seconds_per_iteration(run, cell.config.train.batch_size, first_step=0 if is_bound else 1),
        error=error,
    )


def seconds_per_iteration(run: RunFolder, batch_size: int, first_step: int) -> float | None:
    """The median time of an iteration from ``first_step`` on, by the speeds in metrics.jsonl."""
    speeds = [speed for step, speed in map(_speed, run.metrics()) if step >= first_step]
    return batch_size / statistics.median(speeds) if speeds and min(speeds) > 0 else None


def _speed(values: Mapping[str, Any]) -> tuple[int, float]:
    """The step and the images a second of a logged iteration; step -1 where that is not what a line says."""
    try:
        return int(values["step"]), float(values["images_per_second"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return -1, 0.0


def as_json(result: Result) -> dict[str, Any]:
    """A result with the raw scores of every step, for a file."""
    steps = [dataclasses.asdict(scores) for scores in result.history]
    kept = ("name", "variant", "method", "state", "error")
    return {
        **{name: getattr(result, name) for name in kept},
        "values": dict(result.values),
        "seconds_per_iteration": result.seconds,
        "figures": result.figures() if result.is_done else None,
        "steps": steps,
    }


def from_json(values: Mapping[str, Any], cell: Cell) -> Result:
    """The result of ``cell`` that `as_json` wrote down."""
    return Result(
        name=cell.name,
        variant=cell.variant,
        values=cell.values,
        method=str(values["method"]),
        is_bound=cell.config.method.data == "all",
        state=values["state"],
        history=tuple(scores_of(scores) for scores in values["steps"]),
        seconds=values["seconds_per_iteration"],
    )
