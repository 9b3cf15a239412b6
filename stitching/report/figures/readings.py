"""Measures of probes by attribute, as a matrix with names and a scale of colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stitching.report.drawing.matrix import COLOURS, Entry, Panel, Scale, label_width
from stitching.report.drawing.sheet import WIDE
from stitching.results.cell import CellRecord
from stitching.results.differences import combine
from stitching.results.formats import format_value, with_interval
from stitching.results.measures import measure_of

#: Column of the mean over attributes.
MEAN = "mean"

#: Text where an attribute has no probe.
ABSENT = "n/a"

_HEIGHTS = (0.22, 0.165)  # inches, of a row with and without intervals

_LAST = 0.05  # inches in front of the mean

_WIDEST = 0.7  # inches, of a column

_MINUS = "\N{MINUS SIGN}"


def attributes_of(cells: Sequence[CellRecord], key: str) -> list[str]:
    """Return the attributes of the cells' probes, in their order, those without a probe last."""
    names: dict[str, None] = {}
    for start in (f"{key}/", "probe/missing/"):
        for cell in cells:
            found = (x.removeprefix(start) for x in cell.values if x.startswith(start))
            names |= dict.fromkeys(x for x in found if not x.endswith((".low", ".high")))
    return list(names)


def reasons(cells: Sequence[CellRecord]) -> list[str]:
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
        cell: CellRecord with the measure.
        key: Key of the measure.
        against: Key of a measure of the same cell, or 0: numbers whose interval of the difference
            to it contains 0 are slanted; None for no comparison.
        sides: Latents, "own" or "mapped": an attribute is uninformative where the probe predicts
            one label for all latents of one of these kinds.
        gap: Space in front of it, in inches.
    """

    name: str
    cell: CellRecord
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
        """Return False where the interval of the difference contains 0."""
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


def attribute_panel(
    title: str,
    rows: Sequence[Row],
    attributes: Sequence[str],
    *,
    width: float = WIDE - 0.1,
    diverging: bool = False,
    intervals: bool = True,
) -> Panel:
    """Return rows by attribute, and their mean.

    Args:
        title: Measure and unit of the numbers.
        rows: At least one, of one measure first.
        attributes: Columns; the mean is added.
        width: Of names and numbers, in inches.
        diverging: Whether 0 is the middle of the colours, and numbers above it have a sign.
        intervals: Whether to show intervals where there is room.
    """
    names = [*attributes, MEAN]
    entries = [[row.entry(name, signed=diverging) for name in names] for row in rows]
    for row in entries:
        if all(entry.kind == "quiet" for entry in row[:-1]):
            row[-1] = replace(row[-1], kind="quiet")
    known = [e.value for row in entries for e in row if e.kind == "usual" and e.value is not None]
    end = max(map(abs, known), default=0.0)
    scale = Scale("RdBu", -end, end) if diverging else Scale.over(known, COLOURS)
    measure = measure_of(rows[0].key)
    labels = [row.name for row in rows]
    return Panel(
        title,
        entries,
        labels,
        [name.replace("_", " ") for name in names],
        [scale] * len(names),
        scale,
        (
            _with_sign(format_value(scale.low, measure), diverging),
            _with_sign(format_value(scale.high, measure), diverging),
        ),
        width=min((width - label_width(labels) - _LAST) / len(names), _WIDEST),
        heights=_HEIGHTS,
        intervals=intervals,
        gaps=[row.gap for row in rows],
        last=_LAST,
    )
