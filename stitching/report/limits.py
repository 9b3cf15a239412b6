"""Limits of a report: tables have all cells, pictures and pages those that a reader looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stitching.results.grid import Grid

#: A sheet of more models than this does not fit a screen, nor its numbers into their boxes.
LARGEST_SIDE = 32

#: Grids of one sweep whose heatmaps are drawn: each takes a few seconds.
MOST_GRIDS = 12

#: Grids of one sweep that get the paper's figures: each takes four seconds.
MOST_FIGURES = 2

#: Cells whose resamples are opened to find which numbers differ: 10 ms each.
MOST_CELLS = 2000

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Limits of the page. Files beyond a limit are linked, and a note on the page names it.

    Sizes are those in the file, in bytes. The defaults keep the page of 10,000 cells below
    15 MiB, and all of a grid of 12 x 12 inside.

    Attributes:
        pictures_bytes: Pictures of all cells together.
        pictures_cells: Cells of a sweep up to which all of them show pictures. In a larger sweep
            `pictures_first` cells do: reading and writing a picture takes about 20 ms.
        pictures_first: Cells with pictures in a sweep of more than `pictures_cells`.
        tiles_bytes: Pictures of the grid of pictures, one for each cell, together.
        tile_width: They are reduced by a whole factor to at most this width, in pixels.
        picture_width: Pictures are reduced by a whole factor to at most this width, in pixels.
        picture_quality: Of WebP, 0-100.
        values: Numbers in the grids of all measures; of a larger sweep the grids show the
            measures that the console does.
        details_bytes: Attributes, curves and tracebacks of all cells together.
        figures_bytes: The paper's figures together.
        traceback: Characters of a traceback, counted from its end.
        numbers: Numbers of an answer to a claim; `claims.json` has all.
        digits: Significant digits of the numbers behind colours and means. Texts are rounded as
            in tables.
    """

    pictures_bytes: int = 6 * _MIB
    pictures_cells: int = 160
    pictures_first: int = 40
    tiles_bytes: int = 2 * _MIB
    tile_width: int = 96
    picture_width: int = 1000
    picture_quality: int = 85
    values: int = 150_000
    details_bytes: int = _MIB // 4
    figures_bytes: int = 2 * _MIB
    traceback: int = 6000
    numbers: int = 40
    digits: int = 5


def left_out(grids: Sequence[Grid]) -> str:
    """Return why a report has no heatmaps, pictures and signs beside numbers; "" if it has."""
    counts = {
        "grids": (len(grids), MOST_GRIDS),
        "models in a row": (
            max(max(len(grid.encoders), len(grid.decoders)) for grid in grids),
            LARGEST_SIDE,
        ),
        "cells": (sum(len(grid.cells) for grid in grids), MOST_CELLS),
    }
    for what, (count, most) in counts.items():
        if count > most:
            return (
                "without heatmaps, pictures, signs of what differs and protocols.csv, and with "
                f"tables of the main measures only: all of it is made of up to {most} {what}, "
                f"here are {count} (--pictures makes it all the same; grid.parquet holds "
                "every number)"
            )
    return ""
