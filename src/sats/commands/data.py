"""``sats data``: finds the command that was asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sats.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "check": ("sats.commands.data_check", "main"),
    "show": ("sats.commands.data_show", "main"),
    "list": ("sats.commands.data_prepare", "show_list"),
    "prepare": ("sats.commands.data_prepare", "main"),
    "convert": ("sats.commands.data_convert", "main"),
}
USAGE = """\
sats data check DIR [--source NAME] [--protocol A-B]   problems, classes, steps
sats data show DIR [--source NAME] --out SHEET.png     pictures with their masks
sats data list                                         data sets known by name
sats data prepare NAME [--from FILE...] [--out DIR]    unpack their archives
sats data convert KIND ... --out DIR [--split NAME]    from COCO, YOLO, ..."""


def main(words: Sequence[str]) -> None:
    """Run one of the commands."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return
    if words[0] not in COMMANDS:
        raise ValueError(f"{unknown('command of sats data', words[0], COMMANDS)} `sats data --help` explains them.")
    module, function = COMMANDS[words[0]]
    getattr(import_module(module), function)(words[1:])
