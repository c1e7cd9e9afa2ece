"""What the runs came to: sentences, the table of figures, and what stands in the way of comparing them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sats.evaluation.scores import backward_transfer, mean, ratio_to_joint
from sats.words import NOTHING, count, names, percent, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sats.config import RunConfig
    from sats.methods import Method
    from sats.report.gather import RunRecord

    Figure = Callable[[RunRecord], float | None]

SPACE = "\N{NO-BREAK SPACE}"
MOST_COMPARED, MOST_NAMED = 5, 20
"""Runs, and classes, that a sentence names; of more runs it names the best and the worst, of classes their number."""


@dataclass(frozen=True)
class Column:
    """A figure of every run: its short title, what it means, one text a run, and which of them are the best."""

    title: str
    meaning: str
    texts: tuple[str, ...]
    best: tuple[bool, ...]


@dataclass(frozen=True)
class Card:
    """A run in a few numbers (label, number, remark) and sentences."""

    numbers: tuple[tuple[str, str, str], ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Several runs seen together.

    ``common`` are the classes that all of them know; ``obstacles`` say why figures do not compare as they are.
    """

    runs: tuple[RunRecord, ...]
    common: tuple[str, ...]
    obstacles: tuple[str, ...]

    @property
    def continual(self) -> list[RunRecord]:
        """The runs that learned step by step."""
        return [run for run in self.runs if not run.is_joint]

    @property
    def same_classes(self) -> bool:
        """Whether every run knows the same classes."""
        return all(len(run.last.classes) == len(self.common) for run in self.runs)

    def joint_for(self, run: RunRecord) -> RunRecord | None:
        """The joint run that bounds ``run``: the first one that knows the same classes."""
        known = set(run.last.classes)
        return next((other for other in self.runs if other.is_joint and set(other.last.classes) == known), None)

    def ratio(self, run: RunRecord) -> float | None:
        """All-mIoU of ``run`` as a share of joint training's; None where no joint run knows the same classes."""
        joint = self.joint_for(run)
        return None if joint is None or run.is_joint else ratio_to_joint(run.last, joint.last)


def compare(runs: Sequence[RunRecord]) -> Comparison:
    """What ``runs`` have in common, and what differs."""
    shared = set.intersection(*(set(run.last.classes) for run in runs))
    common = tuple(name for name in runs[0].last.classes if name in shared)
    found = [*_class_obstacles(runs, shared), *_data_obstacles(runs, common), *_stream_obstacles(runs)]
    if found:
        found.append("So the figures do not compare as they are, and no run is marked as the best.")
    return Comparison(tuple(runs), common, tuple(found))


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


def _stream_obstacles(runs: Sequence[RunRecord]) -> list[str]:
    if len({_steps_asked_for(run.config) for run in runs}) < 2:
        return []
    return ["The runs learn in different steps or in another order, so that “old” and “new” are not the same classes."]


def _steps_asked_for(config: RunConfig[Method]) -> tuple[object, ...]:
    """What decides which classes, or domains, arrive when."""
    stream = config.stream
    folders = tuple(Path(folder).name for folder in config.data.folders)
    return (stream.of, stream.steps or (stream.protocol, stream.order, stream.order_seed), folders)


# --- the table of figures ---------------------------------------------------------------------------------------------


def figures(comparison: Comparison) -> list[Column]:
    """The figures after each run's last step, those that no run has left out."""
    kinds: list[tuple[str, Figure, str]] = [
        ("all", lambda run: run.last.miou["all"], "mean IoU of every class learned so far, background included"),
        ("old", lambda run: run.last.miou["old"], "mean IoU of the classes of step 0, background included"),
        ("old kept", lambda run: run.kept, "old as a share of what it was after step 0"),
        (
            "old, no background",
            lambda run: run.last.miou["old_without_background"],
            "the same mean without the background, which is easy and hides what is lost",
        ),
        ("new", lambda run: run.last.miou["new"], "mean IoU of the classes of all later steps"),
        ("hIoU", lambda run: run.last.miou["hiou"], "harmonic mean of old and new: high only if both are"),
        ("avg", lambda run: run.last.miou["avg"], "mean of “all” over the steps so far"),
        (
            "backward transfer",
            lambda run: backward_transfer(run.history),
            "mean change of a class's IoU since it was learned, background aside, in points; below 0 is forgetting",
        ),
        ("of joint", comparison.ratio, "“all” as a share of what training on everything at once reaches"),
        ("in common", lambda run: _common_mean(comparison, run), "mean IoU of the classes that all runs know"),
    ]
    columns = [_column(comparison, *kind) for kind in kinds]
    return [column for column in columns if any(text != NOTHING for text in column.texts)]


def _common_mean(comparison: Comparison, run: RunRecord) -> float | None:
    if comparison.same_classes or len(comparison.common) < 2:
        return None
    return mean(run.last.iou[name] for name in comparison.common)


def _column(comparison: Comparison, title: str, figure: Figure, meaning: str) -> Column:
    sign = "+" if title == "backward transfer" else ""
    values = [figure(run) for run in comparison.runs]
    rivals = [value for run, value in zip(comparison.runs, values, strict=True) if not run.is_joint]
    known = [value for value in rivals if value is not None]
    best = None
    if len(known) > 1 and not comparison.obstacles:
        best = percent(max(known), sign)  # equal as shown is equally good
    texts = [percent(value, sign) for value in values]
    marks = [text == best and not run.is_joint for run, text in zip(comparison.runs, texts, strict=True)]
    return Column(title, meaning, tuple(texts), tuple(marks))


