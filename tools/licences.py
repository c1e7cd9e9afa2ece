"""Write docs/licences.md, the licences of what sats stands on, from the metadata of installed packages.

python tools/licences.py
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
DEV = "dev"
PERMITTED = frozenset(
    {
        "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0",
        "CC0-1.0", "HPND", "ISC", "MIT", "MIT-CMU", "PSF-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip
"""What may be asked of somebody who installs sats or an extra."""
PERMITTED_FOR_TESTS = PERMITTED | {"MPL-2.0"}
"""What those who change sats may install as well; none of it is passed on."""
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
TEXTS = {  # how free text begins, where there is nothing better
    "Apache": "Apache-2.0",
    "BSD-3-Clause": "BSD-3-Clause",
    "FreeBSD": "BSD-2-Clause",
    "MIT": "MIT",
}
HEAD = """\
# Licences

`sats` is Apache-2.0. What it stands on is permissive throughout. `tools/licences.py` reads the table from the packages'
own metadata, in the versions of `constraints.txt`; `tests/test_licences.py` fails where it is out of date, or where a
licence is none of these: {permitted} (for tests also MPL-2.0). What these packages depend on is not listed.

| package | version | licence | for |
|---|---|---|---|
"""
FOOT = """
**Weights** have licences of their own. The SegFormer encoders published by their authors (`nvidia/mit-b0` to `-b5`),
from which the published settings start, are for non-commercial use; DINOv2's are Apache-2.0. `sats` contains none, and
fetches those alone that a recipe or `--model.weights` names.

**Data sets** have terms of their own: `sats data list` says where each is to be had, and under which. The built-in
digits are UCI's optical recognition set, which comes with scikit-learn.
"""


@dataclass(frozen=True)
class Dependency:
    """A package that pyproject.toml names, and what for: "sats", or the extras that name it."""

    name: str
    purposes: tuple[str, ...]

    @property
    def licences(self) -> frozenset[str]:
        """All that apply, by their SPDX names; ValueError where the metadata does not say."""
        told = metadata(self.name)
        if expression := told.get("License-Expression"):
            return frozenset(part.strip("() ") for part in re.split(r"\bAND\b", expression))
        classified = [entry.split(" :: ")[-1] for entry in told.get_all("Classifier") or [] if "License ::" in entry]
        known = frozenset(CLASSIFIERS[name] for name in classified if name in CLASSIFIERS)
        text = (told.get("License") or "").strip()
        known = known or frozenset(name for start, name in TEXTS.items() if text.startswith(start))
        if not known:
            raise ValueError(
                f"{self.name} does not say its licence in words that tools/licences.py knows: {text[:60]!r}"
            )
        return known

    @property
    def is_permitted(self) -> bool:
        """Whether all of them may be asked of whoever installs it."""
        return self.licences <= (PERMITTED_FOR_TESTS if self.purposes == (DEV,) else PERMITTED)


def normalised(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies() -> list[Dependency]:
    """Everything that pyproject.toml names, in the order of the alphabet."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"sats": project["dependencies"], **project["optional-dependencies"]}
    purposes: dict[str, list[str]] = {}
    for group, wanted in groups.items():
        for requirement in wanted:
            name = normalised(re.split(r"[^\w.-]", requirement)[0])
            if name != "sats":
                purposes.setdefault(name, []).append(group)
    return [Dependency(name, tuple(groups)) for name, groups in sorted(purposes.items())]


def pinned() -> dict[str, str]:
    """Versions by name, as constraints.txt has them."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if "==" in line]
    return {normalised(name): version for name, version in pairs}


def page() -> str:
    """The whole page."""
    versions = pinned()
    rows = [
        f"| {one.name} | {versions[one.name]} | {', '.join(sorted(one.licences))} | {', '.join(one.purposes)} |\n"
        for one in dependencies()
    ]
    return HEAD.format(permitted=", ".join(sorted(PERMITTED))) + "".join(rows) + FOOT


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: {len(dependencies())} packages\n")
