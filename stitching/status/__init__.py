"""Progress of a sweep, from its files alone: `python -m stitching.status DIR`.

It needs neither the process that runs the sweep nor its machine, only the folder.
`stitching.status.cells` defines when a cell counts as running or dead.
"""

from stitching.status.cells import CellProgress
from stitching.status.command import main
from stitching.status.sweeps import SweepProgress, look

__all__ = ["CellProgress", "SweepProgress", "look", "main"]
