"""Every file that sats reads, made wrong at random: success, or one message. The long form is tests/faults/fuzz.py."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from faults import fuzz
from faults.corpus import make_corpus
from faults.mutate import VALUES, changed, mutate

MUTANTS = 300
MANY = 2_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SATS_CACHE", str(folder / "cache"))
        yield make_corpus(folder / "corpus")


def faults_of(corpus: Path, folder: Path, planned: Iterable[tuple[fuzz.Kind, int]]) -> list[str]:
    outcomes = [fuzz.try_mutant(own, number, corpus, folder) for own, number in planned]
    return [str(outcome) for outcome in outcomes if outcome.fault]


@pytest.mark.parametrize("kind", [kind.name for kind in fuzz.KINDS if kind.weight])
def test_no_mutant_ends_in_more_than_a_message(kind: str, corpus: Path, tmp_path: Path) -> None:
    planned = [(own, number) for own, number in fuzz.plan(MUTANTS) if own.name == kind]
    assert planned
    assert faults_of(corpus, tmp_path, planned) == []


@pytest.mark.slow
def test_no_mutant_of_many_ends_in_more_than_a_message(corpus: Path, tmp_path: Path) -> None:
    assert faults_of(corpus, tmp_path, fuzz.plan(MANY)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind.name for kind in fuzz.KINDS if not kind.weight])
def test_no_mutant_of_what_takes_longer_ends_in_more_than_a_message(kind: str, corpus: Path, tmp_path: Path) -> None:
    assert faults_of(corpus, tmp_path, fuzz.plan(MUTANTS, only=kind)) == []


# --- else the tests above would prove nothing -------------------------------------------------------------------------


def test_what_is_not_mutated_succeeds(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "mutate", lambda _, __: "nothing")
    for kind in fuzz.KINDS:
        outcome = fuzz.try_mutant(kind, 0, corpus, tmp_path)
        assert (outcome.fault, outcome.code) == ("", 2 if kind.name == "extend" else 0)


def test_each_kind_has_its_share_and_numbers_are_known_again() -> None:
    counts: dict[str, int] = defaultdict(int)
    for kind, _ in fuzz.plan(MUTANTS):
        counts[kind.name] += 1
    assert set(counts) == {kind.name for kind in fuzz.KINDS if kind.weight}
    assert {kind.name for kind, _ in fuzz.plan(9, only="show")} == {"show"}
    assert sum(counts.values()) == MUTANTS
    assert list(fuzz.plan(5, first=7)) == list(fuzz.plan(12))[7:]


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (KeyError("classes"), "KeyError: 'classes'"),
        (fuzz.TooLongError(), "took longer"),
        (SystemExit(7), "exit code 7"),
        (None, ""),
    ],
)
def test_other_ends_are_found(error: BaseException | None, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_: object) -> int:
        if error is not None:
            raise error
        return 0

    monkeypatch.setattr(fuzz, "main", end)
    _, fault = fuzz.run(["runs"])
    assert fault.startswith(found)
    assert bool(fault) == bool(found)


def test_mutants_differ_from_the_file_and_are_the_same_every_time(tmp_path: Path) -> None:
    sound = b'{"a": [1, {"b": "text"}], "c": null}'
    path = tmp_path / "file.json"
    found = []
    for number in [*range(40), *range(40)]:
        path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
        path.write_bytes(sound)
        what = mutate(path, random.Random(number))
        found.append((what, path.read_bytes() if path.is_file() else os.fspath(path)))
    assert found[:40] == found[40:]
    assert sum(content != sound for _, content in found[:40]) > 35


def test_any_place_of_a_document_is_changed() -> None:
    done = {changed({"a": [1, {"b": "text"}]}, random.Random(number))[1].split(" = ")[0] for number in range(300)}
    assert {"a", "a/0", "a/1", "a/1/b", "the whole", "drop a/1/b", "rename a", "twice a/0"} <= done
    assert len(VALUES) > 20
