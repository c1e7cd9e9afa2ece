"""``sats completion``: a script that lets a shell complete commands, recipes, flags, methods and trackers."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from sats.commands import COMMANDS, SHARED
from sats.commands.data import COMMANDS as OF_DATA
from sats.engine.tracking import NONE, TRACKERS
from sats.methods import METHODS
from sats.recipes import RECIPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Words = Mapping[str, Sequence[str]]

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9.-]*")
SAFE = re.compile(r"[\w.-]+")
"""What a word may be made of to stand in a script; methods of other people's may be called anything."""


@dataclass(frozen=True, kw_only=True)
class CompletionArguments:
    """Print a script that completes sats in a shell.

    sats completion bash > ~/.local/share/bash-completion/completions/sats

    sats completion zsh > _sats, in a folder of $fpath

    sats completion fish > ~/.config/fish/completions/sats.fish
    """

    shell: Annotated[tyro.conf.Positional[Literal["bash", "zsh", "fish"]], tyro.conf.arg(metavar="bash|zsh|fish")]
    """Which shell."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    shell = tyro.cli(CompletionArguments, args=words, prog="sats completion").shell
    print({"bash": bash, "zsh": zsh, "fish": fish}[shell](places(), values()), end="")


def places() -> dict[str, list[str]]:
    """What may come after each command: after "" the commands, after "data check" its flags, and so on."""
    found = {"": list(COMMANDS)}
    for name, command in COMMANDS.items():
        if name == "data":
            found |= {name: list(OF_DATA)} | {f"data {inner}": flags(*OF_DATA[inner]) for inner in OF_DATA}
        elif name == "train":
            found[name] = [*RECIPES, *flags(*command, "scenes")]
        else:
            found[name] = flags(*command)
    for name in SHARED:
        found[name] = [*found[name], "--processes"]
    return {place: [word for word in words if SAFE.fullmatch(word)] for place, words in found.items()}


def values() -> dict[str, list[str]]:
    """What may come after some flags."""
    found = {"--method": sorted(METHODS), "--tracker": [*TRACKERS, NONE]}
    return {flag: [word for word in words if SAFE.fullmatch(word)] for flag, words in found.items()}


def flags(module: str, function: str, *words: str) -> list[str]:
    """The flags in the help of a command."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        getattr(import_module(module), function)([*words, "--help"])
    return sorted(set(FLAG.findall(said.getvalue())))


BASH = """\
# Completes sats in bash; written by `sats completion bash`.
_sats() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} place=${{COMP_WORDS[1]}} words=
    ((COMP_CWORD == 1)) && place=
    [[ $place == data ]] && ((COMP_CWORD > 2)) && place="data ${{COMP_WORDS[2]}}"
    case $before in
{values}
        *)
            case $place in
{places}
            esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _sats sats
"""


def bash(places: Words, values: Words) -> str:
    """The script for bash; where no word fits, files do."""
    return BASH.format(
        values="\n".join(f'        {flag}) words="{" ".join(words)}" ;;' for flag, words in values.items()),
        places="\n".join(f'                "{place}") words="{" ".join(words)}" ;;' for place, words in places.items()),
    )


ZSH = """\
#compdef sats
# Completes sats in zsh; written by `sats completion zsh`.
_sats() {{
    local place=${{words[2]}}
    ((CURRENT == 2)) && place=
    [[ $place == data ]] && ((CURRENT > 3)) && place="data ${{words[3]}}"
    case ${{words[CURRENT-1]}} in
{values}
    esac
    case $place in
{places}
    esac
    [[ -n $place ]] && _files
}}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _sats "$@"; else compdef _sats sats; fi
"""


def zsh(places: Words, values: Words) -> str:
    """The script for zsh, for a folder of $fpath or to be sourced."""
    return ZSH.format(
        values="\n".join(f"        {flag}) compadd -- {' '.join(words)}; return ;;" for flag, words in values.items()),
        places="\n".join(f'        "{place}") compadd -- {" ".join(words)} ;;' for place, words in places.items()),
    )


FISH = """\
# Completes sats in fish; written by `sats completion fish`.
function __sats_place
    set -l words (commandline -opc)
    test (count $words) -gt 1; or return
    test $words[2] = data -a (count $words) -gt 2; and echo "data $words[3]"; or echo $words[2]
end
"""


def fish(places: Words, values: Words) -> str:
    """The script for fish, which completes files by itself."""
    lines = []
    for place, words in places.items():
        here = f"test (__sats_place; or echo)_ = '{place}_'"
        names = " ".join(word for word in words if not word.startswith("-"))
        if names:
            files = "" if place not in ("", "data") else "-f "  # where no file may stand
            lines.append(f'complete -c sats -n "{here}" {files}-a "{names}"')
        for flag in (word for word in words if word.startswith("--")):
            known = f' -x -a "{" ".join(values[flag])}"' if flag in values else ""
            lines.append(f'complete -c sats -n "{here}" -l {flag.removeprefix("--")}{known}')
    return FISH + "\n".join(lines) + "\n"
