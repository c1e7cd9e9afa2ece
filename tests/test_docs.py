"""What the README and the pages show is so: commands run on tiny data or are parsed at least, Python runs, flags exist.

A page's commands and Python run in the page's order, in a folder where what they name lies by that name (`sandbox.py`).
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import tyro

import sandbox
from pages import PAGES, ROOT, Block, blocks, commands, inline
from sats.cli import COMMANDS, main
from sats.commands.data import COMMANDS as DATA
from sats.methods import METHODS
from sats.recipes import RECIPES

pytestmark = pytest.mark.filterwarnings("ignore:.* images in its split", "ignore:.*images; ")

PLACES = {  # what a command's placeholder is, where it is not a file of that name
    "data convert colours *": {"DIR": "colours"},
    "data convert binary *": {"DIR": "binary", "tree,car": "tree,car,traffic light"},
    "data convert coco --images DIR/*": {"DIR": "coco"},
    "data convert coco --images export/*": {"data": "converted"},
    "data convert yolo *": {"DIR": "yolo"},
    "data convert dataset --data DIR *": {"DIR": "parquet"},
    "train folder --data DIR": {"DIR": "arriving"},
    "train voc-15-1 * --data DIR": {"DIR": "VOC"},
    "train folder --data.source cityscapes *": {"DIR": "CITYSCAPES"},
    "train cityscapes-cities-* *": {"DIR": "CITIES"},
    "train folder --data DIR --stream.of domains *": {"DIR": "DOMAINS"},
    "train --from RUN --step *": {"RUN": "ARRIVED", "new": "third"},
    "bench SUITE.json --out DIR": {"DIR": "elsewhere"},
    "extend nvidia/*": {"nvidia/segformer-b0-finetuned-ade-512-512": "MODEL"},
}
MADE = {"runs/sats": "RUN"}
"""What stands in for what a page's commands make, where they are only parsed."""
NETWORK = "--model.name segformer-tiny --model.weights= --train.precision no --train.workers 0"
SHORT = "--epochs 1 --epochs-later 1 --crop 32"
CHEAP = {  # what is added to a command before it runs
    "train scenes *": f"{SHORT} --images 20 --data.image-size 32 --batch-size 6",
    "train --from *": f"{SHORT} --batch-size 2 --train.workers 0",
    "train *": f"{SHORT} {NETWORK} --batch-size 2",
    "extend *": "--epochs 1 --crop 64 --batch-size 4 --train.workers 0",
    "demo": "--images 20 --epochs 1 --epochs-later 1",
    "bench benchmarks/*": "--dry-run",
}
ENDING = (
    *("demo", "train", "resume", "extend", "bench", "evaluate", "predict"),
    *("export", "report", "runs", "data", "completion"),
)
"""Commands that are run here, as they come to an end; any other one is for ONLY_PARSED."""
ONLY_PARSED = {  # and why
    "app *": "serves until it is stopped: tests/test_app.py",
    "* --processes *": "starts processes: tests/test_processes.py",
    "bench * --ray*": "starts Ray: tests/test_bench_processes.py",
    "extend nvidia/*": "a name on the hub",
    "extend *kitchen*": "the same",
    "* --data owner/data *": "a name on the hub",
    "train folder --data /shared/*": "hours on real photographs",
    "bench benchmarks/real/*": "the same",
    "bench my-table.json * --jobs *": "twelve runs: --dry-run, before, reads the suite",
}
LAUNCHERS = ("torchrun", "accelerate", "srun")
"""Start several processes or machines: what they start is only parsed."""
AS_FILES = {  # Python that a page tells the reader to save, or a suite
    ("docs/tutorials/write-a-method.md", "python", 0): "confident.py",
    ("docs/tutorials/reproduce-a-paper.md", "json", 0): "my-table.json",
}
ELSEWHERE = {"CONTRIBUTING.md": "tests/test_walkthrough.py"}
"""Pages whose Python another test follows."""
FOREIGN_FLAGS = re.compile(
    r"--(nproc-per-node|nnodes|rdzv-\w+|multi_gpu|num_processes|num_machines|machine_rank|cpu|help|version"
    r"|opacity|gate|large|mutants|kills|steps|first|batch|json)$"
)
"""Of launchers, of scripts, of style sheets, and those that every command has."""
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*(?:\.[\w-]+)*")


