"""Matrices of numbers: coloured cells, names of columns and the scale of colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from stitching.report.drawing.sheet import (
    INK,
    LEADING,
    ON_DARK,
    ON_LIGHT,
    POINT,
    QUIET,
    Sheet,
    width_of,
    wrap,
)

#: Colour map of numbers, for people with any colour vision; its bright end is the better one.
COLOURS = "viridis"

#: Sizes of a number in a cell, in points, largest first: the first that fits is taken.
SIZES = (7.0, 6.5, 6.0, 5.5, 5.0)

#: Size of an interval below its number. Smaller ones cannot be read in print.
SMALL_SIZES = (5.0, 4.8, 4.5)

GAP = 0.02  # inches between cells

BAR = 0.5  # inches, length of a scale of colours

_LINE, _SIZE = 0.16, 7.0  # of a panel's title in inches, and of names in points


@dataclass(frozen=True)
class Entry:
    """A cell of a matrix.

    Attributes:
        value: Number that colours it; None where there is none.
        texts: The number as text, from the longest form to the shortest.
        small: Its interval as text, "" for none.
        kind: `usual`; `quiet`, a number without information, hatched instead of coloured;
            `absent`, where `texts` hold a word instead of a number.
        bold: Bold letters.
        italic: Slanted letters.
        framed: A frame around the cell.
    """

    value: float | None
    texts: tuple[str, ...]
    small: str = ""
    kind: Literal["usual", "quiet", "absent"] = "usual"
    bold: bool = False
    italic: bool = False
    framed: bool = False


@dataclass(frozen=True)
class Scale:
    """Colours of numbers.

    Attributes:
        cmap: Name of a colour map of matplotlib.
        low: Number at its start.
        high: Number at its end.
    """

    cmap: str
    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float], cmap: str) -> Scale:
        """Return the scale from the lowest to the highest number; from 0 to 0 of no numbers."""
        return cls(cmap, min(values, default=0.0), max(values, default=0.0))

    def colour(self, value: float) -> tuple[float, ...]:
        """Return the colour of a number in RGB; of the middle where the scale has no width."""
        from matplotlib import colormaps

        spread = self.high - self.low
        place = (value - self.low) / spread if spread > 0 else 0.5
        colour: tuple[float, ...] = colormaps[self.cmap](min(max(place, 0.0), 1.0))[:3]
        return colour


def draw_matrix(
    sheet: Sheet,
    x: float,
    y: float,
    rows: Sequence[Sequence[Entry]],
    scales: Sequence[Scale],
    *,
    width: float,
    height: float,
    gaps: Sequence[float] = (),
    last: float = 0.0,
) -> float:
    """Draw the cells of a matrix; return the height of its lower end, in inches.

    Args:
        sheet: Sheet to draw on.
        x: Left end in inches.
        y: Upper end in inches.
        rows: Entries, the same number in each row.
        scales: Colours by column.
        width: Of a column, in inches.
        height: Of a row, in inches.
        gaps: Space in front of each row, in inches; none if left out.
        last: Space in front of the last column, in inches.
    """
    entries = [entry for row in rows for entry in row]
    level, size = _fitting_size([e.texts for e in entries if e.kind != "absent"], width - 2 * GAP)
    small = _small_size(entries, width, height, size)
    for i, row in enumerate(rows):
        y += gaps[i] if gaps else 0.0
        for j, entry in enumerate(row):
            left = x + j * width + (last if j + 1 == len(row) else 0.0)
            place = (left + GAP / 2, y + GAP / 2, width - GAP, height - GAP)
            _draw_entry(sheet, place, entry, scales[j], (level, size, small))
        y += height
    return y


def _draw_entry(
    sheet: Sheet,
    place: tuple[float, float, float, float],
    entry: Entry,
    scale: Scale,
    sizes: tuple[int, float, float],
) -> None:
    left, top, width, height = place
    level, size, small = sizes
    middle, centre = left + width / 2, top + height / 2
    ink: str = QUIET
    if entry.kind == "usual" and entry.value is not None:
        colour = scale.colour(entry.value)
        # Black and white letters have the same contrast at this luminance (WCAG 2.1).
        ink = ON_LIGHT if _luminance(colour) > 0.21 else ON_DARK
        edge = INK if entry.framed else None
        sheet.box(left, top, width, height, colour, edge=edge)
    elif entry.kind == "quiet":
        sheet.box(left, top, width, height, "white", hatch="//////")
    else:
        sheet.box(left, top, width, height)
    if entry.kind == "absent":
        _draw_word(sheet, middle, centre, entry.texts[0], width)
        return
    if not size:
        return
    text = entry.texts[min(level, len(entry.texts) - 1)]
    below = entry.small if small else ""
    # Digits are 0.73 of their size high; the two lines lie in the middle together.
    high, low, between = 0.73 * size * POINT, 0.73 * small * POINT, 0.45 * small * POINT
    up = (between + low) / 2 if below else 0.0
    how: dict[str, Any] = {"colour": ink, "italic": entry.italic}
    sheet.number(middle, centre - up, text, size, bold=entry.bold, **how)
    if below:
        sheet.number(middle, centre - up + (high + low) / 2 + between, below, small, **how)


def _draw_word(sheet: Sheet, x: float, y: float, word: str, width: float) -> None:
    """Write a word where there is no number, or a dash where it does not fit."""
    size = next((size for size in SIZES if width_of(word, size) <= width), None)
    text, italic = ("-", False) if size is None else (word, True)
    sheet.text(x, y, text, size or SIZES[-1], at="center", colour=QUIET, italic=italic)


def _fitting_size(texts: Sequence[tuple[str, ...]], width: float) -> tuple[int, float]:
    """Return the longest form of texts in which all fit into a width, and the largest size.

    The size is 0 points where none fits.
    """
    for level in range(max((len(forms) for forms in texts), default=0)):
        chosen = [forms[min(level, len(forms) - 1)] for forms in texts]
        widest = max(width_of(text, 1.0, bold=True) for text in chosen)
        for size in SIZES:
            if widest * size <= width:
                return level, size
    return 0, 0.0


def _small_size(entries: Sequence[Entry], width: float, height: float, size: float) -> float:
    """Return the size at which all intervals fit below their numbers; 0 where none does."""
    texts = [entry.small for entry in entries if entry.small and entry.kind != "absent"]
    if not texts or not size:
        return 0.0
    widest = max(width_of(text, 1.0) for text in texts)
    for small in SMALL_SIZES:
        if widest * small <= width - 2 * GAP and (size + small) * 1.15 * POINT <= height - GAP:
            return small
    return 0.0


def _luminance(colour: Sequence[float]) -> float:
    """Return the relative luminance of sRGB values in [0, 1] (WCAG 2.1)."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@dataclass