# --- in plain words ---------------------------------------------------------------------------------------------------


def card(comparison: Comparison, run: RunRecord) -> Card:
    """A run in three numbers and a few sentences."""
    miou = run.last.miou
    old = ("old", percent(miou["old"]), "mIoU of step 0's classes")
    if run.kept is not None:
        old = ("old kept", f"{percent(run.kept)}{SPACE}%", f"mIoU {_change(run, 'old')}")
    new = ("new", percent(miou["new"]), "mIoU of later steps' classes")
    everything = ("all", percent(miou["all"]), "mIoU of all classes")
    sentences = [learning(run), *progress(run), *keeping(run), *bound(comparison, run)]
    return Card((old, new, everything), tuple(sentences))


def _change(run: RunRecord, figure: str) -> str:
    return f"{percent(run.first.miou[figure])} → {percent(run.last.miou[figure])}".replace(" ", SPACE)


def learning(run: RunRecord) -> str:
    """What was learned, in how many steps."""
    groups = run.learned()
    everything = [name for group in groups for name in group]
    classes = count(len(everything), "class", "classes")
    if run.is_joint:
        return f"Learned {classes} at once: {names(everything)}. Old and new are those of its protocol."
    if run.domains:
        found = "; then from ".join(names(group) for group in run.domains[: len(groups)])
        return f"Learned {classes} from {found}."
    if len(groups) == 1:
        return f"Learned {classes} in step 0: {names(everything)}."
    return f"Learned {classes} in {count(len(groups), 'step')}: {_step_by_step(*groups)}."


def _step_by_step(first: tuple[str, ...], *later: tuple[str, ...]) -> str:
    """Which classes each step learned, or how many where they are many."""
    if len(first) + sum(map(len, later)) <= MOST_NAMED:
        return f"first {names(first)}; then {'; '.join(names(group) for group in later)}"
    sizes = sorted({len(group) for group in later})
    each = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"{len(first)} first, then {each} a step"


def progress(run: RunRecord) -> list[str]:
    """A sentence on a run that is not finished."""
    if run.is_finished:
        return []
    done = f"{len(run.history)} of {run.num_steps} steps" if run.num_steps else count(len(run.history), "step")
    return [f"Not finished: {done} done so far, which is where the figures stop."]


def keeping(run: RunRecord) -> list[str]:
    """What was kept of the old classes, and what the new ones reach."""
    if run.kept is None:
        return []
    if run.domains:
        return [f"mIoU is {percent(run.kept)}{SPACE}% of what it was after step 0 ({_change(run, 'all')})."]
    text = f"Of the old classes' mIoU {percent(run.kept)}{SPACE}% was kept ({_change(run, 'old')}"
    if run.first.miou["old_without_background"] is not None:
        text += f"; without the background {_change(run, 'old_without_background')}"
    return [f"{text}). The new classes reach {percent(run.last.miou['new'])}."]


def bound(comparison: Comparison, run: RunRecord) -> list[str]:
    """How near a run comes to joint training."""
    ratio, joint = comparison.ratio(run), comparison.joint_for(run)
    if ratio is None or joint is None:
        return []
    reached, most = percent(run.last.miou["all"]), percent(joint.last.miou["all"])
    return [f"Over all classes it reaches {reached}, which is {percent(ratio)}{SPACE}% of joint training's {most}."]


def verdict(comparison: Comparison) -> list[str]:
    """Sentences that set the runs side by side; none for a single one, or where their figures do not compare."""
    runs = comparison.continual
    if len(runs) < 2 or comparison.obstacles:
        return []
    sentences = [
        _ranking(f"{{}} keeps {{}}{SPACE}% of the old classes' mIoU", f"{{}} {{}}{SPACE}%", runs, lambda run: run.kept),
        _ranking("On the new classes {} reaches {} mIoU", "{} {}", runs, lambda run: run.last.miou["new"]),
        _ranking("Over all classes {} reaches {} mIoU", "{} {}", runs, lambda run: run.last.miou["all"]),
        _ranking(
            f"{{}} comes to {{}}{SPACE}% of joint training on the same classes",
            f"{{}} to {{}}{SPACE}%",
            runs,
            comparison.ratio,
        ),
    ]
    chance = "Each is one run with one seed, so small differences may be chance."
    return [*(sentence for sentence in sentences if sentence), chance]


def _ranking(first: str, others: str, runs: Sequence[RunRecord], figure: Figure) -> str:
    """A sentence with the runs' figures, highest first, each in a frame for name and number; empty if one has none."""
    found = [(value, run.name) for run in runs if (value := figure(run)) is not None]
    if len(found) < len(runs):
        return ""
    ranked = sorted(found, key=lambda pair: -pair[0])
    left_out = ""
    if len(ranked) > MOST_COMPARED:
        left_out = f" (the highest and the lowest of {len(ranked)} runs)"
        ranked = [ranked[0], ranked[-1]]
    frames = [first, *[others] * (len(ranked) - 1)]
    parts = [frame.format(shown(name, 40), percent(value)) for frame, (value, name) in zip(frames, ranked, strict=True)]
    return f"{', '.join(parts)}{left_out}."
