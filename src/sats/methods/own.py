"""Methods in files of the user's own, which the environment variable SATS_METHODS names."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Final

from sats.files import at_home

VARIABLE: Final = "SATS_METHODS"


def import_own() -> None:
    """Import the Python files that SATS_METHODS names, as PATH does folders: their methods are known from then on.

    ValueError if one is not there, or cannot be imported.
    """
    for name in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        path = at_home(name).resolve()
        if not path.exists():
            raise ValueError(
                f"{VARIABLE} names {name}, and there is no {path}: name it by its whole path, or unset it."
            )
        if not path.is_file() or path.suffix != ".py":
            raise ValueError(f"{VARIABLE} names {name}, which is not a Python file: fix or unset it.")
        if _place_of(path.stem) not in (None, str(path)):
            raise ValueError(f"{VARIABLE} names {name}, and another module is called {path.stem}: rename the file.")
        if path.stem not in sys.modules:
            _import(path)


def _place_of(module: str) -> str | None:
    """The file of a module that is imported, or would be found; None if there is none."""
    if module in sys.modules:
        return _resolved(getattr(sys.modules[module], "__file__", None))
    try:
        found = find_spec(module)
    except (ImportError, ValueError):  # no name of a module: nobody else has it
        return None
    return _resolved(found.origin) if found else None


def _resolved(file: str | None) -> str:
    """The path of a file without links; of a module that has none, what no file is called."""
    return str(Path(file).resolve()) if file else ""


def _import(path: Path) -> None:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None  # noqa: S101 (it ends in .py)
    assert spec.loader is not None  # noqa: S101
    module = module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their types up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise ValueError(
            f"{path}, which {VARIABLE} names, cannot be imported ({type(error).__name__}: {error}): fix it, or unset "
            f"{VARIABLE}."
        ) from error
