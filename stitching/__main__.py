"""Entry of `python -m stitching`, the same as `stitching`."""

from stitching.cli.command import main

if __name__ == "__main__":
    main()
