"""Tables, pictures, claims and a page of sweeps: `python -m stitching.report DIR [DIR ...]`.

DIR is the folder of a sweep, with one folder per cell. A report reads files only, so it can be
made again at any time, also while other cells still run. It writes into DIR:

- `grid.csv` and `grid.parquet`: one row per finished cell, with raw values;
- `table.md` and `table.tex`: all measures, rounded for reading and for papers;
- a heatmap per measure, `pictures.png` (one test image by every pair of models) and `figures/`;
- `claims.md` and `claims.json`; `report.html`, the page.

Large grids get tables and the page only (`report.limits`), unless `--pictures` asks for all.

Where cells were measured by several protocols, or a sweep went over seeds, tables and pictures
lie in `report/PROTOCOL/` instead, one folder each; `grid.csv` stays beside them with all cells.
The first DIR then gets `protocols.md` and `protocols.csv`: protocols side by side, and the effect
of each of their switches.
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
