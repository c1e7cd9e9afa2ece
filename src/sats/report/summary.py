"""What the runs came to, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats.words import count, names, percent, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.evaluation.spread import Spread
    from sats.report.comparison import Comparison
    from sats.report.gather import RunRecord
    from sats.report.groups import Figure, Group

SPACE = "\N{NO-BREAK SPACE}"
MOST_COMPARED, MOST_NAMED = 5, 20
"""Experiments, and classes, that a sentence names; of more it names the best and the worst, of classes their number."""


@dataclass(frozen=True)
class Card:
    """An experiment in a few numbers (label, number, remark) and sentences."""

    numbers: tuple[tuple[str, str, str], ...]
    sentences: tuple[str, ...]


def card(comparison: Comparison, group: Group) -> Card:
    """An experiment in up to three numbers and a few sentences."""
    run = group.first
    numbers = [
        _kept_number(group),
        ("new", group.spread(lambda run: run.last.miou["new"]), "mIoU of later steps' classes"),
        ("all", group.spread(lambda run: run.last.miou["all"]), "mIoU of all classes"),
    ]
    if (len(run.history) == 1 and not run.is_joint) or run.domains:  # nothing is new, and old is all
        numbers = [_kept_number(group), numbers[-1]] if run.kept is not None else numbers[-1:]
    texts = tuple(_number(*number) for number in numbers if number[1] or not run.config.measures_agreement)
    if len(group.runs) > 1:
        return Card(texts, tuple(_repeated(group)))
    return Card(texts, (learning(run), *progress(run), *keeping(run), *bound(comparison, run)))


def _number(label: str, figure: Spread | None, remark: str) -> tuple[str, str, str]:
    """A number's label, text and remark; what it is the mean of is said in the remark."""
    text = percent(figure.mean) if figure else percent(None)
    deviation = f"±{percent(figure.deviation)}, " if figure and figure.deviation is not None else ""
    return label, f"{text}{SPACE}%" if label.endswith("kept") else text, f"{deviation}{remark}"


def _kept_number(group: Group) -> tuple[str, Spread | None, str]:
    """What was kept of the old classes; before there is a later step, what there is to keep."""
    if group.first.kept is None:
        return "old", group.spread(lambda run: run.last.miou["old"]), "mIoU of step 0's classes"
    what = "agreement" if group.first.config.measures_agreement else "mIoU"
    remark = f"{what} {_change(group.first, 'old')}" if len(group.runs) == 1 else f"of the {what} after step 0"
    return "kept" if group.first.domains else "old kept", group.spread(lambda run: run.kept), remark


def _repeated(group: Group) -> list[str]:
    """What stands for several runs in place of a story of one."""
    same = "seed" if group.has_one_order else "seed or class order"
    who = f"{count(len(group.runs), 'run')} that differ in {same}: {names(run.name for run in group.runs)}."
    return [f"Mean and standard deviation of {who}"]


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
        return f"first {names(first)}; then {'; '.join(names(group) or 'no new class' for group in later)}"
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
    """What was kept of the old classes, and what the new ones reach where there are any."""
    if run.kept is None:
        return []
    if not run.adds_classes:
        return [f"mIoU is {percent(run.kept)}{SPACE}% of what it was after step 0 ({_change(run, 'all')})."]
    whose = "agreement with the old model" if run.config.measures_agreement else "mIoU"
    text = f"Of the old classes' {whose} {percent(run.kept)}{SPACE}% was kept ({_change(run, 'old')}"
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
    """Sentences that set experiments side by side; none for a single one, or where their figures do not compare."""
    groups = comparison.continual
    if len(groups) < 2 or comparison.obstacles:
        return []
    share = f"{{}} {{}}{SPACE}%"
    of_what = "the old classes' mIoU" if any(group.first.adds_classes for group in groups) else "the mIoU after step 0"
    joint = f"{{}} comes to {{}}{SPACE}% of joint training on the same classes"
    sentences = [
        _ranking(f"{{}} keeps {{}}{SPACE}% of {of_what}", share, groups, lambda run: run.kept),
        _ranking("On the new classes {} reaches {} mIoU", "{} {}", groups, lambda run: run.last.miou["new"]),
        _ranking("Over all classes {} reaches {} mIoU", "{} {}", groups, lambda run: run.last.miou["all"]),
        _ranking(joint, f"{{}} to {{}}{SPACE}%", groups, comparison.ratio),
    ]
    return [*(sentence for sentence in sentences if sentence), _chance(groups)]


def _chance(groups: Sequence[Group]) -> str:
    if all(len(group.runs) == 1 for group in groups):
        return "Each is one run with one seed, so small differences may be chance."
    return "Means over runs that differ in seed or class order, where there are several; the table has their spread."


def _ranking(first: str, others: str, groups: Sequence[Group], figure: Figure) -> str:
    """A sentence with mean figures, highest first, each in a frame for name and number; empty if one has none."""
    found = [(value.mean, group.name) for group in groups if (value := group.spread(figure)) is not None]
    if len(found) < len(groups):
        return ""
    ranked = sorted(found, key=lambda pair: -pair[0])
    left_out = ""
    if len(ranked) > MOST_COMPARED:
        left_out = f" (the highest and the lowest of {len(ranked)})"
        ranked = [ranked[0], ranked[-1]]
    frames = [first, *[others] * (len(ranked) - 1)]
    parts = [frame.format(shown(name, 40), percent(value)) for frame, (value, name) in zip(frames, ranked, strict=True)]
    return f"{', '.join(parts)}{left_out}."
