"""Puts a report together and writes it: one HTML file that needs nothing else."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from sats.evaluation.table import unmeasured_note
from sats.files import write_text
from sats.progress import waiting
from sats.report.classes import forgotten, heat_map
from sats.report.gather import common_parent, gather
from sats.report.plots import curve_numbers, curves, loss_chart, loss_numbers
from sats.report.summary import card, compare, figures, verdict
from sats.words import NOTHING, count, shown, verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sats.report.gather import RunRecord
    from sats.report.pictures import Gallery
    from sats.report.summary import Card, Comparison

NAME = "report.html"


@dataclasses.dataclass(frozen=True)
class Section:
    """One run on the page: its words, charts and settings; ``index`` gives it its colour."""

    index: int
    record: RunRecord
    name: str
    card: Card
    note: str
    config: str
    environment: tuple[tuple[str, str], ...]


def make_report(paths: Sequence[Path], out: Path | None = None, images: int = 4) -> Path:
    """Write a page about the runs in ``paths`` and return where: ``out``, or `default_place`.

    ``images`` test images are predicted for it, 0 for none. ValueError for what is no run, has no finished step or
    cannot be written.
    """
    if images < 0:
        raise ValueError(f"--images must not be negative, got {images}.")
    runs = gather(paths)
    target = out or default_place([run.folder.path for run in runs])
    if target.is_dir():
        raise ValueError(f"{target} is a folder: name the file to write with --out FILE.")
    page = render(runs, _gallery(runs, images))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, page)
    return target


def default_place(folders: Sequence[Path]) -> Path:
    """Where a report goes: into the run, or into the folder that holds all the runs."""
    return (folders[0] if len(folders) == 1 else common_parent(folders)) / NAME


def _gallery(runs: Sequence[RunRecord], images: int) -> Gallery | None:
    if not images:
        return None
    with waiting("loading torch"):
        from sats.report.pictures import make_gallery
    return make_gallery(runs, images)


def render(runs: Sequence[RunRecord], gallery: Gallery | None = None) -> str:
    """The page about ``runs`` as HTML; the same for the same runs, byte for byte."""
    templates = Environment(
        loader=PackageLoader("sats.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    comparison = compare(runs)
    sections = [_section(comparison, run, index) for index, run in enumerate(runs)]
    several = len(runs) > 1
    title = f"{count(len(runs), 'run')} compared" if several else sections[0].name
    return templates.get_template("report.html.j2").render(
        title=title,
        several=several,
        subtitle=subtitle(runs),
        sections=sections,
        continual=[section for section in sections if not section.record.is_joint],
        verdict=verdict(comparison),
        obstacles=comparison.obstacles,
        columns=figures(comparison),
        curves=curves(runs),
        curve_numbers=curve_numbers(runs),
        heat_maps=[heat_map(run) for run in runs],
        forgotten=forgotten(comparison.continual),
        losses=[(loss_chart(run), loss_numbers(run)) for run in runs],
        gallery=gallery,
        differences=differences(runs),
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


def _section(comparison: Comparison, run: RunRecord, index: int) -> Section:
    config = verbatim(run.folder.config_path.read_text(encoding="utf-8"))
    facts = tuple((shown(name), shown(_plain(value), 400)) for name, value in run.environment.items())
    note = shown(unmeasured_note(run.last), 400) if run.last.unmeasured else ""
    return Section(index, run, shown(run.name), card(comparison, run), note, config, facts)


def _plain(value: object) -> str:
    """A value of environment.json in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


# --- settings that differ ---------------------------------------------------------------------------------------------


def differences(runs: Sequence[RunRecord]) -> list[tuple[str, list[str]]]:
    """The settings in which ``runs`` differ: the dotted name, and each run's value."""
    flat = [dict(_flat(json.loads(run.folder.config_path.read_text(encoding="utf-8")))) for run in runs]
    every = dict.fromkeys(name for settings in flat for name in settings)
    rows = [(name, [settings.get(name, NOTHING) for settings in flat]) for name in every]
    return [(shown(name), [shown(value) for value in values]) for name, values in rows if len(set(values)) > 1]


def _flat(settings: dict[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            plain = isinstance(value, str) and value
            yield f"{prefix}{name}", str(value) if plain else json.dumps(value, ensure_ascii=False)
