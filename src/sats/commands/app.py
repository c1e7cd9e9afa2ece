"""``sats app``: a page in the browser, to see what models see and to teach them new classes."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sats.engine import runtime
from sats.files import at_home
from sats.progress import LOADING, waiting

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class AppArguments:
    """Serve a page: what models see in a picture, step by step; a new class."""

    models: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(metavar="RUN|MODEL ...", help_behavior_hint=""),
    ]
    """Runs, folders of runs, steps of one, or model folders."""
    work: str = ""
    """The folder where images of new classes and the new models are kept. Default: one that is removed at the end,
    unless a model was made in it."""
    host: str = "127.0.0.1"
    """The address to serve at: with this one, only this machine. With 0.0.0.0 whoever reaches this machine may use the
    page: there is no password."""
    port: int = 0
    """The port. Default: the first free one from 7860."""


def main(words: Sequence[str]) -> None:
    """Run the command: serve the page until Ctrl-C."""
    arguments = tyro.cli(AppArguments, args=words, prog="sats app")
    if find_spec("gradio") is None:
        raise ValueError("The page needs one more package: pip install gradio")
    from sats.app.launching import Place, serving, silence, working_folder

    silence()
    runtime.prepare()
    with waiting(LOADING):
        from sats.app.models import models_in
    models = models_in(arguments.models)
    place = Place(arguments.host, arguments.port)
    named = at_home(arguments.work).resolve() if arguments.work else None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it, too, is to clean up
    with working_folder(named) as work:
        try:
            with serving(models, place, work) as address:
                everybody = "" if place.is_local else " Whoever reaches this machine can use it."
                print(f"The page is at {address} until Ctrl-C.{everybody}", flush=True)
                threading.Event().wait()
        except KeyboardInterrupt:
            pass
    if work.is_dir():
        print(f"What was made is in {work}: `sats app ... --work {work}` goes on with it.")
