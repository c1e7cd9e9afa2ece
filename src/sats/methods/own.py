"""Methods in files of the user's own, which the environment variable SATS_METHODS names."""

from __future__ import annotations

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING, Final

from sats.files import at_home

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE: Final = "SATS_METHODS"


def import_own() -> None:
    """Import the Python files that SATS_METHODS names, as PATH does folders: their methods are known from then on.

    ValueError if one is not there, or cannot be imported.
    """
    for name in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        path = at_home(name).absolute()
        if not path.is_file() or path.suffix != ".py":
            raise ValueError(f"{VARIABLE} names {name}, which is not a Python file: fix or unset it.")
        if path.stem not in sys.modules:
            _import(path)
        elif getattr(sys.modules[path.stem], "__file__", None) != str(path):
            raise ValueError(f"{VARIABLE} names {name}, and another module is called {path.stem}: rename the file.")


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
