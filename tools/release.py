"""Build the sdist and the wheel, install the wheel in an empty environment, and train there.

python tools/release.py [dist]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "sats"
TINY = "--images 20 --data.image-size 32 --crop 32 --batch-size 6 --epochs 1 --epochs-later 1"
WORDS = (
    "--version",
    f"train scenes --method sats --protocol 5-5 {TINY} --out run",
    "report run --images 1",
    "runs .",
)


def say(*words: object, within: Path = ROOT) -> None:
    """Run a command away from this checkout's settings; CalledProcessError if it fails."""
    print("$", *words, flush=True)
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([str(word) for word in words], cwd=within, env=alone, check=True)  # noqa: S603 (our own commands)


def build(target: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel that is made from it."""
    say(sys.executable, "-m", "build", "--outdir", target, ROOT)
    return max(target.glob("sats-*.tar.gz")), max(target.glob("sats-*.whl"))


def wanted() -> set[str]:
    """What the package's folder holds, as a wheel names it."""
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(PACKAGE.parent).as_posix() for path in files}


def check_contents(sdist: Path, wheel: Path) -> None:
    """Every file of the package and its licence are in the wheel, tests and pages in the sdist, caches in neither."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    missing = wanted() - packed
    if missing or not any(name.endswith("licenses/LICENSE") for name in packed):
        raise SystemExit(f"{wheel.name} lacks {sorted(missing) or 'LICENSE'}.")
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"tests/conftest.py", "docs/index.md", "constraints.txt", "CHANGELOG.md", "CITATION.cff"}
    unwanted = {name for name in sources | packed if "__pycache__" in name or name.startswith(("docs/_build", "runs/"))}
    if needed - sources or unwanted:
        raise SystemExit(f"{sdist.name} lacks {sorted(needed - sources)}, holds {sorted(unwanted)[:3]}.")


def install(wheel: Path, place: Path) -> Path:
    """An environment with nothing but the wheel and what it asks for; returns its ``sats``."""
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    say(python, "-m", "pip", "install", "--quiet", wheel, "--constraint", ROOT / "constraints.txt")
    say(python, "-m", "pip", "check")
    return place / "bin" / "sats"


def main(target: Path) -> None:
    """All of it, one thing after the other."""
    sdist, wheel = build(target)
    check_contents(sdist, wheel)
    with tempfile.TemporaryDirectory() as folder:
        sats = install(wheel, Path(folder) / "environment")
        for words in WORDS:
            say(sats, *words.split(), within=Path(folder))
    print(f"{sdist.name} and {wheel.name} are in {target}.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist").resolve())
