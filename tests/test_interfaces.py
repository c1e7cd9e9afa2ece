"""What others build on: names, commands, flags, settings, files. Changing it is a decision, told in CHANGELOG.md.

`python tests/test_interfaces.py` writes the list anew, to be looked at and committed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sats.cli import COMMANDS, main
from sats.config import to_json
from sats.dotted import flat
from sats.methods import METHODS
from sats.recipes import RECIPES, recipe
from test_engine import run, small

LIST = Path(__file__).parent / "interfaces.txt"
PACKAGES = ("sats", "sats.losses", "sats.methods")
DATA = ("check", "convert", "list", "prepare", "show")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9.-]*")


def flags(words: list[str]) -> set[str]:
    """The flags in the help of a command."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return {flag for flag in FLAG.findall(said.getvalue()) if not flag.startswith("--no-")}


def names() -> Iterator[str]:
    """Public names, commands and their flags."""
    for package in PACKAGES:
        yield from (f"name {package}.{name}" for name in importlib.import_module(package).__all__)
    yield from (f"recipe {name}" for name in RECIPES)
    commands = [[name] for name in COMMANDS if name not in ("data", "train")]
    for words in [*commands, *(["data", name] for name in DATA), ["train", "scenes"]]:
        yield from (f"flag {' '.join(words)} {flag}" for flag in flags(words))


def settings() -> Iterator[str]:
    """What a config.json may hold."""
    for method in METHODS.values():
        if method.__module__.startswith("sats."):  # tests have methods of their own
            name = next(name for name, listed in METHODS.items() if listed is method)
            for key in flat(json.loads(to_json(recipe("scenes", name)))):
                yield f"setting {f'{name}: ' if key.startswith('method.') else ''}{key}"


def keys(value: object, prefix: str) -> Iterator[str]:
    """The names of JSON's keys, those of lists and of classes aside."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        yield prefix
        return
    for key, inner in value.items():
        by_class = prefix.endswith((".iou", ".pixels", ".forgetting", ".losses", ".packages"))
        yield from keys(inner, prefix if by_class else f"{prefix}.{key}")


def files(folder: Path) -> Iterator[str]:
    """What a finished run leaves, and what is in its files of JSON."""
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if path.is_file() and "step-1" not in place:
            yield f"file {place}"
            if path.suffix in (".json", ".jsonl") and path.parent.name != "model" and place != "config.json":
                yield from keys(
                    json.loads(path.read_text().splitlines()[0] if path.suffix == ".jsonl" else path.read_text()),
                    f"key {place}: ",
                )


def interfaces(folder: Path) -> list[str]:
    """All of it, sorted; a run is made in ``folder``."""
    run(folder / "run", small("sats"))
    return sorted({*names(), *settings(), *files(folder / "run")})


def test_nothing_that_others_build_on_has_changed_unnoticed(tmp_path: Path) -> None:
    listed, found = LIST.read_text().splitlines(), interfaces(tmp_path)
    gone, new = sorted(set(listed) - set(found)), sorted(set(found) - set(listed))
    assert not gone, f"Others may build on what is gone: {gone}. If it must, see the first lines here."
    assert not new, f"Add what is new by this file's first lines: {new}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        LIST.write_text("\n".join(interfaces(Path(place))) + "\n")
    sys.stdout.write(f"{LIST}: {len(LIST.read_text().splitlines())} lines\n")
