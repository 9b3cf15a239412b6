"""`summary.csv`: the main measures of every pair of models, for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat

from stitching.results.cell import CellRecord
from stitching.results.configs import swept_setting
from stitching.results.grid import Grid, Pair
from stitching.results.measures import main_measures

MOST_COLUMNS = 20


def summary_csv(grids: Mapping[str, Grid]) -> str:
    """Return the main measures with their 95 % intervals as CSV, at most 20 columns, unrounded.

    A row per pair of models and, where a number was swept, per value of it. Columns are
    `encoder`, `decoder`; `kind`, which is "own reconstruction" for one model in both roles, else
    "control" or "model" by the encoder; `state`; `protocol`, where there are several grids; the
    swept setting; and KEY, KEY/low, KEY/high of each measure. What is missing is empty, and a
    number that is not finite is "invalid".

    Args:
        grids: By protocol and seed in words, such as "strict, seed=1".

    Raises:
        ValueError: Cells of one pair differ in their results, and not by one swept number.

    Example:
        >>> print(summary_csv({"strict": read_grid(Path(sweep))}))
    """
    swept = {name: swept_setting(grid.done) for name, grid in grids.items() if grid.repeated}
    settings = [*dict.fromkeys(found[0] for found in swept.values() if found)]
    first = [*["protocol"][: len(grids) > 1], *(name.replace(".", "/") for name in settings)]
    head = ["encoder", "decoder", "kind", "state", *first]
    measured = dict.fromkeys(measure for grid in grids.values() for measure in grid.measured)
    room = (MOST_COLUMNS - len(head)) // 3
    keys = [measure.key for measure in main_measures([*measured])[:room]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, *(f"{key}{end}" for key in keys for end in ("", "/low", "/high"))])
    for name, grid in grids.items():
        setting, values = swept.get(name) or ("", None)
        if values is None:
            grid.require_unique()
        for pair, cell, value in _rows(grid, values):
            row: list[object] = [*pair, _kind(grid, pair, cell)]
            row += ["done" if cell else grid.absent[pair], *[name][: len(grids) > 1]]
            row += [value if other == setting else None for other in settings]
            for key in keys:
                row += _entries(cell, key) if cell else [None] * 3
            writer.writerow(row)
    return text.getvalue()


def _rows(
    grid: Grid, values: Sequence[float] | None
) -> Iterator[tuple[Pair, CellRecord | None, float | None]]:
    """Yield each pair with its cell and the value of a swept setting, row by row of the grid."""
    of: dict[Pair, list[tuple[CellRecord, float | None]]] = {}
    for cell, value in zip(grid.done, values or repeat(None), strict=False):
        of.setdefault(cell.pair, []).append((cell, value))
    for pair in [(e, d) for e in grid.encoders for d in grid.decoders]:
        if pair not in of:
            yield pair, None, None
            continue
        # Without a swept setting several cells are repeats with equal results.
        for cell, value in of[pair] if values else of[pair][:1]:
            yield pair, cell, value


def _kind(grid: Grid, pair: Pair, cell: CellRecord | None) -> str:
    if cell.diagonal if cell else pair[0] == pair[1]:
        return "own reconstruction"
    return "control" if pair[0] in grid.controls else "model"


def _entries(cell: CellRecord, key: str) -> list[object]:
    value = cell.number(key)
    if value is None:
        return [None if cell.values.get(key) is None else "invalid", None, None]
    return [value, *(cell.interval(key) or (None, None))]
