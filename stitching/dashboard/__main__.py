"""Entry of `python -m stitching.dashboard`."""

import sys

from stitching.dashboard.command import main

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.exit(f"error: {error}")
