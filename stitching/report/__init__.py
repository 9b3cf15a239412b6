"""Tables, pictures, claims and a page of sweeps: `python -m stitching.report DIR [DIR ...]`.

DIR is the folder of a sweep, with one folder per cell. A report reads files only, so it can be
made again at any time, also while other cells still run. It writes into DIR:

- `summary.csv`: a row per pair of models with the raw main measures, at most 20 columns;
- `grid.parquet`: a row per finished cell with all raw values, but what all cells share;
- `table.md` and `table.tex`: the main measures as one table, rounded for reading and for papers;
- `tables.md` and `tables.tex`: a table for each other measure;
- a heatmap per measure, `pictures.png` (one test image by every pair of models) and `figures/`;
- `claims.md` and `claims.json`; `report.html`, the page.

Large grids get tables and the page only (`report.limits`), unless `--pictures` asks for all.

Where cells were measured by several protocols, or a sweep went over seeds, tables and pictures
lie in `report/PROTOCOL/` instead, one folder each; `summary.csv` and `grid.parquet` of all cells
stay above them. The first DIR then gets `protocols.md` and `protocols.csv`: protocols side by
side, and the effect of each of their switches.
"""

from stitching.records.plan import SweepPlan, read_sweep
from stitching.report.command import main, report_sweeps
from stitching.report.drawing.pictures import render_reconstructions
from stitching.report.summary import summary_lines, summary_of
from stitching.report.tables import print_table
from stitching.results.cell import CellRecord, difference
from stitching.results.differences import Difference
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
    "report_sweeps",
    "summary_lines",
    "summary_of",
]
