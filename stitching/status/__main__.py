"""Entry of `python -m stitching.status`."""

import sys

from stitching.records.text import make_printable
from stitching.status.command import main

if __name__ == "__main__":
    make_printable()
    sys.exit(main(sys.argv[1:]))
