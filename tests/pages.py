"""The pages of the documentation, and the commands that they show."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
PAGES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "_build" not in path.parts
)
SHELL = ("bash", "sh", "shell", "console")
PROGRAMS = ("sats", "make", "pip", "python", "torchrun", "accelerate", "sh", "source", "srun", "scontrol")
"""What stands in for them only writes down that it was called, and how."""
STARTS = re.compile(rf"({'|'.join(PROGRAMS)}|for|export|if|[A-Z_]+=\S*)\b")
FILES = re.compile(r"\S*[/.]\S*")
REMARK = re.compile(r"(?<=\S) {3,}[^\s#-].*$", re.MULTILINE)
NO_COMMANDS = ("mIoU after the last step, %", "cli -> commands -> ")
"""How blocks begin that are neither commands nor lists of files."""
EITHER = re.compile(r"\b([A-Z]+)\|[A-Z|]+")
"""RUN|MODEL: the first will do."""
MORE = re.compile(r"\.\.\.\]?|\[[A-Z]+")
"""What of `RUN [RUN ...]` is no word of the command."""
END = "\x1e"


@dataclass(frozen=True)
class Block:
    """A block of code: its language ("" for an indented one), its text, and the line it begins at."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def tokens(page: str) -> list[Token]:
    return MarkdownIt().enable("table").parse((ROOT / page).read_text(encoding="utf-8"))


def blocks(page: str) -> list[Block]:
    """Every block of code of a page, in their order."""
    found = [token for token in tokens(page) if token.type in ("fence", "code_block")]
    return [Block(page, (token.map or [0])[0] + 1, token.info.split(" ")[0], token.content) for token in found]


def inline(page: str) -> set[str]:
    """Every piece of code within the text of a page."""
    parts = (child for token in tokens(page) for child in token.children or ())
    return {part.content for part in parts if part.type == "code_inline"}


def script(block: Block) -> str:
    """What of a block is for a shell, without the remarks behind a wide gap; "" where nothing is.

    An indented block may list files, or begin with some. ValueError for anything else.
    """
    if block.language in SHELL:
        return EITHER.sub(r"\1", block.text)
    parts = [] if block.language else block.text.split("\n\n")
    commands = [part for part in parts if STARTS.match(part.strip())]
    for part in parts:
        if part not in commands and not FILES.match(part.strip()) and not part.strip().startswith(NO_COMMANDS):
            raise ValueError(f"{block}: neither known commands nor files (tests/pages.py): {part.splitlines()[0]!r}")
    return EITHER.sub(r"\1", REMARK.sub("", "\n".join(commands)))


def commands(block: Block) -> Iterator[list[str]]:
    """What a block's script would start, one list of words each; the script itself runs, with stubs for programs.

    So loops and variables are as a shell sees them, and a program that is not known fails.
    """
    body = script(block)
    if not body:
        return
    stubs = "\n".join(f'{name}() {{ printf "%s\\x1f" {name} "$@" >&3; printf "{END}" >&3; }}' for name in PROGRAMS)
    slurm = {"SLURM_CPUS_PER_TASK": "4", "SLURM_JOB_NODELIST": "node", "SLURM_JOB_ID": "1", "SLURM_NNODES": "1"}
    done = subprocess.run(
        ["bash", "-euc", f"exec 3>&1 >/dev/null\n{stubs}\n{body}"],  # noqa: S607
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "SATS_SHARED": "/shared", **slurm},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(
            f"{block}: the script does not run, or starts what tests/pages.py does not know: {done.stderr}"
        )
    for record in done.stdout.split(END)[:-1]:
        yield [word for word in record.split("\x1f")[:-1] if not MORE.fullmatch(word)]
