"""What a sweep is at, from its files alone: `python -m stitching.status DIR`.

It needs neither the process that runs the sweep nor its machine: only the folder. The rules by
which a cell counts as running or dead are those of `stitching.status.cells`.
"""

from stitching.status.cells import Cell
from stitching.status.command import main
from stitching.status.sweeps import Sweep, look

__all__ = ["Cell", "Sweep", "look", "main"]
