"""Which trackers follow a run, and what each calls it. No setting: what is learned is the same. Used before torch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypedDict

from sats.documents import is_a, read_json
from sats.errors import unknown
from sats.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sats.engine.run_folder import RunFolder

TRACKERS = {
    "tensorboard": {"tensorboard": "tensorboard"},
    "mlflow": {"mlflow": "mlflow-skinny", "sqlalchemy": "sqlalchemy", "alembic": "alembic"},
    "wandb": {"wandb": "wandb"},
}
"""Each by its name, with the modules it needs and the packages that have them."""
NONE = "none"
"""In place of names: nothing follows the run any longer."""


class _Stored(TypedDict):
    """What tracking.json says."""

    trackers: list[str]
    ids: dict[str, str]


@dataclass(frozen=True)
class Tracking:
    """The ``trackers`` that follow a run, and its ``ids``: what each that ever followed it calls it."""

    trackers: tuple[str, ...] = ()
    ids: Mapping[str, str] = field(default_factory=dict)


def check_trackers(words: Sequence[str] | str) -> tuple[str, ...]:
    """The names of trackers, in a list or with commas between; ValueError for an unknown one, or missing packages."""
    listed = words.split(",") if isinstance(words, str) else words
    names = tuple(dict.fromkeys(name.strip() for name in listed if name.strip()))
    if names == (NONE,):
        return names
    for name in names:
        if name not in TRACKERS:
            raise ValueError(unknown("tracker", name, TRACKERS))
        if missing := [package for module, package in TRACKERS[name].items() if find_spec(module) is None]:
            raise ValueError(
                f"Tracking with {name} needs more packages: pip install {' '.join(missing)} (or say --tracker {NONE})."
            )
    return names


def followed(folder: RunFolder, words: Sequence[str] | str) -> RunFolder:
    """The run in ``folder``, which trackers follow from now on; without words, those that did.

    ValueError as `check_trackers`.
    """
    before = read_tracking(folder.tracking_path)
    chosen = check_trackers(words) or check_trackers(before.trackers)
    trackers = () if chosen == (NONE,) else chosen
    if trackers != before.trackers:
        write_tracking(folder.tracking_path, dataclasses.replace(before, trackers=trackers))
    return folder


def read_tracking(path: Path) -> Tracking:
    """What the file ``path`` says; nothing follows a run without one. ValueError if it is not what sats wrote."""
    if not path.is_file():
        return Tracking()
    found = read_json(path)
    if not is_a(found, _Stored):
        raise ValueError(f"{path} does not say what follows the run: remove it, and name trackers with --tracker.")
    return Tracking(tuple(found["trackers"]), found["ids"])


def write_tracking(path: Path, tracking: Tracking) -> None:
    """Write ``tracking`` down in the file ``path``."""
    values = {"trackers": list(tracking.trackers), "ids": dict(tracking.ids)}
    write_text(path, json.dumps(values, indent=2) + "\n")
