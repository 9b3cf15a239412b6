"""From finished cells to tables and pictures: `python -m stitching.report DIR [DIR ...]`.

DIR is the folder of a sweep, with one folder per cell in it. Only files are read, so a report can
be made again at any time, also while other cells still run. It writes into DIR: `grid.csv`, one
row per finished cell with raw values, and the same as `grid.parquet`; a heatmap per measure;
`pictures.png`, one test image by every pair of models; and `table.md` and `table.tex`, all
measures rounded for reading and for papers. Of grids that no one could read as a picture
(`report.budget`) only tables are made, unless `--pictures` asks for all.

Where cells were measured by several protocols, or a sweep went over seeds, these lie in
`report/PROTOCOL/` instead, one folder each; `grid.csv` stays beside them with all cells. The
first DIR then gets `protocols.md` and `protocols.csv`: protocols side by side, and what each of
their switches moves.
"""

from stitching.records.plan import SweepPlan, read_sweep
from stitching.report.drawing.pictures import render_reconstructions
from stitching.report.files import main
from stitching.report.summary import summary_lines, summary_of
from stitching.report.tables import print_table
from stitching.results.cell import CellRecord
from stitching.results.differences import Difference, difference
from stitching.results.grid import Grid, collect, pivot, read_grid
from stitching.results.measures import MEASURES, Measure

__all__ = [
    "MEASURES",
    "CellRecord",
    "Difference",
    "Grid",
    "Measure",
    "SweepPlan",
    "collect",
    "difference",
    "main",
    "pivot",
    "print_table",
    "read_grid",
    "read_sweep",
    "render_reconstructions",
    "summary_lines",
    "summary_of",
]
