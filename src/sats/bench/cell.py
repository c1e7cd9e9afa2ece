"""``python -m sats.bench.cell RUN``: go on with a run for as long as the process that started this one lives."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from sats import cli
from sats.holding import wait_until_free

SECONDS_TO_LET_GO = 60.0
"""For how long a process whose own starter was killed may still write its checkpoint."""
STDIN = 0


def main() -> int:
    """Run the command; returns the exit code of ``sats resume``."""
    threading.Thread(target=stop_with_starter, daemon=True).start()
    folder = Path(sys.argv[1])
    wait_until_free(folder, SECONDS_TO_LET_GO)
    return cli.main(["resume", str(folder)])


def stop_with_starter() -> None:
    """Ask this process to stop once the other end of its standard input is closed."""
    while os.read(STDIN, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
