"""Files made wrong: by bytes, by values of JSON, by what is in the file's place. A number decides what is done."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOSTILE_TEXTS = (
    "",
    "\x00",
    "\x1b]0;title\x07\x1b[2J",
    "</script><img src=x onerror=alert(1)>",
    "[bold red]markup[/bold red] [/]",
    '"; rm -rf /; "',
    "a\nb\r\nc",
    "\u202eright to left",
    "../../../etc/passwd",
    "/dev/zero",
    "\N{PILE OF POO}" * 40,
    "x" * 10_000,
    "\ud800",
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 255, 256, 10**6, -(10**18), 10**30, 0.5, -0.5, 1e308, float("nan"), float("inf"),
    [], {}, [[]], [None], {"": None}, [1, "two", None], *HOSTILE_TEXTS,
)  # fmt: skip
BYTES = (
    b"\x00",
    b"\xff",
    b"\x80",
    b"\x7f",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\x7f\xff\xff\xff",
    b"{",
    b"\n",
    b"%s",
)


def mutate(path: Path, rng: random.Random) -> str:
    """Change the file at ``path``; returns what was done, in a few words."""
    kinds: list[Callable[[Path, random.Random], str]] = [_bytes, _bytes, _bytes, _place]
    if path.suffix == ".json":
        kinds += [_value] * 6
    elif path.suffix == ".jsonl":
        kinds += [_line] * 4
    elif path.suffix == ".safetensors":
        kinds += [_header] * 3
    return rng.choice(kinds)(path, rng)


def _bytes(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 5, 30))):
        place = rng.randrange(len(content) + 1) if rng.random() < 0.6 else rng.randrange(min(len(content), 64) + 1)
        length = rng.choice((1, 1, 2, 4, 16, 200))
        kind = rng.choice(("flip", "set", "cut", "insert", "copy", "end"))
        if kind == "flip" and place < len(content):
            content[place] ^= 1 << rng.randrange(8)
        elif kind == "set":
            piece = rng.choice(BYTES)
            content[place : place + len(piece)] = piece
        elif kind == "cut":
            del content[place : place + length]
        elif kind == "insert":
            content[place:place] = rng.choice((rng.randbytes(length), rng.choice(BYTES) * length))
        elif kind == "copy":
            start = rng.randrange(len(content) + 1)
            content[place:place] = content[start : start + length]
        elif kind == "end":
            del content[place:]
        done.append(kind)
    path.write_bytes(content)
    return f"bytes {'+'.join(done)}"


def _place(path: Path, rng: random.Random) -> str:
    """Something else where the file was."""
    kind = rng.choice(("nothing", "empty", "folder", "loop", "deep", "long", "text"))
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind != "nothing":
        contents = {"empty": b"", "deep": b"[" * 100_000, "long": b'"' + b"x" * 2_000_000 + b'"', "text": b"hello\n"}
        path.write_bytes(contents[kind])
    return f"in its place: {kind}"


def _value(path: Path, rng: random.Random) -> str:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return _bytes(path, rng)
    document, done = changed(document, rng)
    path.write_text(json.dumps(document), encoding="utf-8", errors="surrogatepass")
    return done


def _line(path: Path, rng: random.Random) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    number = rng.randrange(len(lines))
    document, done = changed(json.loads(lines[number]), rng)
    lines[number] = json.dumps(document)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"line {number}: {done}"


def _header(path: Path, rng: random.Random) -> str:
    """The JSON in front of a safetensors file; its length is mended."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    document, done = changed(json.loads(content[8 : 8 + size]), rng)
    header = json.dumps(document).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    return f"header: {done}"


def changed(document: Any, rng: random.Random) -> tuple[Any, str]:
    """A JSON document with one value, or name, changed; and what was done."""
    places = list(_walk(document, ()))
    place = rng.choice(places)
    kind = rng.choice(("value", "value", "value", "drop", "rename", "twice"))
    if not place:
        return rng.choice(VALUES), "the whole"
    parent = document
    for step in place[:-1]:
        parent = parent[step]
    last, where = place[-1], "/".join(map(str, place))
    if kind == "drop":
        del parent[last]
    elif kind == "rename" and isinstance(parent, dict):
        parent[rng.choice(HOSTILE_TEXTS)] = parent.pop(last)
    elif kind == "twice" and isinstance(parent, list):
        parent.insert(last, parent[last])
    else:
        value = rng.choice(VALUES)
        parent[last] = value
        return document, f"{where} = {value!r:.40}"
    return document, f"{kind} {where}"


def _walk(value: Any, place: tuple[Any, ...]) -> Any:
    yield place
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _walk(inner, (*place, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _walk(inner, (*place, number))
