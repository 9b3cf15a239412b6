"""Details of cells on the page: attributes, curves, facts and failures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from stitching.report.limits import Limits
from stitching.report.page.packing import Chunks, rounded
from stitching.report.page.payload import Facts
from stitching.report.tables import cell_texts
from stitching.results.cell import CellRecord
from stitching.results.formats import with_interval
from stitching.results.measures import Measure, measure_of
from stitching.results.variants import View

#: Files of curves, and the columns that the page draws, as far as a file has them.
CURVES = {
    "penalty_curve": ("alpha", "cv_mse", "dof", "chosen", "flat", "image_rmse"),
    "rank_curve": ("rank", "latent/r2", "image/lpips", "image/rmse"),
}

#: Significant digits of curves, which are drawn 300 pixels high.
_DIGITS = 4


def add_details(
    views: Sequence[View], measures: Sequence[Measure], facts: Facts, chunks: Chunks,
    limits: Limits,
) -> int:  # fmt: skip
    """Pack the details of cells, a chunk for each row of a grid, while there is room.

    Returns:
        How many cells were left out.
    """
    known = frozenset(measure.key for measure in measures)
    room, left_out = limits.details_bytes, 0
    for number, view in enumerate(views):
        width, found = len(view.grid.decoders), view.cells
        for row in range(len(view.grid.encoders)):
            cells = found[row * width : (row + 1) * width]
            used = 0
            if room > 0:
                entries = [x and _details(x, known, facts, limits) for x in cells]
                used = chunks.add(f"detail-{number}-{row}", entries, room)
                room = room - used if used else 0  # no gaps: all that follows is left out, too
            left_out += 0 if used else sum(x is not None and x.state != "missing" for x in cells)
    return left_out


def _details(
    cell: CellRecord, known: frozenset[str], facts: Facts, limits: Limits
) -> dict[str, Any]:
    if cell.state != "done":
        return {"traceback": _end_of(cell.path / "error.txt", limits.traceback)}
    curves = {name: _curve(cell.path / f"{name}.csv", keys) for name, keys in CURVES.items()}
    return {
        "attributes": _attributes(cell, known),
        "facts": facts.of(cell),
        "curves": {name: curve for name, curve in curves.items() if curve},
    } | _flat(cell, known)


def _flat(cell: CellRecord, known: frozenset[str]) -> dict[str, Any]:
    """Return measures at the other penalty, for a cell whose penalty is not determined."""
    keys = [key for key in cell.values if key in known and cell.flat(key) is not None]
    keys = [key for key in keys if not measure_of(key).of_decoder]
    if not keys:
        return {}
    names = {"alpha": "alpha", "other": "map/flat_alpha", "gap": "map/flat_gap"}
    numbers = {name: _significant(cell.number(key)) for name, key in names.items()}
    return {"flat": numbers | {"measures": {key: _flat_texts(cell, key) for key in keys}}}


def _flat_texts(cell: CellRecord, key: str) -> list[str]:
    texts = with_interval(cell.flat(key) or 0.0, cell.interval(f"flat/{key}"), measure_of(key))
    return [text for text in (texts[0], texts[1][1:-1]) if text]


def _significant(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.3g}")


def _attributes(cell: CellRecord, known: frozenset[str]) -> dict[str, dict[str, list[str]]]:
    """Return measure to attribute to its text and the ends of its interval."""
    found: dict[str, dict[str, list[str]]] = {}
    for measure in _by_attribute(tuple(cell.values), known):
        base, _, name = measure.key.rpartition("/")
        text, interval = cell_texts(cell, measure)
        found.setdefault(base, {})[name] = [text, interval[1:-1]] if interval else [text]
    return found


@lru_cache(maxsize=64)  # most cells of a sweep have the same keys
def _by_attribute(keys: tuple[str, ...], known: frozenset[str]) -> list[Measure]:
    """Return the measures of single attributes among keys, such as `probe/kappa/Male`."""
    ends = (".low", ".high")
    one = [key for key in keys if key.rpartition("/")[0] in known and not key.endswith(ends)]
    return [measure_of(key) for key in one]


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