# --- commands ---------------------------------------------------------------------------------------------------------


def sats_words(argv: list[str]) -> list[str] | None:
    """The words behind ``sats``, also where a launcher starts it; None for another program."""
    if argv[0] == "sats":
        return argv[1:]
    if argv[0] in LAUNCHERS and "-m" in argv:
        return argv[argv.index("-m") + 2 :]
    return None


def is_like(words: list[str], pattern: str) -> bool:
    return fnmatch(shlex.join(words), pattern)


def in_sandbox(words: list[str]) -> list[str]:
    """A command's words with the sandbox's files in place of placeholders."""
    places: dict[str, str] = {}
    for pattern, names in PLACES.items():
        if is_like(words, pattern):
            places |= names
    rest = [places.get(word) or re.sub(r"^[^/]+", lambda first: places.get(first[0], first[0]), word) for word in words]
    found = [words[0], *rest[1:]]  # a command may be called as a folder
    if words[0] == "report" and words.count("RUN") > 1:
        found[words.index("RUN", words.index("RUN") + 1)] = "OTHER"
    return found


def cheap(words: list[str]) -> list[str]:
    """What makes a command short: of CHEAP the first that is like it."""
    added = next((flags for pattern, flags in CHEAP.items() if is_like(words, pattern)), "")
    return added.split()


def why_only_parsed(argv: list[str], words: list[str]) -> str:
    if argv[0] in LAUNCHERS:
        return "a launcher"
    return next((reason for pattern, reason in ONLY_PARSED.items() if is_like(words, pattern)), "")


class Parsed(BaseException):
    pass


def parse_only(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a command's flags by its own parser, and stop there."""
    parse = tyro.cli

    @functools.wraps(parse)
    def stop(*arguments: Any, **options: Any) -> None:
        parse(*arguments, **options)
        raise Parsed

    words = list(words)
    if "--processes" in words:  # taken by the command's first look at its words
        del words[words.index("--processes") : words.index("--processes") + 2]
    with monkeypatch.context() as patch:
        patch.setattr(tyro, "cli", stop)
        try:
            code: object = main(words)
        except Parsed:
            return
        except SystemExit as done:
            code = done.code
    assert words[:2] == ["data", "list"], f"`sats {shlex.join(words)}` is not parsed: {code}"


def check_other(argv: list[str]) -> None:
    """A command of another program: what it names is there."""
    program, *words = argv
    if program == "make":
        targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ":" in line}
        assert {word for word in words if "=" not in word} <= targets, argv
    elif program == "pip":
        extras = re.findall(r"\[(.*?)\]", shlex.join(words))
        declared = (ROOT / "pyproject.toml").read_text()
        assert all(f"\n{extra} = [" in declared for extra in ",".join(extras).split(",") if extra), argv
    elif program in ("python", "sh"):
        scripts = [word for word in words if word.endswith((".py", ".sh"))]
        assert words[:2] == ["-m", "venv"] or (scripts and all((ROOT / name).is_file() for name in scripts)), argv
    else:
        assert program in ("source", "scontrol", "sats", *LAUNCHERS), f"{argv}: tests/test_docs.py does not know it"


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory, trained: dict[str, Path]) -> Path:
    root = tmp_path_factory.mktemp("furnished")
    sandbox.furnish(root, trained)
    return root


