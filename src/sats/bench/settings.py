"""From a suite's settings to a run's configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sats import api
from sats.config import from_json, to_json
from sats.dotted import Settings, merged
from sats.methods import METHODS
from sats.recipes import recipe

if TYPE_CHECKING:
    from pathlib import Path

    from sats.config import RunConfig
    from sats.methods import Method

DIFFERENCES_SHOWN = 4


@dataclass(frozen=True)
class Places:
    """Where this machine has the data and the weights; a suite's own paths are below these."""

    data: Path | None = None
    weights: Path | None = None

    def check(self) -> None:
        """ValueError for one that is not there."""
        for flag, path in (("--data", self.data), ("--weights", self.weights)):
            if path is not None and not path.is_dir():
                raise ValueError(f"{path} is not a folder: name one that is there with {flag} DIR.")


def different(before: Settings, after: Settings) -> str:
    """The flat settings in which two differ, in words; empty if none."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    shown = [f"{name} {_text(before, name)}, now {_text(after, name)}" for name in names[:DIFFERENCES_SHOWN]]
    more = [f"and {len(names) - DIFFERENCES_SHOWN} more"] if len(names) > DIFFERENCES_SHOWN else []
    return "; ".join([*shown, *more])


def _text(settings: Settings, name: str) -> str:
    return json.dumps(settings[name], ensure_ascii=False) if name in settings else "not there"


def configuration(
    default_recipe: str, variant: str, settings: Settings, places: Places, where: str
) -> RunConfig[Method]:
    """A recipe's settings for the method of a cell, with the suite's ``settings`` over them.

    A ``variant`` without a method is the method of that name. ValueError says ``where`` something is wrong.
    """
    own = dict(settings)
    name = own.pop("recipe", default_recipe)
    try:
        values = json.loads(to_json(recipe(str(name), _method(own, variant))))
        config = from_json(json.dumps(_placed(merged(values, own), own, places)))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if config.start_from or config.extends.checkpoint:
        raise ValueError(f"{where}: where step 0 comes from is decided here: leave out start_from and extends.")
    return api.absolute_paths(api.with_first_folder(config))


def _method(settings: Settings, variant: str) -> str:
    method = settings.get("method", {})
    if not isinstance(method, dict):
        raise ValueError(f'method is an object such as {{"name": "sats"}}, not {method!r}.')
    if "name" in method or variant in METHODS:
        return str(method.get("name", variant))
    raise ValueError(f'no method is called {variant}: say which it is a variant of, with "method": {{"name": ...}}.')


def _can_be_placed(values: Settings) -> bool:
    data, model = values.get("data"), values.get("model")
    return (
        isinstance(data, dict)
        and isinstance(model, dict)
        and isinstance(data.get("folders", []), list)
        and isinstance(model.get("weights", ""), str)
    )


def _placed(values: Settings, own: Settings, places: Places) -> Settings:
    """``values`` with the paths of data and weights below their ``places``."""
    if not _can_be_placed(values):
        return values  # whoever reads them says what is wrong
    data, model = values["data"], values["model"]
    if data.get("source") != "scenes":
        if places.data is None:
            raise ValueError("Where is the data? Name its folder with --data DIR.")
        root = places.data / str(data.get("root", ""))
        if not root.is_dir():
            raise ValueError(f"There is no folder {root}: name the one that holds the data with --data DIR.")
        folders = [str(places.data / str(folder)) for folder in data.get("folders", ())]
        data = {**data, "root": str(root), "folders": folders}
    if places.weights is not None:
        named = own.get("model", {}).get("weights")  # "": at random, whatever the others start from
        model = {
            **model,
            "weights": named and str(places.weights / named) if named is not None else str(places.weights),
        }
    return {**values, "data": data, "model": model}
