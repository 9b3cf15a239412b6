"""Entry of `python -m stitching.claims`."""

import sys

from stitching.claims.files import main

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
