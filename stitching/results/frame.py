"""Values of many cells in little memory, and tables of them: a frame, CSV and Parquet.

Ten thousand cells with nine hundred values each are a gigabyte as dictionaries. Cells of one
sweep have the same keys, so these are kept once, and floats lie in arrays. Files are read by
orjson, which takes a quarter of the time of Python's own reader.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import compress, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from stitching.results.grid import Grid

#: Rows that are turned into columns at a time: as much as a processor's cache holds.
_BLOCK = 128

#: Cells from which on the faster of two ways to write numbers is taken.
_MANY = 1000


class _Layout:
    """Keys of a cell in the order of its files, and the place of each value.

    Attributes:
        keys: All keys.
        is_float: For each key, whether its value is a float.
        is_other: For each key, whether it is not.
        numbers: Key to place among floats.
        others: Key to place among all other values.
    """

    __slots__ = ("is_float", "is_other", "keys", "numbers", "others")

    def __init__(self, keys: tuple[str, ...], is_float: tuple[bool, ...]) -> None:
        self.keys, self.is_float = keys, is_float
        self.is_other = tuple(not found for found in is_float)
        self.numbers = {key: place for place, key in enumerate(compress(keys, is_float))}
        others = [key for key in keys if key not in self.numbers]
        self.others = {key: place for place, key in enumerate(others)}


class Values(Mapping[str, Any]):
    """Values of a cell's files by key, equal to the dictionary that they were read into.

    Attributes:
        layout: Keys, and places of their values.
        numbers: All floats.
        others: All other values.
    """

    __slots__ = ("layout", "numbers", "others")

    def __init__(
        self, layout: _Layout, numbers: NDArray[np.float64], others: tuple[Any, ...]
    ) -> None:
        self.layout, self.numbers, self.others = layout, numbers, others

    def __getitem__(self, key: str) -> Any:
        place = self.layout.numbers.get(key)
        if place is not None:
            return self.numbers.item(place)
        return self.others[self.layout.others[key]]

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value; a default where the cell does not have it."""
        place = self.layout.numbers.get(key)
        if place is not None:
            return self.numbers.item(place)
        place = self.layout.others.get(key)
        return default if place is None else self.others[place]

    def __contains__(self, key: object) -> bool:
        return key in self.layout.numbers or key in self.layout.others

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.keys)

    def __len__(self) -> int:
        return len(self.layout.keys)


def decoded(text: bytes) -> Any:
    """Return the contents of a JSON file; NaN and infinities, which JSON does not have, as floats.

    Raises:
        ValueError: It is no JSON.
    """
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


class Packer:
    """Turns dictionaries into `Values`; those of one packer share keys and texts."""

    def __init__(self) -> None:
        self._layouts: dict[tuple[object, ...], _Layout] = {}
        self._shared: dict[str, str] = {}

    def pack(self, found: Mapping[str, Any]) -> Values:
        """Return the same values, in less memory."""
        values = [*found.values()]
        kind = (*found, *map(type, values))
        layout = self._layouts.get(kind)
        if layout is None:
            is_float = tuple(type(value) is float for value in values)
            layout = self._layouts[kind] = _Layout(tuple(found), is_float)
        numbers = np.array([*compress(values, layout.is_float)], np.float64)
        shared = self._shared.setdefault
        others = compress(values, layout.is_other)
        kept = tuple([shared(x, x) if type(x) is str else x for x in others])
        return Values(layout, numbers, kept)


def frame_of(rows: Sequence[Mapping[str, Any]], first: Collection[str]) -> pd.DataFrame:
    """Return a table with a row per cell and a column per key.

    A number that is not finite is the word "invalid": as NaN it would be an empty field, like
    what was not measured.

    Args:
        rows: Values of cells.
        first: Keys of the first columns, in this order, as far as there are any; the others
            follow by name.
    """
    import pandas as pd

    packer = Packer()
    packed = [row if isinstance(row, Values) else packer.pack(row) for row in rows]
    kinds: dict[int, tuple[object, ...]] = {}  # equal layouts may come from several processes
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, row in enumerate(packed):
        layout = row.layout
        if id(layout) not in kinds:
            kinds[id(layout)] = (layout.keys, layout.is_float)
        groups.setdefault(kinds[id(layout)], []).append(number)
    parts = [_Part([packed[number] for number in numbers], numbers) for numbers in groups.values()]
    present = {key for part in parts for key in part.layout.keys}
    order = [key for key in first if key in present]
    order += sorted(present.difference(order))
    return pd.DataFrame({key: _column(key, parts, len(rows)) for key in order}, columns=order)


class _Part:
    """Rows of one layout.

    Args:
        rows: Values of cells.
        numbers: Which rows of the table they are.
    """

    def __init__(self, rows: Sequence[Values], numbers: Sequence[int]) -> None:
        self.layout = rows[0].layout
        self.numbers = numbers
        self.floats = np.empty((len(self.layout.numbers), len(rows)))
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            self.floats[:, start : start + _BLOCK] = np.stack([row.numbers for row in block]).T
        self._finite: list[bool] = [bool(np.isfinite(row).all()) for row in self.floats]
        self.others: list[tuple[Any, ...]] = [*zip(*(row.others for row in rows), strict=True)]

    def has_numbers(self, key: str) -> bool:
        """Whether a key has a finite float in every row."""
        place = self.layout.numbers.get(key)
        return place is not None and self._finite[place]

    def column(self, key: str) -> Sequence[Any]:
        """Return the values of a key; NaN for each where the layout does not have it."""
        place = self.layout.numbers.get(key)
        if place is not None:
            return [x if math.isfinite(x) else "invalid" for x in self.floats[place].tolist()]
        if key in self.layout.others:
            return self.others[self.layout.others[key]]
        return [math.nan] * len(self.numbers)


def _column(key: str, parts: Sequence[_Part], n: int) -> Any:
    if all(part.has_numbers(key) for part in parts):
        if len(parts) == 1:
            return parts[0].floats[parts[0].layout.numbers[key]]
        numbers = np.empty(n)
        for part in parts:
            numbers[part.numbers] = part.floats[part.layout.numbers[key]]
        return numbers
    found: list[Any] = [None] * n
    for part in parts:
        for number, value in zip(part.numbers, part.column(key), strict=True):
            found[number] = value
    return found


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
