"""Rows of numbers by attribute, as a table with its colours, names and scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stitching.report.drawing.matrix import (
    BAR,
    GAP,
    SMALL_SIZES,
    ColumnLabels,
    Entry,
    Scale,
    draw_matrix,
    scale_bar,
)
from stitching.report.drawing.sheet import Sheet, width_of
from stitching.results.cell import CellRecord
from stitching.results.differences import combine
from stitching.results.formats import format_value, with_interval
from stitching.results.measures import measure_of

__all__ = ["MEAN", "Row", "Table", "attributes_of", "reasons"]

#: Column of the mean over attributes.
MEAN = "mean"

#: What stands where an attribute has no probe.
ABSENT = "n/a"

_ROW, _LOW_ROW = 0.22, 0.165  # inches, with and without intervals

_LAST = 0.05  # inches in front of the mean

_WIDEST = 0.7  # inches, of a column

_MINUS = "\N{MINUS SIGN}"


def attributes_of(cells: Sequence[CellRecord], key: str) -> list[str]:
    """Return the attributes that cells were asked about, in their order, unusable ones last."""
    names: dict[str, None] = {}
    for start in (f"{key}/", "probe/missing/"):
        for cell in cells:
            found = (x.removeprefix(start) for x in cell.values if x.startswith(start))
            names |= dict.fromkeys(x for x in found if not x.endswith((".low", ".high")))
    return list(names)


def reasons(cells: Sequence[CellRecord]) -> list[str]:
    """Return why attributes have no probe, one line for each reason."""
    found: dict[str, dict[str, None]] = {}
    for cell in cells:
        for key, reason in cell.values.items():
            if key.startswith("probe/missing/"):
                found.setdefault(str(reason), {})[key.rpartition("/")[2]] = None
    return [f"No probe of {', '.join(names)}: {reason}." for reason, names in found.items()]


@dataclass(frozen=True)
class Row:
    """A measure of a cell, by attribute.

    Attributes:
        name: Of the row.
        cell: Which.
        key: Of the measure.
        against: Key of a measure of the same cell, or 0: numbers whose difference to it is not
            resolved are slanted; None for no comparison.
        sides: An attribute is uninformative where the probe gives one answer to all "own" or all
            "mapped" latents, as this names them.
        gap: Free space in front of it, in inches.
    """

    name: str
    cell: CellRecord
    key: str
    against: str | float | None = None
    sides: tuple[str, ...] = ()
    gap: float = 0.0

    def entry(self, attribute: str, *, signed: bool = False) -> Entry:
        """Return what the row says of an attribute, or of their mean.

        Args:
            attribute: Its name, or `MEAN`.
            signed: Whether numbers above 0 get a sign too.
        """
        end = "" if attribute == MEAN else f"/{attribute}"
        key, value = self.key + end, self.cell.number(self.key + end)
        if value is None:
            return Entry(None, (ABSENT,), kind="absent")
        measure = measure_of(key)
        text, interval = with_interval(value, self.cell.interval(key), measure)
        whole = f"{100 * value:.0f}" if measure.percent else f"{value:.1g}"
        whole = "0" if float(whole) == 0 else whole
        constant = str(self.cell.values.get(f"probe/constant{end}") or "")
        return Entry(
            value,
            tuple(_with_sign(x, signed) for x in (text, whole)),
            interval.replace("-", _MINUS),
            kind="quiet" if any(side in constant for side in self.sides) else "usual",
            italic=not self._resolved(key, end),
        )

    def _resolved(self, key: str, end: str) -> bool:
        """Whether the interval of the difference leaves out 0, where there is one."""
        if self.against is None:
            return True
        parts = [self.cell.quantity(key)]
        if isinstance(self.against, str):
            parts.append(self.cell.quantity(self.against + end))
        base = self.against if isinstance(self.against, float) else 0.0
        ends = combine(lambda x: x[0] - (x[1] if len(x) > 1 else base), parts).interval()
        return ends is None or not ends[0] <= 0 <= ends[1]


def _with_sign(text: str, plus: bool) -> str:
    sign = "+" if plus and float(text) > 0 else ""
    return sign + text.replace("-", _MINUS)


class Table:
    """Rows by attribute, and their mean.

    Attributes:
        entries: By row and column.
        intervals: Whether they are shown.
        label: Width of the names of rows, in inches.
        height: Of all of it, in inches.
        scale: Colours of its numbers.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        attributes: Sequence[str],
        *,
        width: float,
        diverging: bool = False,
        intervals: bool = True,
    ) -> None:
        """Lay a table out.

        Args:
            rows: At least one.
            attributes: Columns; the mean is added.
            width: Of names and numbers, in inches.
            diverging: Whether 0 is the middle of the colours.
            intervals: Whether they are shown where there is room.
        """
        names = [*attributes, MEAN]
        self._rows = rows
        self.entries = [[row.entry(name, signed=diverging) for name in names] for row in rows]
        for entries in self.entries:
            if all(entry.kind == "quiet" for entry in entries[:-1]):
                entries[-1] = replace(entries[-1], kind="quiet")
        self.label = max(width_of(row.name, 7) for row in rows) + 0.06
        self._column = min((width - self.label - _LAST) / len(names), _WIDEST)
        self._labels = ColumnLabels(names, self._column)
        small = [e.small for row in self.entries for e in row if e.small]
        widest = max((width_of(text, SMALL_SIZES[-1]) for text in small), default=0.0)
        self.intervals = intervals and 0 < widest <= self._column - 2 * GAP
        self._row = _ROW if self.intervals else _LOW_ROW
        self.height = self._labels.height + sum(row.gap + self._row for row in rows)
        values = [e.value for row in self.entries for e in row if e.kind == "usual"]
        known = [value for value in values if value is not None]
        self.scale = Scale.over(known, "viridis")
        if diverging:
            end = max(map(abs, known), default=0.0)
            self.scale = Scale("RdBu", -end, end)
        self._signed = diverging

    def draw(self, sheet: Sheet, title: str, letter: str = "") -> None:
        """Draw it where the sheet has come to.

        Args:
            sheet: What is drawn on.
            title: What its numbers are, and their unit.
            letter: Its name among several.
        """
        x, y = 0.05 + self.label, sheet.y
        if letter:
            sheet.text(0.05, y + 0.06, letter, 8, bold=True)
        sheet.text(x, y + 0.06, title, 7)
        measure = measure_of(self._rows[0].key)
        low, high = (
            _with_sign(format_value(end, measure), self._signed)
            for end in (self.scale.low, self.scale.high)
        )
        columns = len(self.entries[0])
        taken = width_of(title, 7) + width_of(low + high, 6) + BAR + 0.3
        right = x + max(columns * self._column + _LAST, taken)
        scale_bar(sheet, right, y + 0.06, self.scale, (low, high))
        y += 0.16
        self._labels.draw(sheet, x, y, _LAST)
        y += self._labels.height
        draw_matrix(
            sheet,
            x,
            y,
            self.entries,
            [self.scale] * columns,
            width=self._column,
            height=self._row,
            gaps=[row.gap for row in self._rows],
            last=_LAST,
        )
        for row in self._rows:
            y += row.gap
            sheet.text(x - 0.04, y + self._row / 2, row.name, 7, at="right")
            y += self._row
        sheet.y = y
