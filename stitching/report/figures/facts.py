"""Facts of a grid that stand beside its figures."""

from __future__ import annotations

from collections.abc import Iterable

from stitching.results.cell import BASELINES, CellRecord
from stitching.results.formats import setting
from stitching.results.grid import Grid

INTERVAL = "In brackets: 95 % intervals over resamples of the test images."


def map_pairs(grid: Grid) -> list[CellRecord]:
    """Return the finished cells of two different models of which neither is a baseline."""
    return [cell for cell in grid.off_diagonal if not set(cell.kinds) & set(BASELINES)]


def probe_setting(grid: Grid, cells: Iterable[CellRecord], *, maps: bool = True) -> str:
    """Return what cells have in common, with the number of items that probes are scored on.

    Args:
        grid: Finished cells.
        cells: Those that are shown.
        maps: Whether maps take part in what is shown.
    """
    counts = sorted({n for cell in cells for n in _probed(cell)})
    text = setting(grid.frame if maps else grid.frame.drop(columns="map", errors="ignore"))
    if counts and counts != [grid.frame["n_test"].iloc[0]]:
        items = f"{counts[0]:g}" if len(counts) == 1 else f"{counts[0]:g} to {counts[-1]:g}"
        text += f"; probes are scored on {items} items"
        text += " by attribute" if len(counts) > 1 else ""
    return text


def _probed(cell: CellRecord) -> list[float]:
    """Return the numbers of items that the attributes of a cell were measured on."""
    same = cell.number("probe/n_test")
    if same is not None:
        return [same]
    keys = [key for key in cell.values if key.startswith("probe/n_test/")]
    return [n for key in keys if (n := cell.number(key)) is not None]
