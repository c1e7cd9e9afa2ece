"""How torch's threads wait and its memory is handed back in this process. Set before torch is loaded."""

from __future__ import annotations

import ctypes
import os
import platform

BRIEF = "1000"
"""Turns for which a waiting thread spins before it sleeps."""
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""glibc's names of two settings of malloc (malloc.h)."""
KEPT = 2**25
"""Bytes: smaller pieces stay with the process when they are freed."""


def prepare() -> None:
    """Before torch is loaded; what the environment says already stays."""
    spin_briefly()
    keep_freed_memory()


def spin_briefly() -> None:
    """Let torch's threads wait for each other awake only for a moment, then sleep.

    By default they spin for milliseconds, which takes the cores from other processes and now and then brings training
    beside them nearly to a halt (benchmarks/waiting_threads.py).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", BRIEF)


def keep_freed_memory() -> None:
    """Let glibc keep tensors' memory for the next ones, up to KEPT bytes each, instead of giving it back at once.

    By default each large tensor is asked of the system anew, which fills it with zeros page by page: 5 to 9% of an
    iteration on a processor (benchmarks/freed_memory.py). Elsewhere than on glibc nothing happens.
    """
    asked = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if platform.libc_ver()[0] != "glibc" or asked:
        return
    library = ctypes.CDLL(None)
    library.mallopt(MMAP_THRESHOLD, KEPT)
    library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
