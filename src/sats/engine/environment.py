"""What a run runs on."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from accelerate import Accelerator


def environment(accelerator: Accelerator) -> dict[str, object]:
    """Versions, device and command, for environment.json."""
    packages = ("sats", "torch", "transformers", "accelerate", "numpy", "pillow")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in packages},
        "device": str(accelerator.device),
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }


def memory_in_use(device: torch.device) -> int:
    """MiB: the most that tensors took on a GPU so far; elsewhere, what the main process takes now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    return int(psutil.Process().memory_info().rss) >> 20
