"""Measures of probes by attribute, as a matrix with names and a scale of colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stitching.report.drawing.matrix import (
    BAR,
    COLOURS,
    GAP,
    SMALL_SIZES,
    ColumnLabels,
    Entry,
    Scale,
    draw_matrix,
    scale_bar,
)
from stitching.report.drawing.sheet import WIDE, Sheet, width_of
from stitching.results.differences import combine
from stitching.results.formats import format_value, with_interval
from stitching.results.measures import measure_of
from stitching.results.reading import Cell

#: Column of the mean over attributes.
MEAN = "mean"

#: Text where an attribute has no probe.
ABSENT = "n/a"

_ROW, _LOW_ROW = 0.22, 0.165  # inches, with and without intervals

_LAST = 0.05  # inches in front of the mean

_WIDEST = 0.7  # inches, of a column

_MINUS = "\N{MINUS SIGN}"


def attributes_of(cells: Sequence[Cell], key: str) -> list[str]:
    """Return the attributes of the cells' probes, in their order, those without a probe last."""
    names: dict[str, None] = {}
    for start in (f"{key}/", "probe/missing/"):
        for cell in cells:
            found = (x.removeprefix(start) for x in cell.values if x.startswith(start))
            names |= dict.fromkeys(x for x in found if not x.endswith((".low", ".high")))
    return list(names)


def reasons(cells: Sequence[Cell]) -> list[str]:
    """Return the reasons why attributes have no probe, one line each."""
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
        name: Name of the row.
        cell: Cell with the measure.
        key: Key of the measure.
        against: Key of a measure of the same cell, or 0: numbers whose interval of the difference
            to it contains 0 are slanted; None for no comparison.
        sides: Latents, "own" or "mapped": an attribute is uninformative where the probe predicts
            one label for all latents of one of these kinds.
        gap: Space in front of it, in inches.
    """

    name: str
    cell: Cell
    key: str
    against: str | float | None = None
    sides: tuple[str, ...] = ()
    gap: float = 0.0

    def entry(self, attribute: str, *, signed: bool = False) -> Entry:
        """Return the entry of an attribute, or of `MEAN`; `signed` adds + to numbers above 0."""
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
        """Whether the interval of the difference, if there is one, does not contain 0."""
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
    """Rows by attribute, and their mean, over the width of a sheet.

    Args:
        rows: At least one.
        attributes: Columns; the mean is added.
        diverging: Whether 0 is the middle of the colours.
        intervals: Whether to show intervals where there is room.

    Attributes:
        entries: By row and column.
        intervals: Whether intervals are shown.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        attributes: Sequence[str],
        *,
        diverging: bool = False,
        intervals: bool = True,
    ) -> None:
        names = [*attributes, MEAN]
        self._rows = rows
        self.entries = [[row.entry(name, signed=diverging) for name in names] for row in rows]
        for entries in self.entries:
            if all(entry.kind == "quiet" for entry in entries[:-1]):
                entries[-1] = replace(entries[-1], kind="quiet")
        self._label = max(width_of(row.name, 7) for row in rows) + 0.06
        self._column = min((WIDE - 0.1 - self._label - _LAST) / len(names), _WIDEST)
        self._labels = ColumnLabels([x.replace("_", " ") for x in names], self._column)
        small = [e.small for row in self.entries for e in row if e.small]
        widest = max((width_of(text, SMALL_SIZES[-1]) for text in small), default=0.0)
        self.intervals = intervals and 0 < widest <= self._column - 2 * GAP
        self._row = _ROW if self.intervals else _LOW_ROW
        values = [e.value for row in self.entries for e in row if e.kind == "usual"]
        known = [value for value in values if value is not None]
        end = max(map(abs, known), default=0.0)
        self._scale = Scale("RdBu", -end, end) if diverging else Scale.over(known, COLOURS)
        self._signed = diverging

    def draw(self, sheet: Sheet, title: str, letter: str = "") -> None:
        """Draw it below the height that the sheet has reached.

        Args:
            sheet: Sheet to draw on.
            title: Measure and unit of its numbers.
            letter: Its name among several.
        """
        x, y = 0.05 + self._label, sheet.y
        if letter:
            sheet.text(0.05, y + 0.06, letter, 8, bold=True)
        sheet.text(x, y + 0.06, title, 7)
        measure = measure_of(self._rows[0].key)
        low, high = (
            _with_sign(format_value(end, measure), self._signed)
            for end in (self._scale.low, self._scale.high)
        )
        columns = len(self.entries[0])
        taken = width_of(title, 7) + width_of(low + high, 6) + BAR + 0.3
        right = x + max(columns * self._column + _LAST, taken)
        scale_bar(sheet, right, y + 0.06, self._scale, (low, high))
        y += 0.16
        self._labels.draw(sheet, x, y, _LAST)
        y += self._labels.height
        draw_matrix(
            sheet,
            x,
            y,
            self.entries,
            [self._scale] * columns,
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
