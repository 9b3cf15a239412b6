"""Time to know the images of a folder by content: `python tests/benchmarks/stamps.py ROOT`.

Cold: no table of stamps yet. Warm: every file is the one it was. Medians of three, in seconds;
the files themselves are in the system's memory from a first pass.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from stitching.data.folder import Folder
from stitching.data.stamps import Stamps


def main(root: Path) -> None:
    """Print both times, and that of hashing alone."""
    data = Folder(root, 1, 1, 64, attributes=None, test_share=0.2)
    files = list(data._files.values())
    Stamps(root, None).facts_of(files)
    cold, warm = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as cache:
            for times in (cold, warm):
                stamps = Stamps(root, Path(cache))
                start = time.perf_counter()
                stamps.facts_of(files)
                times.append(time.perf_counter() - start)
    for name, times in (("cold", cold), ("warm", warm)):
        print(f"{name}: {statistics.median(times):.3f} s for {len(files)} files")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
