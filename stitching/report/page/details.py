"""What the page shows of one cell: its attributes, curves, facts and failure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stitching.report.page.limits import Limits
from stitching.report.page.packing import Chunks, rounded
from stitching.report.page.payload import Facts
from stitching.report.tables import cell_texts
from stitching.results.cell import CellRecord
from stitching.results.measures import Measure, measure_of
from stitching.results.variants import View

__all__ = ["Attributes", "add_details"]

#: Files of curves, and the columns that the page draws; a file has those that were measured.
CURVES = {
    "penalty_curve": ("alpha", "cv_mse", "dof", "chosen"),
    "rank_curve": ("rank", "latent/r2", "image/lpips", "image/rmse"),
}

#: Significant digits of curves, which are drawn 300 pixels high.
_DIGITS = 4


class Attributes:
    """Finds the measures of single attributes among the keys of cells.

    Args:
        measures: Whose keys the names of attributes follow, as in `probe/kappa/Male`.
    """

    def __init__(self, measures: Sequence[Measure]) -> None:
        self._known = {measure.key for measure in measures}
        self._found: dict[tuple[str, ...], list[Measure]] = {}

    def of(self, cell: CellRecord) -> dict[str, dict[str, list[str]]]:
        """Return measure to attribute to its text and the ends of its interval."""
        keys = tuple(cell.values)
        if keys not in self._found:
            ends = (".low", ".high")
            one = [x for x in keys if x.rpartition("/")[0] in self._known and not x.endswith(ends)]
            self._found[keys] = [measure_of(key) for key in one]
        found: dict[str, dict[str, list[str]]] = {}
        for measure in self._found[keys]:
            base, _, name = measure.key.rpartition("/")
            text, interval = cell_texts(cell, measure)
            found.setdefault(base, {})[name] = [text, interval[1:-1]] if interval else [text]
        return found


def add_details(
    views: Sequence[View], measures: Sequence[Measure], facts: Facts, chunks: Chunks,
    limits: Limits,
) -> int:  # fmt: skip
    """Pack what there is of each cell, a chunk for each row of a grid, while there is room.

    Returns:
        How many cells it left out.
    """
    attributes = Attributes(measures)
    room, left_out = limits.details_bytes, 0
    for number, view in enumerate(views):
        width, found = len(view.grid.decoders), view.cells
        for row in range(len(view.grid.encoders)):
            cells = found[row * width : (row + 1) * width]
            used = 0
            if room > 0:
                entries = [x and _details(x, attributes, facts, limits) for x in cells]
                used = chunks.add(f"detail-{number}-{row}", entries, room)
                room = room - used if used else 0  # no gaps: what follows is left out, too
            left_out += 0 if used else sum(x is not None and x.state != "missing" for x in cells)
    return left_out


def _details(
    cell: CellRecord, attributes: Attributes, facts: Facts, limits: Limits
) -> dict[str, Any]:
    if cell.state != "done":
        return {"traceback": _end_of(cell.path / "error.txt", limits.traceback)}
    curves = {name: _curve(cell.path / f"{name}.csv", keys) for name, keys in CURVES.items()}
    return {
        "attributes": attributes.of(cell),
        "facts": facts.of(cell),
        "curves": {name: curve for name, curve in curves.items() if curve},
    }


def _end_of(path: Path, limit: int) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return text if len(text) <= limit else f"[...]\n{text[-limit:]}"


def _curve(path: Path, keys: Sequence[str]) -> dict[str, list[float | None]]:
    """Return the columns of a curve that can be drawn; empty without any row."""
    try:
        head, *rows = path.read_text(encoding="utf-8").splitlines()
        numbers = [[float(word or "nan") for word in row.split(",")] for row in rows if row]
        table = dict(zip(head.split(","), zip(*numbers, strict=True), strict=True))
    except (OSError, ValueError):  # not there, or not written to its end
        return {}
    columns = {key: rounded(table[key], _DIGITS) for key in keys if key in table}
    return {key: column for key, column in columns.items() if any(x is not None for x in column)}