@pytest.fixture
def house(furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sandbox of one's own, as the present folder."""
    shutil.copytree(furnished, tmp_path / "house", symlinks=True)
    monkeypatch.chdir(tmp_path / "house")
    return tmp_path / "house"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_parsed(page: str, furnished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(furnished)
    monkeypatch.setitem(METHODS, "confident", METHODS["finetune"])  # a tutorial writes it
    for block in blocks(page):
        for argv in commands(block):
            words = sats_words(argv)
            if words is None:
                check_other(argv)
            elif words != ["train"]:  # "sats train ..."
                parse_only([MADE.get(word, word) for word in in_sandbox(words)], monkeypatch)


def test_what_is_said_of_commands_here_is_still_about_one() -> None:
    """Else a table would grow that nobody reads."""
    every = [(argv, words) for page in PAGES for block in blocks(page) for argv in commands(block)
             if (words := sats_words(argv)) is not None]  # fmt: skip
    for pattern in (*PLACES, *CHEAP, *ONLY_PARSED):
        assert any(is_like(words, pattern) for _, words in every), f"no page has {pattern!r} any more"
    assert sum(not why_only_parsed(*one) for one in every) > 0.7 * len(every)


def test_what_is_no_command_that_is_known_is_noticed() -> None:
    assert list(commands(Block("page.md", 1, "bash", "sats report RUN|MODEL [RUN|MODEL ...]"))) == [
        ["sats", "report", "RUN"]
    ]
    for text, told in (("docker build .\n", "neither known"), ("sats runs\ndocker build .\n", "does not know")):
        with pytest.raises(ValueError, match=told):
            list(commands(Block("page.md", 1, "", text)))
    assert list(commands(Block("page.md", 1, "", "DIR/a.png    a mask\n\nsats runs    lists them\n"))) == [
        ["sats", "runs"]
    ]


def test_a_command_that_nobody_decided_on_is_noticed() -> None:
    with pytest.raises(AssertionError, match="run, or only parsed"):
        run_command(["sats", "frobnicate"], "page.md:1")
    with pytest.raises(AssertionError, match="does not know it"):
        check_other(["docker", "run"])
    with pytest.raises(AssertionError, match="nowhere"):
        check_other(["make", "nowhere"])


def test_a_flag_that_does_not_exist_is_noticed(furnished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(furnished)
    with pytest.raises(AssertionError, match="is not parsed"):
        parse_only(["train", "scenes", "--epocs", "3"], monkeypatch)
    with pytest.raises(AssertionError, match="is not parsed"):
        parse_only(["frobnicate"], monkeypatch)


# --- all of a page, in its order --------------------------------------------------------------------------------------


def run_command(argv: list[str], place: str) -> None:
    words = sats_words(argv)
    if words is None or why_only_parsed(argv, words):
        return
    assert words[0] in ENDING, f"{place}: say in tests/test_docs.py whether `sats {words[0]}` is run, or only parsed"
    told = [*in_sandbox(words), *cheap(words)]
    if "NEW" in told:
        shutil.rmtree("NEW", ignore_errors=True)
    try:
        code: object = main(told)
    except SystemExit as done:
        code = done.code
    assert not code, f"{place}: `sats {shlex.join(told)}` ended with {code}"


def run_python(block: Block, number: int, names: dict[str, object]) -> None:
    file = AS_FILES.get((block.page, block.language, number))
    if file:
        Path(file).write_text(block.text, encoding="utf-8")
    elif block.page not in ELSEWHERE:
        exec(compile(block.text, str(block), "exec"), names)  # noqa: S102 (our own pages)


@pytest.fixture
def small_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python asks for is as short as what a command is told above."""
    from sats.engine import extension

    def shortened(make: Any, flags: str) -> Any:
        @functools.wraps(make)
        def wrapped(*arguments: Any) -> Any:
            import sats.commands.train

            config = make(*arguments)
            kind = sats.commands.train.TrainArguments[type(config.method)]  # type: ignore[misc]
            return tyro.cli(kind, args=flags.split(), default=kind(run=config)).run

        return wrapped

    monkeypatch.setitem(RECIPES, "scenes", shortened(RECIPES["scenes"], CHEAP["train scenes *"]))
    monkeypatch.setattr(extension, "defaults", shortened(extension.defaults, CHEAP["extend *"]))


@pytest.fixture
def own_methods(house: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Methods that a page defines are forgotten after it."""
    monkeypatch.syspath_prepend(str(house))
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)
    sys.modules.pop("confident", None)


LONG = ("README.md", "docs/bench.md", "docs/data.md", "docs/quickstart.md", "docs/tutorials/add-a-class.md")
"""Pages that take more than some seconds: runs, exports, processes of a sweep."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch's export
@pytest.mark.usefixtures("house", "small_settings", "own_methods")
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] if page in LONG else []) for page in PAGES]
)
def test_a_page_runs_from_top_to_bottom(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # the archives here are not the published ones
    monkeypatch.setattr("sats.data.archives.check_digest", lambda *_: None)
    names: dict[str, object] = {"__name__": "page"}
    counts: dict[str, int] = {}
    for block in blocks(page):
        if block.language in ("python", "json"):
            number = counts.setdefault(block.language, 0)
            counts[block.language] += 1
            if block.language == "python" or (page, "json", number) in AS_FILES:
                run_python(block, number, names)
        for argv in commands(block):
            run_command(argv, str(block))


# --- what is said of flags and commands in the text -------------------------------------------------------------------


@functools.cache
def known_flags() -> frozenset[str]:
    """Every flag of every command and method."""
    listed = (ROOT / "tests" / "interfaces.txt").read_text().splitlines()
    flags = {line.split()[-1] for line in listed if line.startswith("flag ")}
    settings = {re.split(r"[ :]+", line)[-1] for line in listed if line.startswith("setting ")}
    flags |= {f"--{name.replace('_', '-')}" for name in settings}
    for method in (kind() for kind in METHODS.values()):
        switches = [name for name, value in vars(method).items() if isinstance(value, bool)]
        flags |= {f"--method.no-{name.replace('_', '-')}" for name in switches}
    for kind in ("colours", "binary", "coco", "yolo", "dataset"):
        flags |= set(FLAG.findall(help_of(["data", "convert", kind])))
    return frozenset(flags | {"--config", "--method", "--processes"})


def is_known(flag: str) -> bool:
    """Whether some command has it, or has flags that begin so, as all of ``--model.*`` do."""
    told = re.sub(r"^--no-(?=[^.]+$)", "--", flag)  # interfaces.txt leaves these out
    return told in known_flags() or any(known.startswith(f"{told}.") for known in known_flags())


def test_a_flag_in_the_text_that_does_not_exist_is_noticed() -> None:
    assert all(map(is_known, ("--epochs", "--model", "--train.no-compile", "--no-merge", "--mask-ending")))
    assert is_known("--method.no-beside-labels")
    assert not any(
        map(is_known, ("--epoch", "--no-train.compile", "--method.pods", "--modell", "--method.no-distillation"))
    )


def help_of(words: list[str]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return said.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_flags_in_the_text_exist(page: str) -> None:
    ours = [code for code in inline(page) if code.startswith(("sats ", "--"))]
    told = {flag for code in ours for flag in FLAG.findall(code)}
    unknown = [flag for flag in sorted(told) if not FOREIGN_FLAGS.match(flag) and not is_known(flag)]
    assert not unknown, f"{page} tells of flags that no command has: {unknown}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_exist(page: str) -> None:
    told = {tuple(code.split()[1:3]) for code in inline(page) if code.startswith("sats ")}
    for words in told:
        if words[0][0] not in "-.":
            assert words[0] in (*COMMANDS, "COMMAND"), f"{page}: sats {words[0]}"
        if words[0] == "data" and len(words) > 1:
            assert words[1] in DATA, f"{page}: sats data {words[1]}"


def test_the_page_of_commands_has_every_command_and_the_help_of_each() -> None:
    page = "docs/commands.md"
    told = {tuple(line.split()) for block in blocks(page) if block.language == "{help}"
            for line in block.text.splitlines()}  # fmt: skip
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"| `sats {name}` |" in text, f"{page} has no row for sats {name}"
    wanted = [(name,) for name in COMMANDS if name != "data"] + [("data", name) for name in DATA]
    for words in wanted:
        shown = [line for line in told if line[1 : 1 + len(words)] == words and line[-1] == "--help"]
        assert shown, f"{page} does not show `sats {' '.join(words)} --help` in a {{help}} block"
