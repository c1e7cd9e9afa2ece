"""How far an extension is, and what came of it: read from its folder, so that whoever opens the page sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sats.app.text import rendered
from sats.bench.pace import progress_of
from sats.evaluation.table import kept_rows
from sats.report.gather import read_losses
from sats.words import duration, percent, shown

if TYPE_CHECKING:
    from sats.app.extending import Extension, Extensions
    from sats.engine.run_folder import RunFolder
    from sats.evaluation.scores import Scores

State = Literal["none", "running", "interrupted", "failed", "finished"]


@dataclass(frozen=True)
class Status:
    """The ``state`` of the last extension, and what the page says of it; whether its run ``can_go_on``."""

    state: State
    html: str
    can_go_on: bool = False


def status_of(extensions: Extensions) -> Status:
    """How far the last extension is."""
    extension = extensions.last()
    if extension is None:
        return Status("none", "")
    try:
        state = _state(extension, extensions.is_running())
        parts = _finished(extension) if state == "finished" else _unfinished(extension, state)
    except ValueError as error:  # somebody changed its files
        state, parts = "failed", {"title": f"Extension {extension.number}", "lines": [], "fault": str(error)}
    can_go_on = state in ("interrupted", "failed") and extension.has_run
    return Status(state, rendered("status", state=state, **parts), can_go_on)


def _state(extension: Extension, is_running: bool) -> State:
    if is_running:
        return "running"
    if extension.is_finished:
        return "finished"
    return "failed" if extension.fault or not extension.has_run else "interrupted"


def _unfinished(extension: Extension, state: State) -> dict[str, object]:
    share, lines = _progress(extension.run) if extension.has_run else (0.0, [])
    title = extension.model().title if extension.has_run else f"extension {extension.number}"
    return {"title": title, "share": share, "lines": lines, "fault": extension.fault if state == "failed" else ""}


def _progress(run: RunFolder) -> tuple[float, list[str]]:
    """The share of the training that is done, and what is known of it."""
    progress, losses = progress_of(run), read_losses(run)
    if progress is None or not losses:
        return 0.0, ["The model and the images are being read."]
    share = progress.done / progress.total if progress.total else 1.0
    if share >= 1:
        return 1.0, ["All images are learned from; the new model is being measured."]
    epochs, last = run.config().train.epochs_of(progress.step), losses[-1]
    lines = [
        f"Pass {min(epochs, 1 + int(share * epochs))} of {epochs} over the images",
        f"loss {sum(last.terms.values()):.3f}",
    ]
    if last.speed:
        lines.append(f"about {duration((progress.total - progress.done) / last.speed)} left")
    return share, [", ".join(lines)]


def _finished(extension: Extension) -> dict[str, object]:
    before, after = extension.run.scores()
    gained = [(shown(name), percent(after.iou[name])) for name in after.classes[len(before.classes) :]]
    return {
        "title": extension.model().title,
        "gained": gained,
        "kept": _kept(before, after),
        "where": str(extension.out),
    }


def _kept(before: Scores, after: Scores) -> list[tuple[str, str, str, str]]:
    rows = kept_rows(before, after)
    return [(shown(name), percent(old), percent(new), percent(new - old, "+")) for name, old, new in rows]
