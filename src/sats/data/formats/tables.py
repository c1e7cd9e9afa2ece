"""Files that name classes: tables of colours, lists of names, YOLO's data.yaml, Hugging Face's id2label."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Colour = tuple[int, int, int]

BY_HEX: Final = re.compile(r"(?P<name>.+?)[\s,:]\s*#(?P<hex>[0-9a-fA-F]{6})")
BY_NUMBERS: Final = re.compile(
    r"(?P<name>.+?)[\s,:]\s*(?P<red>\d+)[\s,]+(?P<green>\d+)[\s,]+(?P<blue>\d+)"
    r"(:[^:]*:[^:]*)?"  # CVAT's parts and actions
)
HEADER: Final = re.compile(r"(name|class|label)\W+r(ed)?\W+g(reen)?\W+b(lue)?", re.IGNORECASE)
LINES: Final = "lines like `car 0 0 142`, `car,0,0,142`, `car #00008e` or CVAT's `car:0,0,142::`"
YAML: Final = frozenset({".yaml", ".yml"})


def read_text(file: Path, flag: str) -> str:
    """What is in the text file that ``flag`` names; ValueError if it cannot be read."""
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{file} can't be read ({error.strerror}): fix {flag}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not in UTF-8 ({error}): save it so, or fix {flag}.") from error


def read_colours(file: Path) -> dict[Colour, str]:
    """The class of each colour in a table; a class may have several. ValueError says which line is wrong."""
    table: dict[Colour, str] = {}
    for number, line in enumerate(read_text(file, "--table").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#") or (number == 1 and HEADER.fullmatch(text)):
            continue
        name, colour = _colour_of(text, f"{file}, line {number}")
        if table.setdefault(colour, name) != name:
            raise ValueError(f"{file}, line {number}: {name!r} has the colour of {table[colour]!r}; give it its own.")
    if not table:
        raise ValueError(f"{file} names no colours: it should have {LINES}.")
    return table


def _colour_of(text: str, where: str) -> tuple[str, Colour]:
    if found := BY_HEX.fullmatch(text):
        red, green, blue = bytes.fromhex(found["hex"])
    elif found := BY_NUMBERS.fullmatch(text):
        red, green, blue = (int(found[part]) for part in ("red", "green", "blue"))
    else:
        raise ValueError(f"{where}: expected a name and a colour, got {text!r}: write {LINES}.")
    if max(red, green, blue) > 255:
        raise ValueError(f"{where}: {text!r} has a number above 255, and a colour is three numbers from 0 to 255.")
    return found["name"].strip(" \t,:"), (red, green, blue)


def read_names(file: Path) -> dict[int, object]:
    """The name of each class by its number: from a data.yaml, an id2label.json, or a file with a name a line."""
    text = read_text(file, "--names")
    if file.suffix.lower() in YAML:
        return _by_number(_of_yaml(text, file), file)
    if file.suffix.lower() == ".json":
        return _by_number(_of_json(text, file), file)
    return dict(enumerate(text.rstrip().splitlines()))


def _of_yaml(text: str, file: Path) -> object:
    import yaml

    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{file} is not YAML ({' '.join(str(error).split())}): fix it, or --names.") from error
    if not isinstance(content, dict) or "names" not in content:
        raise ValueError(f"{file} has no `names`: they should name the classes, as in YOLO's data.yaml.")
    names: object = content["names"]
    return names


def _of_json(text: str, file: Path) -> object:
    content = parse_json(text, file, "--names")
    return content.get("id2label", content) if isinstance(content, dict) else content


def parse_json(text: str, file: Path, flag: str) -> Any:
    """What is in a JSON file; ValueError if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON ({error}): export or fetch it anew, or fix {flag}.") from error


def _by_number(names: object, file: Path) -> dict[int, object]:
    """Names by number, from a list or from an object whose keys are numbers."""
    if isinstance(names, list):
        return dict(enumerate(names))
    if not isinstance(names, dict):
        raise ValueError(f"{file} names no classes: it should have a list of names, or numbers with names.")
    return {_number(key, file): name for key, name in names.items()}


def _number(key: object, file: Path) -> int:
    if isinstance(key, int | str) and re.fullmatch(r"\d{1,9}", str(key), re.ASCII):
        return int(key)
    raise ValueError(f"{file} gives a class the number {key!r}: write 0, 1, 2, ...")


def in_order(names: Mapping[int, object]) -> tuple[Sequence[int], Sequence[object]]:
    """The numbers, ascending, and their names."""
    numbers = sorted(names)
    return numbers, [names[number] for number in numbers]
