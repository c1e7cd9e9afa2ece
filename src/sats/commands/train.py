"""``sats train`` and ``sats resume``."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic

import tyro

from sats import api
from sats.commands.tables import show_extension
from sats.config import MethodT_co, Names, RunConfig, read_config
from sats.engine import launch
from sats.engine.run_folder import CONFIG, is_run
from sats.engine.skipped import show_skipped
from sats.evaluation.table import show_scores
from sats.files import at_home
from sats.methods import Method, method_name
from sats.recipes import RECIPES, recipe, with_method

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sats.engine.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class TrainArguments(Generic[MethodT_co]):
    """What ``sats train`` takes beside the recipe and the method."""

    run: Annotated[RunConfig[MethodT_co], tyro.conf.arg(name="")]
    """The settings."""
    out: str = ""
    """The run's folder; must be new. Default: a free name below runs/."""
    tracker: Names = ()
    """What follows the run: tensorboard, mlflow, wandb; see docs/tracking.md."""


@dataclass(frozen=True, kw_only=True)
class ResumeArguments:
    """Go on with an interrupted run, to the same end as if it never had been."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    tracker: Names = ()
    """What follows the run from now on; none: nothing. Default: what did before."""


def main(words: Sequence[str]) -> None:
    """Run ``sats train``: write the run's folder, then load torch and train."""
    if not launch.is_main():  # the main process reads the flags, and says which folder it is
        api.run(None)
        return
    with help_for_all():
        arguments = parse(words)
    if arguments.run.extends.checkpoint:
        raise ValueError("That is the configuration of an extension: repeat it with `sats extend`.")
    folder = api.start(arguments.run, arguments.out, arguments.tracker)
    print(f"run folder: {folder.path}", flush=True)
    asked = arguments.run
    if len(asked.data.folders) == 1 and not (folder.config().data.folders or asked.start_from):
        print("A new model learns from one folder; to go on from a run instead, stop this and add --from RUN.")
    go_on(folder)


def resume(words: Sequence[str]) -> None:
    """Run ``sats resume``."""
    if not launch.is_main():
        api.run(None)
        return
    with help_for_all():
        arguments = tyro.cli(ResumeArguments, args=words, prog="sats resume")
    folder = api.reopen(arguments.run, arguments.tracker)
    if folder.is_finished():
        print(f"{folder.path} is finished already.")
        folder.publish()
        show_result(folder)
        api.dismiss()
    else:
        go_on(folder)


@contextmanager
def help_for_all() -> Iterator[None]:
    """Where the main process only shows a help text, the others need not wait any longer."""
    try:
        yield
    except SystemExit as done:
        if not done.code:
            api.dismiss()
        raise


def go_on(folder: RunFolder) -> None:
    """Train what is left of a run and show what came of it; Ctrl-C tells how to go on."""
    try:
        api.run(folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Go on with: sats resume {folder.path}{launch.flag()}") from None
    show_result(folder)


def show_result(folder: RunFolder) -> None:
    """Print what came of a finished run."""
    show_skipped(folder.skipped(), f", listed in {folder.skipped_path()}")
    if folder.config().extends.checkpoint:
        show_extension(folder)
        return
    scores = folder.scores()
    show_scores(scores)
    print(f"scores: {folder.step(scores[-1].step) / 'scores.json'}")


def parse(words: Sequence[str]) -> TrainArguments[Method]:
    """The settings that ``words`` ask for: a recipe or a stored configuration, changed by flags.

    The method's name is read first, since it decides which flags there are.
    """
    rest = list(words)
    stored = take(rest, "--config")
    name = take(rest, "--method")
    base = _base_config(rest, stored, name)
    kind = type(base.method)
    summary, _, _ = (inspect.getdoc(kind) or "").partition("\n")
    return tyro.cli(
        TrainArguments[kind],  # type: ignore[valid-type]  # the method's own class, known only now
        args=rest,
        default=TrainArguments(run=base),
        prog=f"sats train {base.recipe} --method {method_name(base.method)}",
        description=f"{summary}\n\n--method NAME chooses another method; `sats --help` lists them.\n"
        "--config RUN/config.json takes a run's settings instead of a recipe's.",
    )


def _base_config(rest: list[str], stored: str | None, method: str | None) -> RunConfig[Method]:
    """The recipe named first in ``rest``, or the stored configuration, with the method asked for."""
    stored = stored or _config_of_earlier_run(rest)
    if stored is not None:
        config = read_config(at_home(stored))
        return config if method in (None, method_name(config.method)) else with_method(config, str(method))
    if rest and not rest[0].startswith("-"):
        return recipe(rest.pop(0), method or "sats")
    if rest and rest[0] in ("-h", "--help"):
        return recipe("scenes", method or "sats")
    raise ValueError(_nothing_to_start_from(rest))


def _nothing_to_start_from(words: Sequence[str]) -> str:
    """What to add to a command that names neither a recipe nor a run."""
    if "--step" in words:
        return "Go on from which run? Add --from RUN; or begin one: sats train folder --step DIR --step DIR."
    return f"Name a recipe first: sats train {'|'.join(RECIPES)}, or give --config RUN/config.json, or --from RUN."


def _config_of_earlier_run(rest: list[str]) -> str | None:
    """The configuration of the run that ``--from`` names, where no recipe does."""
    named = take(list(rest), "--from") if rest and rest[0].startswith("-") else None
    if named is None:
        return None
    path = at_home(named)
    if not is_run(path):
        raise ValueError(
            f"{path} is not a run to go on from: name one with --from RUN, or a recipe before --from RUN/step-0."
        )
    return str(path / CONFIG)


def take(words: list[str], flag: str) -> str | None:
    """Remove ``flag`` and its value from ``words`` and return the value; None where it is not given."""
    for place, word in enumerate(words):
        if word.startswith(f"{flag}="):
            del words[place]
            return word.removeprefix(f"{flag}=")
        if word == flag:
            if place + 1 == len(words):
                raise ValueError(f"{flag} needs a value.")
            value = words[place + 1]
            del words[place : place + 2]
            return value
    return None
