"""Puts a report together and writes it: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from sats.evaluation.table import unmeasured_note
from sats.progress import waiting
from sats.report.classes import class_differences, forgotten, heat_map
from sats.report.comparison import all_classes, class_colours, compare
from sats.report.cost import costs
from sats.report.figures import figures
from sats.report.flows import KINDS, background_shift, flows
from sats.report.gather import gather
from sats.report.groups import flat_settings
from sats.report.output import place_for, put
from sats.report.plots import curve_numbers, curves, loss_chart, loss_numbers, shift_chart, shift_numbers
from sats.report.summary import card, verdict
from sats.words import NOTHING, count, names, shown, verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sats.report.comparison import Comparison
    from sats.report.flows import StepFlow
    from sats.report.gallery import Gallery
    from sats.report.gather import RunRecord
    from sats.report.groups import Group
    from sats.report.summary import Card

NAME = "report.html"
PARTS = {
    "figures": "Figures",
    "curves": "Step by step",
    "classes": "Every class",
    "forgetting": "Forgetting",
    "flows": "What became of the old",
    "pictures": "Pictures",
    "losses": "Training",
    "settings": "Settings",
}


@dataclasses.dataclass(frozen=True)
class Section:
    """One experiment on the page: its words; ``index`` gives it its colour."""

    index: int
    group: Group
    name: str
    method: str
    is_finished: bool
    card: Card
    note: str


@dataclasses.dataclass(frozen=True)
class Record:
    """One run's settings as text."""

    name: str
    config: str
    environment: tuple[tuple[str, str], ...]


def make_report(paths: Sequence[Path], out: Path | None = None, images: int = 4) -> Path:
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
    with waiting("loading torch"):
        from sats.report.gallery import make_gallery
    return make_gallery([group.first for group in compare(runs).groups], images, all_classes(runs))


def render(runs: Sequence[RunRecord], gallery: Gallery | None = None) -> str:
    """The page about ``runs`` as HTML; the same for the same runs, byte for byte."""
    comparison = compare(runs)
    groups = comparison.groups
    sections = [_section(comparison, group) for group in groups]
    continual = [section for section in sections if not section.group.is_joint]
    colours = class_colours(runs)
    several = len(groups) > 1
    parts = {
        "title": f"{count(len(runs), 'run')} compared" if len(runs) > 1 else sections[0].name,
        "several": several,
        "repeats": any(len(group.runs) > 1 for group in groups),
        "joint_among": any(group.is_joint for group in groups),
        "subtitle": subtitle(runs),
        "sections": sections,
        "continual": continual,
        "verdict": verdict(comparison),
        "obstacles": comparison.obstacles,
        "columns": figures(comparison),
        "curves": curves(groups),
        "curve_numbers": curve_numbers(groups),
        "heat_maps": [heat_map(group, colours) for group in groups],
        "class_differences": class_differences(groups, colours),
        "forgotten": forgotten(comparison.continual, colours),
        "colours": colours,
        "losses": [(loss_chart(group.first), loss_numbers(group.first)) for group in groups],
        "gallery": gallery,
        "differences": differences(runs),
        "records": [_record(run) for run in runs],
        **(_of_one(runs[0]) if len(runs) == 1 else dict.fromkeys(("flows", "shift", "costs", "remarks"))),
    }
    return _template_text(parts)


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


def _template_text(parts: dict[str, object]) -> str:
    """The page with ``parts`` in it, which are escaped; the one script that may run is the page's own."""
    templates = Environment(
        loader=PackageLoader("sats.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["shown"] = shown
    script = files("sats.report").joinpath("templates/script.js").read_text(encoding="utf-8")
    there = {name: parts.get(name, True) for name in PARTS}
    there |= {"forgetting": parts["continual"], "flows": parts["flows"] or parts["shift"], "curves": True}
    there |= {"pictures": parts["gallery"] is not None, "losses": True}
    return templates.get_template("report.html.j2").render(
        parts,
        script=script,
        script_sum=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        parts_there=[(name, title) for name, title in PARTS.items() if there[name]],
    )


def subtitle(runs: Sequence[RunRecord]) -> str:
    """The data, protocol and setting of each run, once where they are the same."""
    parts = []
    for run in runs:
        data, stream = run.config.data, run.config.stream
        source = "scenes" if data.source == "scenes" else shown(data.root)
        source = ", then ".join([source, *map(shown, data.folders)])
        parts.append(f"{source}, {shown(stream.words)}")
    return " · ".join(dict.fromkeys(parts))


def _section(comparison: Comparison, group: Group) -> Section:
    run = group.first
    note = shown(unmeasured_note(run.last), 400) if run.last.unmeasured else ""
    words = card(comparison, group)
    return Section(group.index, group, shown(group.name), run.method, run.is_finished, words, note)


def _record(run: RunRecord) -> Record:
    config = verbatim(run.folder.config_path.read_text(encoding="utf-8"))
    facts = tuple((shown(name), shown(_plain(value), 400)) for name, value in run.environment.items())
    return Record(shown(run.name), config, facts)


def _plain(value: object) -> str:
    """A value of environment.json in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def differences(runs: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """The settings in which ``runs`` differ: the dotted name, and each run's value."""
    flat = [{name: _setting(value) for name, value in flat_settings(run).items()} for run in runs]
    every = dict.fromkeys(name for settings in flat for name in settings)
    rows = [(name, [settings.get(name, NOTHING) for settings in flat]) for name in every]
    return [(shown(name), [shown(value) for value in values]) for name, values in rows if len(set(values)) > 1]


def _setting(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
