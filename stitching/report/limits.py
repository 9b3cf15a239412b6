"""How much a report draws: tables are made of any grid, pictures of those that people look at."""

from __future__ import annotations

from collections.abc import Sequence

from stitching.results.grid import Grid

__all__ = ["LARGEST_SIDE", "MOST_CELLS", "MOST_FIGURES", "MOST_GRIDS", "left_out"]

#: A sheet of more models than this does not fit a screen, nor its numbers into their boxes.
LARGEST_SIDE = 32

#: Grids of one sweep whose heatmaps are drawn: each takes a second or two.
MOST_GRIDS = 12

#: Grids of one sweep that get the paper's figures: each takes four seconds.
MOST_FIGURES = 2

#: Cells whose resamples are opened to tell which numbers differ: 10 ms each.
MOST_CELLS = 2000


def left_out(grids: Sequence[Grid]) -> str:
    """Return why heatmaps, pictures and signs beside numbers are left out; "" if they are not.

    Args:
        grids: All grids of a report.
    """
    side = max(max(len(grid.encoders), len(grid.decoders)) for grid in grids)
    cells = sum(len(grid.cells) for grid in grids)
    for count, most, what in (
        (len(grids), MOST_GRIDS, "grids"),
        (side, LARGEST_SIDE, "models in a row"),
        (cells, MOST_CELLS, "cells"),
    ):
        if count > most:
            return (
                "without heatmaps, pictures, signs of what differs and protocols.csv, and with "
                f"tables of the main measures only: all of it is made of up to {most} {what}, "
                f"here are {count} (--pictures makes it all the same; grid.csv and grid.parquet "
                "hold every number)"
            )
    return ""
