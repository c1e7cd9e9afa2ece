"""Every case of `iteration.py` that the docs show: runs those that iteration.json lacks, and prints the tables.

    python benchmarks/iteration_table.py [--json benchmarks/iteration.json] [--minutes 20]

One case after the other, each alone on the machine. Delete the file to measure everything anew (two hours).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
METHODS = ("finetune", "lwf", "lwf-mc", "ilt", "ewc", "pi", "rw", "mib", "plop", "ssul", "ewf", "dft", "sats")
KEY = ("model", "size", "classes", "method", "at", "batch", "attention")


def case(method: str, model: str = "segformer-b0", size: int = 256, **rest: object) -> dict[str, object]:
    """The settings of one measurement."""
    batch = 4 if size <= 256 else 2
    return {"model": model, "size": size, "classes": 21, "method": method, "at": "pixels", "batch": batch, **rest}


def cases() -> list[dict[str, object]]:
    """All of them, the most telling first."""
    return [
        *(case("sats", classes=classes, at=at) for classes in (21, 151) for at in ("pixels", "logits")),
        *(case(method) for method in METHODS[:-1]),
        case("sats", attention=False),
        case("sats", "dinov2-small", 252),
        case("sats", "dinov2-small", 252, attention=False),
        *(case("sats", size=size, classes=classes) for size in (128, 512) for classes in (21, 151)),
        *(case("sats", "segformer-b2", 256, classes=classes) for classes in (21, 151)),
        *(case(method, classes=151) for method in METHODS[:-1]),
        case("sats", "dinov2-small", 252, classes=151),
        case("sats", "dinov2-small", 518),
        *(case("sats", "segformer-b2", 512, classes=classes) for classes in (21, 151)),
    ]


def key(found: dict[str, object]) -> tuple[object, ...]:
    """What tells one measurement from another."""
    return tuple(found.get(name, True) for name in KEY)


def measure(settings: dict[str, object]) -> dict[str, object]:
    """One measurement, by `iteration.py`."""
    flags = [word for name, value in settings.items() if name != "attention" for word in (f"--{name}", str(value))]
    if not settings.get("attention", True):
        flags.append("--no-attention")
    rounds = "9" if settings["size"] in (128, 252, 256) and settings["model"] != "segformer-b2" else "3"
    words = [sys.executable, str(HERE / "iteration.py"), *flags, "--rounds", rounds, "--json"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)  # noqa: S603 (our own script)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def table(rows: list[dict[str, object]]) -> str:
    """The measurements as Markdown."""
    lines = [
        "| model, side, batch | classes | method | iteration / floor | MiB: its own / the floor's |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        method = f"`{row['method']}`" + ("" if row["at"] == "pixels" else ", asked at logits")
        method += "" if row.get("attention", True) else ", attention transfer off"
        lines.append(
            f"| {row['model']}, {row['size']}, {row['batch']} | {row['classes']} | {method} "
            f"| {row['ratio_to_floor']:.2f} | {row['peak_mib']} / {row['floor_peak_mib']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, keep it, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=HERE / "iteration.json")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after so many")
    arguments = parser.parse_args()
    found = json.loads(arguments.json.read_text()) if arguments.json.is_file() else []
    end = time.monotonic() + 60 * arguments.minutes
    order = [key(settings) for settings in cases()]
    for settings in cases():
        if key(settings) in map(key, found) or time.monotonic() > end:
            continue
        found.append(measure(settings))
        found.sort(key=lambda row: order.index(key(row)))
        arguments.json.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
