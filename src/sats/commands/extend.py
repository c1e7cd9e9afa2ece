"""``sats extend``: new classes for a model that somebody trained."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Generic, cast, get_args

import tyro

from sats import api
from sats.commands.train import go_on, help_for_all, take
from sats.config import MethodT_co, Names, RunConfig
from sats.engine import launch
from sats.methods import Method, method_name
from sats.progress import LOADING, waiting
from sats.recipes import extend as recipe
from sats.types import HasBackground
from sats.words import names, verbatim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sats.engine.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class ExtendArguments(Generic[MethodT_co]):
    """What ``sats extend`` takes beside the model and the method."""

    run: Annotated[RunConfig[MethodT_co], tyro.conf.arg(name="")]
    """The settings."""
    out: str = ""
    """The folder of the extended model; must be new."""
    tracker: Names = ()
    """What follows the run: tensorboard, mlflow, wandb; see docs/tracking.md."""
    old_data: str = ""
    """A folder of images and masks to measure the old classes on. Empty: they are compared with the old model's answers
    on the new images."""
    merge: bool = False
    """Where the data labels one of the old classes, learn from that, too."""
    old_background: HasBackground = "auto"
    """Whether the model's own class 0 is a background; "auto" goes by its name."""


def main(words: Sequence[str]) -> None:
    """Run the command: look at the model, plan, write the run's folder, then train."""
    if not launch.is_main():  # the main process reads the flags, and says which folder it is
        api.run(None)
        return
    with help_for_all():
        folder = begin(list(words))
    go_on(folder)


def begin(words: list[str]) -> RunFolder:
    """The folder of the extension that ``words`` ask for; what was found out about the model is printed."""
    method = take(words, "--method") or "sats"
    if words and words[0] in ("-h", "--help"):
        parse(words, recipe(method))
    if not words or words[0].startswith("-"):
        raise ValueError("Name the model first: sats extend MODEL --data DIR --out NEW.")
    background = old_background(take(words, "--old-background"))
    with waiting(LOADING):
        from sats.engine.extension import defaults, look, plan, what_is_measured_on
    origin = look(words.pop(0), background)
    base = defaults(origin, method)
    arguments = parse(words, base)
    if not arguments.out:
        raise ValueError("Where to? Name a new folder with --out NEW.")
    check_flags(arguments.run, base)
    config = plan(origin, one_rate(arguments.run, base), arguments.old_data, arguments.merge)
    notes = (*origin.notes, *what_is_measured_on(config))  # complains about data before there is a folder
    folder = api.start_extension(config, arguments.out, arguments.tracker)
    old, new = config.stream.steps
    print(f"{origin.name} knows {len(old)} classes; it learns {len(new)}: {names(new)}.")
    for note in notes:
        print(verbatim(note))
    return folder


def check_flags(config: RunConfig[Method], base: RunConfig[Method]) -> None:
    """ValueError for flags of ``sats train`` that say what here the model and the data say."""
    for name in ("stream", "model"):
        if getattr(config, name) != getattr(base, name):
            raise ValueError(f"MODEL and --data say which classes and which network: leave out what --{name}.* says.")
    if config.data.folders:
        raise ValueError("A model is extended by one folder, --data DIR: leave out --step.")
    if config.optim.factors != base.optim.factors:
        raise ValueError("The only step that is trained is the later one: say --optim.factors-later.* instead.")
    measured = {f"--evaluation.{name}": attrgetter(f"evaluation.{name}") for name in ("future", "background")}
    for flag, value in {**measured, "--data.void": attrgetter("data.void")}.items():
        if value(config) != value(base):
            raise ValueError(f"Pixels without a label may be of any old class here: leave out {flag}.")


def one_rate(config: RunConfig[Method], base: RunConfig[Method]) -> RunConfig[Method]:
    """``config`` with what --lr says for the only step that is trained, unless --lr-later says something."""
    optim = config.optim
    if optim.lr == base.optim.lr or optim.lr_later != base.optim.lr_later:
        return config
    return dataclasses.replace(config, optim=dataclasses.replace(optim, lr_later=optim.lr))


def old_background(word: str | None) -> HasBackground:
    """What was said about the model's class 0."""
    if word not in (None, *get_args(HasBackground)):
        raise ValueError(f"--old-background is one of {', '.join(get_args(HasBackground))}, not {word!r}.")
    return cast("HasBackground", word or "auto")


def parse(words: Sequence[str], base: RunConfig[Method]) -> ExtendArguments[Method]:
    """The arguments, with ``base`` for what they do not say."""
    kind = type(base.method)
    summary, _, _ = (inspect.getdoc(kind) or "").partition("\n")
    return tyro.cli(
        ExtendArguments[kind],  # type: ignore[valid-type]  # the method's own class, known only now
        args=words,
        default=ExtendArguments(run=base),
        prog=f"sats extend MODEL --method {method_name(base.method)}",
        description=f"Add the classes of a folder to a trained model.\n\n{summary}\n\n"
        "MODEL is a run, a folder that transformers saved, or a hub name.\n\n"
        "MODEL and data decide classes and network: flags that say these are refused.\n\n"
        "Rate and passes (--lr, --epochs) are those of the one step that is trained.\n\n"
        "--method NAME chooses another method.",
    )
