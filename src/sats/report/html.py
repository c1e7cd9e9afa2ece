"""Puts a report together and writes it: one HTML file that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sats.evaluation.table import agreement_note, unmeasured_note
from sats.progress import LOADING, waiting
from sats.report.classes import class_differences, forgotten, heat_map
from sats.report.comparison import all_classes, class_colours, compare
from sats.report.cost import costs
from sats.report.figures import figures
from sats.report.flows import KINDS, background_shift, flows
from sats.report.gather import gather
from sats.report.output import place_for, put
from sats.report.page import page_of
from sats.report.plots import curve_numbers, curves, loss_chart, loss_numbers, shift_chart, shift_numbers
from sats.report.settings import differences, record
from sats.report.summary import card, verdict
from sats.words import count, names, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.report.comparison import Comparison
    from sats.report.flows import StepFlow
    from sats.report.gallery import Gallery
    from sats.report.gather import RunRecord
    from sats.report.groups import Group
    from sats.report.summary import Card

NAME = "report.html"
IMAGES = 4
"""Test images that a page shows unless somebody says how many."""


@dataclass(frozen=True)
class Section:
    """One experiment on the page: its words; ``index`` gives it its colour."""

    index: int
    group: Group
    name: str
    method: str
    is_finished: bool
    card: Card
    note: str


def make_report(paths: Sequence[Path], out: Path | None = None, images: int = IMAGES) -> Path:
    """Write a page about the runs in ``paths`` and return where: ``out``, or the runs' folder.

    ``images`` test images are predicted for it, 0 for none. ValueError for what is no run, has no finished step or
    cannot be written.
    """
    if images < 0:
        raise ValueError(f"--images must not be negative, got {images}.")
    runs = gather(paths)
    target = place_for(runs, out, NAME)
    return put(target, render(runs, _gallery(runs, images)))


def _gallery(runs: Sequence[RunRecord], images: int) -> Gallery | None:
    """Pictures of the run, or of the first run of each experiment."""
    if not images:
        return None
    with waiting(LOADING):
        from sats.report.gallery import make_gallery
    return make_gallery([group.first for group in compare(runs).groups], images, all_classes(runs))


def render(runs: Sequence[RunRecord], gallery: Gallery | None = None) -> str:
    """The page about ``runs`` as HTML; the same for the same runs, byte for byte."""
    comparison = compare(runs)
    of_one = _of_one(runs[0]) if len(runs) == 1 else dict.fromkeys(("flows", "shift", "costs", "remarks"))
    parts = {
        **_words(comparison),
        **_numbers(comparison),
        **of_one,
        "gallery": gallery,
        "differences": differences(runs),
        "records": [record(run) for run in runs],
    }
    there = {"forgetting": comparison.continual, "flows": parts["flows"] or parts["shift"], "pictures": gallery}
    return page_of(parts, absent=[name for name, part in there.items() if not part])


def _words(comparison: Comparison) -> dict[str, object]:
    """What is said of the runs, and what kind of page it is."""
    runs, groups = comparison.runs, comparison.groups
    sections = [_section(comparison, group) for group in groups]
    return {
        "title": f"{count(len(runs), 'run')} compared" if len(runs) > 1 else sections[0].name,
        "subtitle": subtitle(runs),
        "several": len(groups) > 1,
        "repeats": any(len(group.runs) > 1 for group in groups),
        "joint_among": len(comparison.continual) < len(groups),
        "sections": sections,
        "continual": [section for section in sections if not section.group.is_joint],
        "verdict": verdict(comparison),
        "obstacles": comparison.obstacles,
    }


def _numbers(comparison: Comparison) -> dict[str, object]:
    """The tables and charts that every report has."""
    groups, colours = comparison.groups, class_colours(comparison.runs)
    return {
        "columns": figures(comparison),
        "curves": curves(groups),
        "curve_numbers": curve_numbers(groups),
        "heat_maps": [heat_map(group, colours) for group in groups],
        "class_differences": class_differences(groups, colours),
        "forgotten": forgotten(comparison.continual, colours),
        "losses": [(loss_chart(group.first), loss_numbers(group.first)) for group in groups],
        "colours": colours,
    }


def _of_one(run: RunRecord) -> dict[str, object]:
    """What is told of one run only: what became of pixels from step to step, and the time it took."""
    found, shifts = flows(run), background_shift(run)
    return {
        "flows": found,
        "kinds": [(kind, name) for kind, name in enumerate(KINDS) if _occurs(kind, found)],
        "shift": shift_chart(shifts),
        "shift_numbers": shift_numbers(shifts),
        "costs": costs(run),
        "remarks": [
            f"learns {names(brought)}" if brought else "no new class" for brought in run.domains or run.learned()
        ],
    }


def _occurs(kind: int, found: Sequence[StepFlow]) -> bool:
    return any(part.kind == kind and part.share for flow in found for part in (*flow.before, *flow.after))


def subtitle(runs: Sequence[RunRecord]) -> str:
    """The data, protocol and setting of each run, once where they are the same."""
    parts = []
    for run in runs:
        data, stream = run.config.data, run.config.stream
        source = "scenes" if data.source == "scenes" else shown(Path(data.root).name or data.root)
        source = ", then ".join([source, *(shown(Path(folder).name) for folder in data.folders)])
        parts.append(f"{source}, {shown(stream.words)}")
    return " · ".join(dict.fromkeys(parts))


def _section(comparison: Comparison, group: Group) -> Section:
    run = group.first
    notes = filter(None, (agreement_note(run.config), unmeasured_note(run.last)))
    note = " ".join(shown(note, 400) for note in notes)
    words = card(comparison, group)
    return Section(group.index, group, shown(group.name), run.method, run.is_finished, words, note)
