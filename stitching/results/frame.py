"""Values of many cells in little memory, and a frame of them.

Ten thousand cells with nine hundred values each are a gigabyte as dictionaries. Cells of one
sweep have the same keys, so these are kept once, and floats lie in arrays. Files are read by
orjson, which takes a quarter of the time of Python's own reader.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: Rows that are turned into columns at a time: as much as a processor's cache holds.
_BLOCK = 128

#: What follows a dot in a key: ends of intervals, and the measure of shuffled items.
_ENDS = ("low", "high", "null", "null_low", "null_high", "p", "state")


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


def level_name(key: str, taken: Container[str]) -> str:
    """Return the column of a key, with "/" before each level: `image/rmse/low` of a lower end.

    Files of cells have `image/rmse.low`, as `image/rmse/low` may belong to a label called "low".
    In the one case of two keys for one column, the key keeps its dot.

    Args:
        key: Of `metrics.json`.
        taken: All such keys.
    """
    base, _, end = key.rpartition(".")
    if key.startswith(("encoder/", "decoder/")):
        name = key.replace(".", "/")  # options of parts of a model
    else:
        name = f"{base}/{end}" if end in _ENDS else key
    return key if name in taken else name


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
