"""``python -m sats`` is the ``sats`` command."""

import sys

from sats.cli import main

if __name__ == "__main__":
    sys.exit(main())
