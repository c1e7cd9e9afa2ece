"""Several runs seen together: what they have in common, and what stands in the way of comparing them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sats.evaluation.overlay import palette
from sats.evaluation.scores import ratio_to_joint
from sats.report.groups import grouped
from sats.types import BACKGROUND
from sats.words import count, names, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.config import RunConfig
    from sats.methods import Method
    from sats.report.gather import RunRecord
    from sats.report.groups import Group


@dataclass(frozen=True)
class Comparison:
    """Several runs seen together, in ``groups`` of one experiment each.

    ``common`` are the classes that all of them know; ``obstacles`` say why figures do not compare as they are.
    """

    runs: tuple[RunRecord, ...]
    groups: tuple[Group, ...]
    common: tuple[str, ...]
    obstacles: tuple[str, ...]

    @property
    def continual(self) -> list[Group]:
        """The experiments that learned step by step."""
        return [group for group in self.groups if not group.is_joint]

    @property
    def same_classes(self) -> bool:
        """Whether every run knows the same classes."""
        return all(len(run.last.classes) == len(self.common) for run in self.runs)

    def joint_for(self, run: RunRecord) -> RunRecord | None:
        """The joint run that bounds ``run``: one that knows the same classes, of the same seed if there is one."""
        known = set(run.last.classes)
        bounds = [other for other in self.runs if other.is_joint and set(other.last.classes) == known]
        return min(bounds, key=lambda other: other.config.seed != run.config.seed, default=None)

    def ratio(self, run: RunRecord) -> float | None:
        """All-mIoU of ``run`` as a share of joint training's; None where no joint run knows the same classes."""
        joint = self.joint_for(run)
        return None if joint is None or run.is_joint else ratio_to_joint(run.last, joint.last)


def compare(runs: Sequence[RunRecord]) -> Comparison:
    """What ``runs`` have in common, and what differs."""
    groups = grouped(runs)
    shared = set.intersection(*(set(run.last.classes) for run in runs))
    common = tuple(name for name in runs[0].last.classes if name in shared)
    found = [*_class_obstacles(runs, shared), *_data_obstacles(runs, common), *_stream_obstacles(groups)]
    if found:
        found.append("So the figures do not compare as they are, and no run is marked as the best.")
    return Comparison(tuple(runs), groups, common, tuple(found))


def _class_obstacles(runs: Sequence[RunRecord], shared: set[str]) -> list[str]:
    own = {run.name: [name for name in run.last.classes if name not in shared] for run in runs}
    if not any(own.values()):
        return []
    beyond = [f"{shown(run)} also knows {names(classes)}" for run, classes in own.items() if classes]
    shares = f"{count(len(shared), 'class', 'classes')} in common (background included); {'; '.join(beyond)}"
    return [f"The runs know different classes: {shares}. The figure “in common” is the mean over those of all runs."]


def _data_obstacles(runs: Sequence[RunRecord], common: Sequence[str]) -> list[str]:
    foreground = [name for name in common if name != runs[0].last.classes[0]]
    measured = {tuple(run.last.pixels[name] for name in foreground) for run in runs}
    if len(measured) < 2:
        return []
    return ["The runs were not measured on the same test pixels: their data or the way of measuring differs."]


def _stream_obstacles(groups: Sequence[Group]) -> list[str]:
    """Repeated runs may differ in order from each other, if those they are compared with do so as well."""
    if len({frozenset(_steps_asked_for(run.config) for run in group.runs) for group in groups}) < 2:
        return []
    return ["The runs learn in different steps or in another order, so that “old” and “new” are not the same classes."]


def _steps_asked_for(config: RunConfig[Method]) -> tuple[object, ...]:
    """What decides which classes, or domains, arrive when."""
    stream = config.stream
    folders = tuple(Path(folder).name for folder in config.data.folders)
    return (stream.of, stream.steps or (stream.protocol, stream.order, stream.order_seed), folders)


def all_classes(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """The classes of the first run in its order, then those that only others know; the background is one for all."""
    foreground = dict.fromkeys(name for run in runs for name in run.last.classes[BACKGROUND + 1 :])
    return (runs[0].last.classes[BACKGROUND], *foreground)


def class_colours(runs: Sequence[RunRecord]) -> dict[str, str]:
    """The colour "#rrggbb" of each class, the same in pictures, tables and legends."""
    classes = all_classes(runs)
    colours = palette(max(256, len(classes)))
    found = {name: "#{:02x}{:02x}{:02x}".format(*colours[index]) for index, name in enumerate(classes)}
    background = found[classes[BACKGROUND]]
    return found | {run.last.classes[BACKGROUND]: background for run in runs}
