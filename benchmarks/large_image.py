"""Peak memory of finding the classes of a large image: a few rows at a time, and all logits at once.

    python benchmarks/large_image.py [--json benchmarks/large_image.json]

12 megapixels, 151 classes, a head at a quarter of the image's side; a process for each, of one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import torch

from sats.evaluation import argmax
from sats.types import SegOutput

SIZE, CLASSES = (3000, 4000), 151


def measure(way: str) -> int:
    """MiB of the whole process at its peak."""
    torch.set_num_threads(1)
    if way == "at once":
        argmax.LARGE = sys.maxsize
    output = SegOutput(torch.randn(1, CLASSES, SIZE[0] // 4, SIZE[1] // 4), (), (), SIZE)
    argmax.best_classes(output, SIZE, CLASSES)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Measure both ways, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments.way)))
        return
    found = {}
    for way in ("in pieces", "at once"):
        done = subprocess.run([sys.executable, __file__, "--way", way], check=True, capture_output=True, text=True)  # noqa: S603 (this script)
        found[way] = json.loads(done.stdout)
        print(f"{way}: {found[way]} MiB")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
