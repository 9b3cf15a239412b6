"""Raw values of cells as tables: CSV and Parquet."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from stitching.results.frame import Values
from stitching.results.grid import Grid

if TYPE_CHECKING:
    import pandas as pd

#: Cells from which on the faster of two ways to write numbers is taken.
_MANY = 1000


class Raw:
    """Raw values of cells, one row each, as contents of `grid.csv` and `grid.parquet`.

    Args:
        grid: The cells.
        whole: Values of a whole sweep, of which these are a part. If both have the same columns
            of the same kinds, rows are taken from its table.
    """

    def __init__(self, grid: Grid, whole: Raw | None = None) -> None:
        self.frame = grid.frame
        self._values = [cell.values for cell in grid.done]
        # A whole number is written as a float in a column with gaps, which a part may not have.
        same = whole is not None and whole.frame.dtypes.equals(self.frame.dtypes)
        self._whole = whole if same else None

    def csv(self) -> Iterator[bytes]:
        """Yield the table as CSV: numbers unrounded, what is missing as an empty field."""
        yield f"{','.join(map(_quoted, map(str, self.frame.columns)))}\n".encode()
        yield from self._lines

    @cached_property
    def _lines(self) -> list[bytes]:
        if self._whole is not None:
            return [self._whole._lines[place] for place in self._places(self._whole)]
        rows = [x for x in self._values if isinstance(x, Values)]
        many = len(rows) == len(self.frame) >= _MANY
        return [*(_fast_rows(rows, self.frame) if many else _rows(self.frame))]

    def parquet(self) -> bytes:
        """Return the table as Parquet, with columns of one type each.

        A missing value is null. A number that is not finite is NaN; as readers tend to take NaN
        for missing, a column `KEY.state` then holds "invalid" in these rows.
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
            return self._whole._table.take(self._places(self._whole))
        columns: dict[str, Any] = {}
        for key in map(str, self.frame.columns):
            columns |= _typed(key, self.frame[key])
        return pa.table(columns)

    def _places(self, whole: Raw) -> list[int]:
        return [whole._row_of[name] for name in self.frame["folder"]]

    @cached_property
    def _row_of(self) -> dict[str, int]:
        """The row of each cell's folder."""
        return {name: row for row, name in enumerate(self.frame["folder"].tolist())}


def _rows(frame: pd.DataFrame) -> Iterator[bytes]:
    """Yield rows as lines: pandas' own writer takes three times as long for the same."""
    columns = [_texts(frame.iloc[:, place]) for place in range(frame.shape[1])]
    for row in zip(*columns, strict=True):
        yield f"{','.join(row)}\n".encode()


def _texts(column: pd.Series[Any]) -> list[str]:
    values = _known(column.tolist())
    if column.dtype == "float64":
        return ["" if value is None else repr(value) for value in values]
    return [*map(_field, values)]


def _fast_rows(rows: Sequence[Values], frame: pd.DataFrame) -> Iterator[bytes]:
    """Yield the same lines in a tenth of the time; exponents are written 1e-5, not 1e-05."""
    import orjson

    columns = [*map(str, frame.columns)]
    # Whole numbers in a column with gaps are floats in the table.
    floats = {key for key, kind in zip(columns, frame.dtypes, strict=True) if kind == "float64"}
    # Options that a cell leaves to the model's YAML are in the table alone.
    options = [key for key in columns if key.startswith(("encoder/", "decoder/"))]
    filled = zip(*(_texts(frame[key]) for key in options), strict=True) if options else repeat(())
    orders: dict[int, tuple[itemgetter[Any], list[bool]]] = {}
    for row, own in zip(rows, filled, strict=False):
        layout = row.layout
        n = len(layout.numbers)
        if id(layout) not in orders:
            place = dict(layout.numbers) | {key: n + at for key, at in layout.others.items()}
            place |= {key: at for at, key in enumerate(options, n + len(layout.others))}
            order = itemgetter(*(place.get(key, -1) for key in columns))
            orders[id(layout)] = order, [key in floats for key in layout.others]
        order, as_float = orders[id(layout)]
        # Digits are the fewest that give back the number, as Python's own.
        numbers = orjson.dumps(row.numbers, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        parts = numbers.replace(b"null", b"invalid").split(b",") if n else []
        parts += [
            repr(float(value)).encode() if whole and value is not None else _field(value).encode()
            for value, whole in zip(row.others, as_float, strict=True)
        ]
        parts += [*(text.encode() for text in own), b""]
        yield b",".join(order(parts)) + b"\n"


@lru_cache(maxsize=65536)
def _quoted(text: str) -> str:
    """Return a text as a field of CSV, in quotes where it needs them."""
    field = io.StringIO()
    csv.writer(field, lineterminator="").writerow([text, ""])  # alone, "" would be quoted
    return field.getvalue()[:-1]


def _field(value: Any) -> str:
    return "" if value is None else _quoted(value if isinstance(value, str) else str(value))


def _known(values: list[Any]) -> Sequence[Any]:
    return [None if value != value else value for value in values]  # NaN alone differs from itself


def _typed(key: str, column: pd.Series[Any]) -> dict[str, Any]:
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
            f"{key}.state": pa.array(states, pa.string()),
        }
    for kind, type_ in (({bool}, pa.bool_()), ({int}, pa.int64()), ({int, float}, pa.float64())):
        if kinds and kinds <= kind:
            return {key: pa.array(values, type_)}
    return {key: pa.array([x if x is None else str(x) for x in values], pa.string())}