class Panel:
    """A matrix below its title and scale of colours, with names of rows and columns.

    Attributes:
        title: Stands above the matrix.
        rows: Entries, the same number in each row.
        names: Names of the rows.
        columns: Names of the columns.
        scales: Colours by column.
        bar: Scale of colours beside the title.
        ends: Texts for its ends.
        width: Of a column, in inches.
        heights: Of a row, in inches, with and without intervals.
        intervals: Whether to show intervals where all fit; after that, whether they are shown.
        axes: Titles of rows and columns, or "".
        gaps: Space in front of each row, in inches; none if left out.
        last: Space in front of the last column, in inches.
    """

    title: str
    rows: Sequence[Sequence[Entry]]
    names: Sequence[str]
    columns: Sequence[str]
    scales: Sequence[Scale]
    bar: Scale
    ends: tuple[str, str]
    _: KW_ONLY
    width: float
    heights: tuple[float, float]
    intervals: bool = True
    axes: tuple[str, str] = ("", "")
    gaps: Sequence[float] = ()
    last: float = 0.0

    def __post_init__(self) -> None:
        #: Width of the names of rows, in inches.
        self.label = label_width(self.names, self.axes[1])
        self._labels = ColumnLabels(self.columns, self.width)
        small = [entry.small for row in self.rows for entry in row if entry.small]
        widest = max((width_of(text, SMALL_SIZES[-1]) for text in small), default=0.0)
        self.intervals = self.intervals and 0 < widest <= self.width - 2 * GAP
        self.height = self.heights[0 if self.intervals else 1]
        bar = sum(width_of(end, 6) for end in self.ends) + BAR + 0.1
        self._right = max(self.width * len(self.columns) + self.last, bar)
        fits = width_of(self.title, 7) + bar + 0.1 <= self._right
        #: Height of title and scale, in inches.
        self.head = _LINE if fits else 2 * _LINE

    def draw(
        self, sheet: Sheet, letter: str = "", *, x: float = 0, head: float = 0, named: bool = True
    ) -> float:
        """Draw it below the height that the sheet has reached; return the height of its end.

        Args:
            sheet: Sheet to draw on.
            letter: Its name among several.
            x: Left end of the matrix, in inches; 0 for that beside the names of rows.
            head: Largest `head` of the panels beside it; 0 for none.
            named: Whether to write the names of rows and the axes.
        """
        y, x, head = sheet.y, x or 0.05 + self.label, head or self.head
        sheet.text(x - 0.16, y + 0.06, letter, 8, bold=True)
        sheet.text(x, y + 0.06, self.title, 7)
        scale_bar(sheet, x + self._right, y + head - 0.1, self.bar, self.ends)
        y += head
        self._labels.draw(sheet, x, y, self.last)
        top = y + self._labels.height
        y = draw_matrix(
            sheet,
            x,
            top,
            self.rows,
            self.scales,
            width=self.width,
            height=self.height,
            gaps=self.gaps,
            last=self.last,
        )
        if named:
            of_rows, of_columns = self.axes
            sheet.text(
                0.11, (top + y + width_of(of_rows, 7)) / 2, of_rows, 7, colour=QUIET, turned=True
            )
            sheet.text(x - 0.05, top - 0.08, of_columns, 7, at="right", colour=QUIET)
            for name, gap in zip(self.names, self.gaps or [0.0] * len(self.names), strict=True):
                top += gap
                sheet.text(x - 0.05, top + self.height / 2, name, 7, at="right")
                top += self.height
        return y


