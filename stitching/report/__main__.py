"""Entry of `python -m stitching.report`."""

import sys

from stitching.report.files import main

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
