"""Entry of `python -m stitching.report`."""

import gc
import sys

from stitching.report.command import main

if __name__ == "__main__":
    gc.disable()  # of ten thousand cells it would look at every value again and again
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