def label_width(names: Sequence[str], axis: str = "") -> float:
    """Return the width of the names of a panel's rows in inches, and of the title of columns."""
    return max(width_of(name, 7) for name in (*names, axis)) + (0.22 if axis else 0.06)


class ColumnLabels:
    """Names above the columns of a matrix: in lines, or turned where they are too wide.

    Attributes:
        height: In inches.
    """

    def __init__(self, names: Sequence[str], width: float) -> None:
        self._width = width
        self._lines = [
            [line.replace("_ ", "_") for line in wrap(name.replace("_", "_ "), _SIZE, width)]
            for name in names
        ]
        self._turned = any(width_of(x, _SIZE) > width for lines in self._lines for x in lines)
        if self._turned:
            self._lines = [[name] for name in names]
            self.height = max(width_of(name, _SIZE) for name in names) + 0.06
        else:
            self.height = max(map(len, self._lines)) * _SIZE * LEADING * POINT + 0.03

    def draw(self, sheet: Sheet, x: float, y: float, last: float = 0.0) -> None:
        """Write them below y, from the left end x; `last` is the space before the last column."""
        line = _SIZE * LEADING * POINT
        for j, lines in enumerate(self._lines):
            middle, bottom = x + (j + 0.5) * self._width, y + self.height - 0.03
            middle += last if j + 1 == len(self._lines) else 0.0
            if self._turned:
                sheet.text(middle, bottom, lines[0], _SIZE, turned=True)
                continue
            for k, text in enumerate(reversed(lines)):
                sheet.text(middle, bottom - (k + 0.5) * line, text, _SIZE, at="center")


def scale_bar(sheet: Sheet, right: float, y: float, scale: Scale, ends: tuple[str, str]) -> None:
    """Draw a scale of colours in a line of text, with the names of its ends on both sides.

    Args:
        sheet: Sheet to draw on.
        right: Right end, in inches.
        y: Middle of the line, in inches.
        scale: The colours.
        ends: Texts for its start and its end.
    """
    from matplotlib import colormaps

    left = right - width_of(ends[1], 6) - 0.04 - BAR
    sheet.text(right, y, ends[1], 6, at="right", colour=QUIET)
    sheet.gradient(left, y - 0.035, BAR, 0.07, colormaps[scale.cmap])
    sheet.text(left - 0.04, y, ends[0], 6, at="right", colour=QUIET)
