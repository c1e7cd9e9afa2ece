"""``sats demo``: what continual learning forgets and what SATS keeps, on the built-in data in a few minutes."""

from __future__ import annotations

import dataclasses
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.table import Table

from sats import api
from sats.bench.executor import Job
from sats.bench.process import start
from sats.engine.run_folder import RunFolder, create_run, unused_folder
from sats.errors import RunError
from sats.evaluation.table import percent, show
from sats.files import at_home
from sats.recipes import recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sats.config import RunConfig
    from sats.methods import Method

METHODS = ("finetune", "sats", "joint")


@dataclass(frozen=True, kw_only=True)
class DemoArguments:
    """Fine-tuning, SATS and joint training on the built-in scenes, compared."""

    seed: int = 0
    """Decides initial weights, order of images and dropout."""
    protocol: str = "5-5"
    """A-B: step 0 learns A of the ten digits, each later step B more."""
    images: int = 2000
    """Training images; a quarter as many test images."""
    epochs: int = 14
    """Passes over the data in step 0, and of joint training."""
    epochs_later: int = 8
    """Passes over the data in every later step."""
    out: Path = Path("runs/demo")
    """Where the runs and the report go. Finished runs with the same settings are taken as they are."""


def main(words: Sequence[str]) -> None:
    """Run the command: train step 0 once, the later steps with two methods, and the upper bound."""
    arguments = tyro.cli(DemoArguments, args=words, prog="sats demo")
    # For so small a model a second thread brings a third more speed at twice the work; a second process brings all.
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is loaded
    out = at_home(arguments.out)
    joint = prepared(arguments, "joint", out)
    try:
        with trained_beside(joint):
            finetune = trained(prepared(arguments, "finetune", out))
            sats = trained(prepared(arguments, "sats", out, start_from=str(finetune.step(0))))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("The same command goes on from here.") from None
    runs = dict(zip(METHODS, (finetune, sats, joint), strict=True))
    show(comparison(runs))
    print(verdict(runs))

    from sats.report.html import make_report

    print(f"report: {make_report([run.path for run in runs.values()], out / 'report.html')}")


def settings(arguments: DemoArguments, method: str, start_from: str) -> RunConfig[Method]:
    """The scenes recipe with the demo's settings."""
    config = recipe("scenes", method)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, images=arguments.images),
        stream=dataclasses.replace(config.stream, protocol=arguments.protocol),
        train=dataclasses.replace(config.train, epochs=arguments.epochs, epochs_later=arguments.epochs_later),
        seed=arguments.seed,
        start_from=start_from,
    )


def prepared(arguments: DemoArguments, method: str, out: Path, start_from: str = "") -> RunFolder:
    """The folder of a method's run: as it is, or new where there is none or its settings were others."""
    wanted = api.absolute_paths(settings(arguments, method, start_from))
    folder = RunFolder(out / f"seed-{arguments.seed}-{method}")
    if folder.config_path.is_file() and folder.config() != wanted:
        put_aside(folder)
    if not folder.config_path.is_file():
        create_run(folder.path, wanted)
    if folder.is_finished():
        print(f"{folder.path} is finished already: taken as it is.")
    return folder


def trained(folder: RunFolder) -> RunFolder:
    """The same run, with what was left to do done."""
    if not folder.is_finished():
        print(f"--- {folder.path.name} ---")
        api.run(folder)
    return folder


@contextmanager
def trained_beside(folder: RunFolder) -> Iterator[None]:
    """Train a run in a process of its own while the context lasts, and wait for it; RunError if it fails.

    Whatever ends the context or this process early stops that process, too, after its next iteration and with a
    checkpoint.
    """
    if folder.is_finished():
        yield
        return
    print(f"--- {folder.path.name}, beside the others ---")
    output = folder.path.with_name(f"{folder.path.name}.txt")  # outside: a run that cannot begin removes its folder
    beside = start(Job(folder.path.name, folder.path, output))
    try:
        yield
    except BaseException:
        beside.stop()
        raise
    finally:
        ended = beside.ended()
    if not folder.is_finished():
        raise RunError(f"The run {folder.path} failed, and its output is in {output}: {ended.error}")


def put_aside(folder: RunFolder) -> None:
    """Rename a demo run with other settings out of the way; nothing is ever deleted."""
    old = unused_folder(folder.path.parent, f"{folder.path.name}-before")
    folder.path.rename(old)
    print(f"the demo run with other settings is now {old}")


def comparison(runs: dict[str, RunFolder]) -> Table:
    """The mIoU of every run after its last step, in percent."""
    table = Table(title="mIoU after the last step, %", title_justify="left")
    for title in ("method", "all", "old", "new", "hIoU"):
        table.add_column(title, justify="left" if title == "method" else "right")
    start = runs["finetune"].scores()[0].miou
    table.add_row("step 0, shared", percent(start["all"]), percent(start["old"]), "-", "-")
    for method, run in runs.items():
        figures = run.scores()[-1].miou
        table.add_row(method, *[percent(figures[name]) for name in ("all", "old", "new", "hiou")])
    return table


def verdict(runs: dict[str, RunFolder]) -> str:
    """What was lost and what was kept, in a sentence."""
    before = runs["finetune"].scores()[0].miou["old"]
    lost, kept = (runs[method].scores()[-1].miou["old"] for method in ("finetune", "sats"))
    return f"Of {percent(before)} on the old classes, fine-tuning keeps {percent(lost)} and SATS keeps {percent(kept)}."
