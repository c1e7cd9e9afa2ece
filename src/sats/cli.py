"""The ``sats`` command: find the command that was asked for, run it, and say what went wrong in one message."""

from __future__ import annotations

import os
import sys
import textwrap
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sats import __version__
from sats.commands import COMMANDS, SHARED
from sats.engine import launch
from sats.errors import RunError, StoppedElsewhereError, unknown
from sats.methods import METHODS
from sats.methods.own import import_own
from sats.published import WITH_MEMORY
from sats.recipes import RECIPES
from sats.words import verbatim

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def _wrapped(title: str, names: Iterable[str]) -> str:
    """``names`` behind a title, in lines for a terminal of 80 columns."""
    return textwrap.fill(f"{title}: {', '.join(names)}", width=79, subsequent_indent="  ", break_on_hyphens=False)


MISTAKE, FAILURE = 2, 1


def usage() -> str:
    """What `sats --help` says."""
    return f"""\
sats {__version__}: teach a segmentation model new classes, keep the old ones,
see what was kept.

  sats demo                                what is forgotten, what SATS keeps
  sats train RECIPE [flags]                train every step of a class stream
  sats train --config RUN/config.json      run a run again
  sats resume RUN                          go on with an interrupted run
  sats extend MODEL --data DIR --out NEW   add the classes of DIR to a model
  sats bench SUITE.json [--jobs N]         methods x orders x seeds, one table
  sats evaluate RUN|MODEL [--data DIR]     scores on a data set
  sats predict RUN|MODEL IMAGES --out DIR  class maps of an image or a folder
  sats export RUN|MODEL --out FILE         ONNX, checked under onnxruntime
  sats report RUN [RUN ...]                one HTML page: figures and pictures
  sats data check DIR [--protocol A-B]     problems, classes, steps of a folder
  sats data convert KIND ... --out DIR     from COCO, YOLO, coloured masks, ...
  sats data list|prepare|show              data sets of the field; pictures
  sats runs [DIR]                          the runs there, and how far they are
  sats app RUN|MODEL [...]                 a page: try models, add classes
  sats completion bash|zsh|fish            a script that completes by Tab

{_wrapped("recipes", [name for name in RECIPES if not name.endswith(WITH_MEMORY)])}
  (voc and ade: published settings; with -m behind: with memory)
{_wrapped("methods", sorted(METHODS))}

`sats train ... --processes N` shares a run among N processes of this machine
(one for each GPU); so do resume and extend.
`sats COMMAND --help` lists a command's flags,
`sats train RECIPE --method NAME --help` those of a method. For example, on the
built-in data:

  sats train scenes --method sats --protocol 5-5
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 2 for a mistake in what was asked, 1 for a failure of the run."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with warnings.catch_warnings():
            warnings.formatwarning = _one_line
            warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # Pillow's: refused with a message anyway
            if not launch.is_main():  # the main process has the same
                warnings.simplefilter("ignore")
            _dispatch(words)
    except ValueError as error:
        if not _is_ours(error):
            return _complain(f"{error} (This may be a fault of sats: SATS_DEBUG=1 shows where.)", FAILURE, error)
        return _complain(error, MISTAKE)
    except RunError as error:
        return _complain(error, FAILURE)
    except OSError as error:
        return _complain(_os_message(error), FAILURE, error)
    except KeyboardInterrupt as error:
        return _complain(f"Interrupted. {error}".strip(), launch.INTERRUPTED, error)
    return 0


def _dispatch(words: list[str]) -> None:
    is_shared = bool(words) and words[0] in SHARED
    if not is_shared and not launch.is_main():
        return  # the main process says it all
    if not words or words[0] in ("-h", "--help"):
        with suppress(ValueError):  # of another command, who can do without help
            import_own()
        print(usage(), end="")
    elif words[0] == "--version":
        print(__version__)
    elif words[0] in COMMANDS:
        _start(words, is_shared)
    else:
        raise ValueError(f"{unknown('command', words[0], COMMANDS)} `sats --help` explains them.")


def _start(words: list[str], is_shared: bool) -> None:
    if launch.world_size() > 1 and not is_shared:
        raise ValueError(f"`sats {words[0]}` is not for several processes: start it without torchrun.")
    bring_own_methods()
    if is_shared:
        launch.refuse_lone_process()
    if is_shared and (number := _take_processes(words)) > 1:
        launch.start_processes(words, number)
    launch.stop_with_launcher()
    module, function = COMMANDS[words[0]]
    getattr(import_module(module), function)(words[1:])


def bring_own_methods() -> None:
    """Import the user's own methods; what is wrong with them, the main process says."""
    try:
        import_own()
    except ValueError as error:
        if launch.is_main():
            raise
        raise StoppedElsewhereError(str(error)) from error


def _take_processes(words: list[str]) -> int:
    """Remove ``--processes N`` from ``words``: how many are to be started here, 1 if nobody says so."""
    flag = "--processes"
    place = next((place for place, word in enumerate(words) if word == flag or word.startswith(f"{flag}=")), None)
    if place is None:
        return 1
    _, equals, value = words[place].partition("=")
    taken = words[place : place + (1 if equals else 2)]
    number = value if equals else taken[-1]
    if not number.isdecimal() or int(number) < 1:
        raise ValueError(f"{flag} needs a number of processes, 1 or more.")
    if launch.world_size() > 1:
        raise ValueError(f"torchrun has started {launch.world_size()} processes already: leave out {flag}.")
    del words[place : place + len(taken)]
    return int(number)


def _is_ours(error: BaseException) -> bool:
    """Whether sats itself raised ``error``, so that it describes a mistake of the user's."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and Path(place.tb_frame.f_code.co_filename).is_relative_to(Path(__file__).parent)


def _complain(message: object, code: int, error: BaseException | None = None) -> int:
    """One message, no traceback, unless SATS_DEBUG asks for it; none where another process gave it."""
    cause = message if isinstance(message, BaseException) else error
    if os.environ.get("SATS_DEBUG") and cause is not None:
        raise cause
    if not isinstance(message, StoppedElsewhereError):
        notes: list[str] = getattr(message, "__notes__", [])
        print(f"sats: {verbatim(' '.join([str(message), *notes]))}", file=sys.stderr)
    return code


def _os_message(error: OSError) -> str:
    """What the system refused, on which file, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    again = "Fix that, then run the command again (an interrupted run: sats resume RUN)."
    return f"{where}{error.strerror or error}. {again}"


def _one_line(message: Warning | str, *_: object, **__: object) -> str:
    """A warning without the place in the code."""
    return f"sats: {verbatim(str(message))}\n"
