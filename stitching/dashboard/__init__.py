"""A dashboard on Weights & Biases, as code: `python -m stitching.dashboard PROJECT`.

It makes a saved workspace, with one bar plot per measure and one bar per cell, and a report of
the sweep: its grid as a table, heatmaps, pictures, the same plots and the answers to claims. No
panel averages over cells. The library `wandb-workspaces` writes both: `pip install
'stitching[dashboard]'`.
"""

from stitching.dashboard.command import main
from stitching.dashboard.page import build_report
from stitching.dashboard.target import Target
from stitching.dashboard.workspace import build_workspace

__all__ = ["Target", "build_report", "build_workspace", "main"]
