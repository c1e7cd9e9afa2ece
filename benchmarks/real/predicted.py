"""How many pixels models take for new classes, for each that is of one, from counts that paired.py has kept.

python benchmarks/real/predicted.py benchmarks/real/ccp/counts/*
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np


def main() -> None:
    """One line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", type=Path, nargs="+")
    for folder in parser.parse_args().counts:
        for path in sorted(folder.glob("*.npz")):
            kept = np.load(path)
            _, true, predicted = kept["counts"].sum(axis=0, dtype=np.int64)
            first = int(kept["num_first"])
            print(f"{folder.name}/{path.stem}: {predicted[first:].sum() / true[first:].sum():.2f}")


if __name__ == "__main__":
    main()
