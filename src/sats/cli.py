"""The ``sats`` command: parse, then one call each."""

from __future__ import annotations

import inspect
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic

import tyro

from sats import __version__
from sats.config import MethodT_co, RunConfig, read_config
from sats.engine.run_folder import create_run, unused_folder
from sats.errors import RunError
from sats.methods import METHODS, Method, method_name
from sats.recipes import RECIPES, recipe, with_method

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = f"""\
sats {__version__}: teach a segmentation model new classes, keep the old ones, see what was kept.

  sats train RECIPE [flags]              train every step of a class stream
  sats train --config RUN/config.json    run a run again

recipes: {", ".join(RECIPES)}
methods: {", ".join(METHODS)}

`sats train RECIPE --help` lists the flags of a command, `sats train RECIPE --method NAME --help`
those of a method. For example, on the built-in data:

  sats train scenes --method sats --protocol 5-1
"""
MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130


@dataclass(frozen=True, kw_only=True)
class TrainArguments(Generic[MethodT_co]):
    """What ``sats train`` takes beside the recipe."""

    run: Annotated[RunConfig[MethodT_co], tyro.conf.arg(name="")]
    """The settings."""
    method: tyro.conf.Suppress[str] = ""
    """Read before the flags are built, as it decides which there are."""
    out: str = ""
    """The run's folder; must be new. Default: a free name below runs/."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 2 for a mistake in what was asked, 1 for a failure of the run."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except ValueError as error:
        return _complain(error, MISTAKE)
    except (RunError, OSError) as error:
        return _complain(error, FAILURE)
    except KeyboardInterrupt:
        return _complain("Interrupted.", INTERRUPTED)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    if words[0] != "train":
        raise ValueError(f"There is no command {words[0]!r}; `sats --help` lists them.")
    return train(words[1:])


def _complain(error: object, code: int) -> int:
    """One message, no traceback, unless SATS_DEBUG asks for it."""
    if os.environ.get("SATS_DEBUG") and isinstance(error, BaseException):
        raise error
    print(f"sats: {error}", file=sys.stderr)
    return code


def train(words: list[str]) -> int:
    """``sats train``: parse the settings, create the run's folder, then load torch and train."""
    arguments = parse_train(words)
    config = arguments.run
    name = f"{config.recipe}-{config.stream.protocol or 'steps'}-{method_name(config.method)}-seed{config.seed}"
    path = Path(arguments.out).expanduser() if arguments.out else unused_folder(Path("runs"), name)
    folder = create_run(path, config)
    print(f"run folder: {path}")

    from rich.console import Console

    # torch's threads spin while they wait, which on a busy machine costs ten times the work itself
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sats.engine.train import train as run
    from sats.evaluation.table import class_table, figure_table, unmeasured_note

    try:
        scores = run(config, folder)
    except ValueError:  # a mistake in the settings or the data
        folder.discard_unless_begun()
        raise
    console = Console()
    console.print(class_table(scores), figure_table(scores))
    print(unmeasured_note(scores[-1]), end="")
    print(f"scores: {folder.step(scores[-1].step) / 'scores.json'}")
    return 0


def parse_train(words: list[str]) -> TrainArguments[Method]:
    """The settings that ``words`` ask for: a recipe or a stored configuration, changed by flags."""
    rest = list(words)
    stored = _take(rest, "--config")
    name = _take(rest, "--method")
    base = _base_config(rest, stored, name)
    kind = type(base.method)
    summary, _, _ = (inspect.getdoc(kind) or "").partition("\n")
    return tyro.cli(
        TrainArguments[kind],  # type: ignore[valid-type]  # the method's own class, known only now
        args=rest,
        default=TrainArguments(run=base),
        prog=f"sats train {base.recipe} --method {method_name(base.method)}",
        description=f"{summary}\n\nOther methods: {', '.join(METHODS)}.",
    )


def _base_config(rest: list[str], stored: str | None, method: str | None) -> RunConfig[Method]:
    """The recipe named first in ``rest``, or the stored configuration, with the method asked for."""
    if stored is not None:
        config = read_config(Path(stored).expanduser())
        return config if method in (None, method_name(config.method)) else with_method(config, str(method))
    if rest and not rest[0].startswith("-"):
        return recipe(rest.pop(0), method or "sats")
    if rest and rest[0] in ("-h", "--help"):
        return recipe("scenes", method or "sats")
    raise ValueError(f"Name a recipe first: sats train {'|'.join(RECIPES)}, or give --config RUN/config.json.")


def _take(words: list[str], flag: str) -> str | None:
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
