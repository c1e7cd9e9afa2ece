"""Mutants of every file that sats reads, through the command: success, or one message and exit code 1 or 2.

    python tests/faults/fuzz.py --mutants 10000
    python tests/faults/fuzz.py --only resume --first 1234 --mutants 1    # one of them again

A mutant is known by its number and kind alone. Ends with exit code 1 and a list if any mutant had another outcome: a
traceback, a hang, a message that calls itself a possible fault of sats.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from faults.corpus import make_corpus
from faults.mutate import mutate
from sats.cli import main

SECONDS = 20
"""How long a mutant may take; most take a tenth of a second."""

MOST_MEMORY = 24 * 2**30
"""Bytes of address space: what asks for more fails at once, as on a small machine."""


@dataclass(frozen=True)
class Kind:
    """Files to make wrong, below a copy of the corpus, and the command that then reads them.

    ``weight`` is its share of all mutants; those of 0, which take longer, are tried where they are asked for.
    """

    name: str
    files: tuple[str, ...]
    words: str
    weight: int = 1


DATA = ("data/classes.txt", "data/masks/*/*", "data/images/*/*")
IN_RUN = tuple(
    f"run/{name}"
    for name in (
        "config.json",
        "steps.json",
        "metrics.jsonl",
        "memory.json",
        "environment.json",
        "skipped.jsonl",
        "step-0/scores.json",
        "step-1/scores.json",
        "step-1/confusion.json",
    )
)
MODEL = tuple(
    f"run/step-1/model/{name}" for name in ("config.json", "model.safetensors", "preprocessor_config.json", "README.md")
)
CHECKPOINT = tuple(
    f"stopped/checkpoint/*/{name}"
    for name in ("checkpoint.json", "model.safetensors", "state.safetensors", "random.safetensors", "optimizer.pt")
)
STOPPED = tuple(
    f"stopped/{name}"
    for name in (
        "config.json",
        "steps.json",
        "memory.json",
        "memory/*",
        "metrics.jsonl",
        "step-0/scores.json",
        "step-0/sums.json",
        "step-0/state.safetensors",
        "step-0/model/*",
    )
)
CONVERT = {
    "coco": "data convert coco --images {root}/formats/coco/images --annotations {root}/formats/coco/coco.json",
    "runs": "data convert coco --images {root}/formats/runs/images --annotations {root}/formats/runs/coco.json",
    "yolo": "data convert yolo --images {root}/formats/yolo/images --labels {root}/formats/yolo/labels "
    "--names {root}/formats/yolo/data.yaml",
    "colours": "data convert colours --images {root}/formats/colours/images --masks {root}/formats/colours/masks "
    "--table {root}/formats/colours/labelmap.txt",
}
KINDS = (
    Kind("report", IN_RUN, "report {root}/run --images 0 --out {root}/report.html", 6),
    Kind("runs", IN_RUN, "runs {root}", 4),
    Kind("images", ("pictures/*",), "predict {root}/run {file} --out {root}/out", 4),
    Kind("data", DATA, "data check {root}/data --protocol 1-1", 6),
    Kind("skip", ("data/masks/val/*", "data/images/val/*"), "evaluate {root}/run --on-error skip", 2),
    Kind("evaluate", (*MODEL, "run/config.json", "run/steps.json"), "evaluate {root}/run", 3),
    Kind("extend", MODEL, "extend {root}/run/step-1/model --data {root}/new", 2),  # ends where it asks for --out
    Kind("suite", ("suite.json",), "bench {root}/suite.json --out {root}/bench --dry-run", 4),
    *(
        Kind(f"convert {name}", (f"formats/{name}/*.*", f"formats/{name}/[ml]*/*"), f"{words} --out {{root}}/out")
        for name, words in CONVERT.items()
    ),
    Kind("archive", ("archives/*.zip",), "data prepare ccp --from {file} --out {root}/out", 2),
    Kind("checkpoint", CHECKPOINT, "resume {root}/stopped"),
    Kind("resume", STOPPED, "resume {root}/stopped"),
    Kind("pictures", (*IN_RUN, *MODEL, *DATA), "report {root}/run --images 2 --out {root}/report.html", 0),
    Kind("show", DATA, "data show {root}/data --out {root}/sheet.png", 0),
    Kind(
        "go on",
        (*IN_RUN, "run/memory/*", "run/step-1/sums.json", *MODEL),
        "train --from {root}/run --step {root}/new --epochs 1 --epochs-later 1 --out {root}/more",
        0,
    ),
)


class TooLongError(BaseException):
    """A mutant took too long; no Exception, so that nobody catches it."""


@dataclass(frozen=True)
class Outcome:
    """What came of a mutant; ``fault`` is empty where all is well."""

    kind: str
    number: int
    what: str
    code: int
    seconds: float
    fault: str = ""

    def __str__(self) -> str:
        return f"--only {self.kind!r} --first {self.number}: {self.what}: {self.fault}"


def plan(mutants: int, first: int = 0, only: str = "") -> Iterator[tuple[Kind, int]]:
    """The kinds and numbers of ``mutants`` mutants: each kind by its weight, evenly mixed."""
    wheel = [kind for kind in KINDS if kind.name == only] or [kind for kind in KINDS for _ in range(kind.weight)]
    random.Random(0).shuffle(wheel)
    for number in range(first, first + mutants):
        yield wheel[number % len(wheel)], number


def try_mutant(kind: Kind, number: int, corpus: Path, folder: Path) -> Outcome:
    """Make one file of a copy of the corpus wrong and run the command; ``folder`` holds the copy meanwhile."""
    rng = random.Random(f"{kind.name} {number}")
    root = folder / "root"
    shutil.copytree(corpus, root, symlinks=True, copy_function=_link)
    try:
        found = sorted(path for pattern in kind.files for path in root.glob(pattern) if path.is_file())
        path = rng.choice(found)
        _own(path)
        what = f"{path.relative_to(root)}: {mutate(path, rng)}"
        if "checkpoint" in path.parts and rng.random() < 0.5:
            _sign(path.parent)
            what += ", signed"
        words = [word.format(root=root, file=path) for word in kind.words.split()]
        begun = time.monotonic()
        code, fault = run(words)
        return Outcome(kind.name, number, what, code, time.monotonic() - begun, fault)
    finally:
        shutil.rmtree(root)


def _link(source: str, target: str) -> None:
    """Files are shared with the corpus until they are changed; sats itself never writes into one that is there."""
    if source.endswith(".jsonl"):  # but appends to these
        shutil.copyfile(source, target)
    else:
        os.link(source, target)


def _own(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def _sign(folder: Path) -> None:
    """Make the sums of a checkpoint right again, so that what is in it is read."""
    manifest = folder / "checkpoint.json"
    with contextlib.suppress(ValueError, OSError, TypeError, KeyError, AttributeError):
        values = json.loads(manifest.read_text())
        for name in values["sha256"]:
            values["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        _own(manifest)
        manifest.write_text(json.dumps(values))


def run(words: Sequence[str]) -> tuple[int, str]:
    """The exit code of ``sats`` with these words, and what is wrong with how it ended."""
    out, err = io.StringIO(), io.StringIO()
    previous = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("default")  # as the command has it, not as tests have it
            code = main(list(words))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except TooLongError:
        return -1, f"took longer than {SECONDS} s in {_place(traceback.extract_tb(sys.exc_info()[2]))}"
    except BaseException as error:  # noqa: BLE001 (whatever it is, it is what is looked for)
        return -1, f"{type(error).__name__}: {error!s:.200} in {_place(traceback.extract_tb(error.__traceback__))}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    return code, _complaint(code, out.getvalue(), err.getvalue())


def _complaint(code: int, out: str, err: str) -> str:
    if code not in (0, 1, 2):
        return f"exit code {code}"
    for sign in ("Traceback", "fault of sats"):
        if sign in err:
            return f"{sign}: {err[-300:]}"
    if code and not err.strip():
        return "no message"
    if any(character in out + err for character in "\x1b\x07\x00"):
        return f"control characters reach the terminal: {(out + err)!r:.300}"
    return ""


def _place(frames: traceback.StackSummary) -> str:
    """The last two places in sats itself."""
    own = [frame for frame in frames if "/sats/" in frame.filename] or list(frames)
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in own[:-3:-1])


def _too_long(_: int, __: FrameType | None) -> None:
    raise TooLongError


def show(outcomes: Sequence[Outcome]) -> None:
    """Print a table of the kinds, then every fault."""
    print(f"{'kind':16}{'mutants':>8}{'success':>9}{'code 1':>8}{'code 2':>8}{'faults':>8}{'s each':>8}")
    for name in dict.fromkeys(kind.name for kind in KINDS):
        of_kind = [outcome for outcome in outcomes if outcome.kind == name]
        if not of_kind:
            continue
        codes = Counter(outcome.code for outcome in of_kind if not outcome.fault)
        faults = sum(bool(outcome.fault) for outcome in of_kind)
        seconds = sum(outcome.seconds for outcome in of_kind) / len(of_kind)
        print(f"{name:16}{len(of_kind):8}{codes[0]:9}{codes[1]:8}{codes[2]:8}{faults:8}{seconds:8.2f}")
    for outcome in outcomes:
        if outcome.fault:
            print(outcome)


def cli() -> int:
    """Try as many mutants as were asked for; the exit code says whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", default="", choices=["", *(kind.name for kind in KINDS)])
    parser.add_argument("--stop", action="store_true", help="at the first fault")
    asked = parser.parse_args()
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SATS_CACHE"] = str(folder / "cache")
        corpus = make_corpus(folder / "corpus")
        for kind, number in plan(asked.mutants, asked.first, asked.only):
            (folder / "last").write_text(f"{kind.name} {number}\n")
            outcome = try_mutant(kind, number, corpus, folder)
            outcomes.append(outcome)
            if outcome.fault:
                print(outcome, flush=True)
                if asked.stop:
                    break
    show(outcomes)
    return int(any(outcome.fault for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(cli())
