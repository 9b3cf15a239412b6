"""Raw values of cells as one table: `grid.parquet`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stitching.results.frame import level_name
from stitching.results.grid import Grid
from stitching.results.measures import MEASURES

if TYPE_CHECKING:
    import pandas as pd

#: Columns that stay where all rows are equal: what a row is found by, and what a cell measured.
_PAIR, _OF_CELLS = ("encoder", "decoder", "folder"), ("time/", "memory/", "count/", "flat/")


class Raw:
    """Raw values of cells, one row each, as content of `grid.parquet`.

    A column with one value in all rows, which is no result and no time, is no column: it is one of
    `constants`, which the file holds beside the table.

    Args:
        grid: The cells.
        whole: Values of a whole sweep, of which these are a part: rows are taken from its table,
            so that both have the same columns.

    Example:
        >>> frame = pd.read_parquet("grid.parquet")
        >>> frame["image/rmse/low"], frame.attrs["n_train"]
    """

    def __init__(self, grid: Grid, whole: Raw | None = None) -> None:
        self.frame, self._grid, self._whole = grid.frame, grid, whole

    @cached_property
    def constants(self) -> dict[str, Any]:
        """Values that all cells share, such as settings and versions of libraries, by column."""
        if self._whole is not None:
            return self._whole.constants
        measures = {measure.key for measure in (*MEASURES, *self._grid.measured)}
        found: dict[str, Any] = {}
        for key in map(str, self.frame.columns):
            if key in _PAIR or key.startswith(_OF_CELLS) or _is_result(key, measures):
                continue
            values = self.frame[key].tolist()
            first = values[0]
            if first is None or first != first:  # NaN alone differs from itself
                if all(value is None or value != value for value in values):
                    found[key] = None
            elif all(value == first for value in values):
                found[key] = first
        return found

    def parquet(self) -> bytes:
        """Return the table as Parquet, with columns of one type each.

        A missing value is null. A number that is not finite is NaN; as readers tend to take NaN
        for missing, a column `KEY/state` then holds "invalid" in these rows. pandas reads
        `constants` into `DataFrame.attrs`; other readers find them as JSON in the metadata.
        """
        import pyarrow as pa
        from pyarrow import parquet

        texts = [x.name for x in self._table.schema if pa.types.is_string(x.type)]
        sink = pa.BufferOutputStream()
        parquet.write_table(self._table, sink, use_dictionary=texts, write_statistics=False)
        found: bytes = sink.getvalue().to_pybytes()
        return found

    @cached_property
    def _table(self) -> Any:
        import pyarrow as pa

        if self._whole is not None:
            places = [self._whole._row_of[name] for name in self.frame["folder"]]
            return self._whole._table.take(places)
        columns: dict[str, Any] = {}
        for key in map(str, self.frame.columns):
            if key not in self.constants:
                columns |= _typed(key, self.frame[key], self.frame)
        return pa.table(columns, metadata={"PANDAS_ATTRS": json.dumps(self.constants)})

    @cached_property
    def _row_of(self) -> dict[str, int]:
        """The row of each cell's folder."""
        return {name: row for row, name in enumerate(self.frame["folder"].tolist())}


def _is_result(key: str, measures: set[str]) -> bool:
    """Return whether a column holds a measure, an end of its interval, or that of one label."""
    parts = key.split("/")
    return any("/".join(parts[:n]) in measures for n in range(2, len(parts) + 1))


def _known(values: list[Any]) -> Sequence[Any]:
    return [None if value != value else value for value in values]  # NaN alone differs from itself


def _typed(key: str, column: pd.Series[Any], frame: pd.DataFrame) -> dict[str, Any]:
    """Return a column as an array of one type, and beside it which of its values are invalid."""
    import pandas as pd
    import pyarrow as pa

    if column.dtype == "float64":
        return {key: pa.array(column.to_numpy(), pa.float64(), from_pandas=True)}
    if isinstance(column.dtype, pd.StringDtype) and not (column == "invalid").any():
        return {key: pa.array(column, pa.string(), from_pandas=True)}
    values = _known(column.tolist())
    kinds = {type(value) for value in values if value is not None and value != "invalid"}
    if "invalid" in values and kinds <= {int, float}:
        numbers = [math.nan if value == "invalid" else value for value in values]
        states = ["invalid" if value == "invalid" else None for value in values]
        return {
            key: pa.array(numbers, pa.float64()),
            level_name(f"{key}.state", frame): pa.array(states, pa.string()),
        }
    for kind, type_ in (({bool}, pa.bool_()), ({int}, pa.int64()), ({int, float}, pa.float64())):
        if kinds and kinds <= kind:
            return {key: pa.array(values, type_)}
    return {key: pa.array([x if x is None else str(x) for x in values], pa.string())}
