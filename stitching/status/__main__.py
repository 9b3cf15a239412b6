"""Entry of `python -m stitching.status`."""

import sys

from stitching.status.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
