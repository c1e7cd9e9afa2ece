"""Runs that are one experiment repeated: they differ in seed or class order only, and are one row with a spread."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.dotted import flat
from sats.evaluation.spread import REPEATS, Spread, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sats.report.gather import RunRecord

    Figure = Callable[[RunRecord], float | None]

NO_PART = (*REPEATS, "stream.order", "start_from")
"""Settings that do not make another experiment; a step 0 that was taken over is one that the others would train."""
UNSPOKEN_END = re.compile(r"[\W_]*((order_?)?seed)?[\W_]*$", re.IGNORECASE)
"""What is left at the end of a name that many have in common, once their seeds are gone."""


@dataclass(frozen=True)
class Group:
    """One experiment, run once or several times; ``index`` gives it its colour."""

    index: int
    name: str
    runs: tuple[RunRecord, ...]

    @property
    def first(self) -> RunRecord:
        """The run that stands for the group where only one can be shown."""
        return self.runs[0]

    @property
    def is_joint(self) -> bool:
        """Whether it learned everything at once."""
        return self.first.is_joint

    @property
    def has_one_order(self) -> bool:
        """Whether all of its runs learned the same classes in the same steps."""
        return len({tuple(run.learned()) for run in self.runs}) == 1

    def spread(self, figure: Figure) -> Spread | None:
        """Mean and deviation of a figure over the runs; None where none has it."""
        return spread([figure(run) for run in self.runs])


def grouped(runs: Sequence[RunRecord]) -> tuple[Group, ...]:
    """The experiments that ``runs`` are, in the order of their first runs.

    Runs that do not even differ in seed or order are no repetitions: each stands in a row of its own.
    """
    found: dict[str, list[RunRecord]] = {}
    seen: Counter[str] = Counter()
    for run in runs:
        settings = flat_settings(run)
        same = json.dumps([settings.get(name) for name in (*REPEATS, "stream.order")] + [_experiment(run)])
        found.setdefault(f"{seen[same]} {_experiment(run)}", []).append(run)
        seen[same] += 1
    names = [_common_name(group) for group in found.values()]
    repeated = Counter(names)
    return tuple(
        Group(index, name if repeated[name] == 1 else group[0].name, tuple(group))
        for index, (name, group) in enumerate(zip(names, found.values(), strict=True))
    )


def _experiment(run: RunRecord) -> str:
    """What only runs of the same experiment that are equally far have in common."""
    settings = {name: value for name, value in flat_settings(run).items() if name not in NO_PART}
    return json.dumps([len(run.history), settings], sort_keys=True)


def flat_settings(run: RunRecord) -> dict[str, object]:
    """Every setting of a run by its dotted name."""
    return flat(json.loads(run.folder.config_path.read_text(encoding="utf-8")))


def _common_name(runs: Sequence[RunRecord]) -> str:
    """What the names of ``runs`` begin with, or their method's name."""
    if len(runs) == 1:
        return runs[0].name
    begins_with = os.path.commonprefix([run.name for run in runs])  # noqa: RUF071 (of names, not of paths)
    common = UNSPOKEN_END.sub("", begins_with)
    return common or runs[0].method
