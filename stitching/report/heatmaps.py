"""A measure as a coloured matrix, encoders by decoders: heatmaps, and the panels of figure 3."""

from __future__ import annotations

from itertools import chain

from stitching.report import tables
from stitching.report.drawing.matrix import (
    BAR,
    COLOURS,
    GAP,
    SIZES,
    SMALL_SIZES,
    ColumnLabels,
    Entry,
    Scale,
    draw_matrix,
    scale_bar,
)
from stitching.report.drawing.sheet import QUIET, Sheet, page_style, width_of
from stitching.results import formats
from stitching.results.grid import Grid, Pair
from stitching.results.marks import BEST, TIE, legend
from stitching.results.measures import Measure

FRAMED = "Framed: the decoder's own reconstruction, without a map."

#: A number below this share of the largest is 0 but for rounding: the Fréchet distance of equal
#: sets of images, which contains the root of a matrix.
_ROUNDING = 1e-9

_LINE = 0.16  # inches, of a panel's title

_ROW, _LOW_ROW = 0.34, 0.2  # inches, with and without room for intervals

_COLUMN, _WIDTH = 0.65, 3.5  # inches, least width of a column and of a heatmap


def heatmap(grid: Grid, measure: Measure) -> bytes:
    """Draw one measure over the grid; yellow is the better end of the scale in every heatmap.

    Returns:
        A PNG file, the same bytes for the same cells.
    """
    with page_style():
        texts = list(chain.from_iterable(tables.grid_texts(grid, measure)))
        widest = max(
            *(width_of(name, 7) for name in grid.decoders),
            *(width_of(text + signs, SIZES[0], bold=True) for text, _, signs in texts),
            *(width_of(interval, SMALL_SIZES[0]) for _, interval, _ in texts),
        )
        column = max(_COLUMN, widest + 3 * GAP)
        panel = Panel(grid, measure, column, title=formats.direction(measure), signs=True)
        sheet = Sheet(max(_WIDTH, 0.1 + panel.label + panel.width))
        sheet.title(measure.label, tables.setting_of(grid))
        panel.draw(sheet, 0.05 + panel.label)
        sheet.y += panel.head + panel.height + 0.08
        notes = [*tables.caveats(grid, measure), *legend(signs for _, _, signs in texts)]
        sheet.notes([FRAMED] * any(e.framed for row in panel.rows for e in row) + notes)
        return sheet.save(measure.label, "", kinds=["png"])["png"]


class Panel:
    """One measure over the grid.

    Attributes:
        measure: What it shows.
        rows: Entries, encoders by decoders.
        label: Width of the names of encoders, in inches.
        width: Width of the matrix.
        head: Height of its title.
        row: Height of a row of the matrix; panels side by side may share the largest.
    """

    def __init__(
        self, grid: Grid, measure: Measure, column: float, *, title: str, signs: bool = False
    ) -> None:
        """Lay a panel out.

        Args:
            grid: At least one of its cells has the measure.
            measure: What to show.
            column: Width of a column, in inches.
            title: Stands above the matrix, beside the scale of colours.
            signs: Whether numbers have the signs of tables, such as `*` for the best.
        """
        self._grid, self.measure, self._column, self._title = grid, measure, column, title
        self.rows = _entries(grid, measure, signs)
        self.label = max(width_of(name, 7) for name in (*grid.encoders, "decoder")) + 0.22
        self.width = column * len(grid.decoders)
        floor = float("-inf") if measure.floor is None else measure.floor
        numbers = [
            [max(e.value, floor) for e in entries if e.value is not None]
            for entries in zip(*self.rows, strict=True)
        ]
        cmap = f"{COLOURS}_r" if measure.lower_is_better else COLOURS
        self._whole = Scale.over([v for values in numbers for v in values], cmap)
        self._scales = [self._whole] * len(numbers)
        self._ends = ("min", "max of column")
        if measure.by_column:
            self._scales = [Scale.over(values, cmap) for values in numbers]
        else:
            low, high = self._whole.low, self._whole.high
            low = 0.0 if abs(low) < _ROUNDING * abs(high) else low
            self._ends = (formats.format_value(low, measure), formats.format_value(high, measure))
            if any(e.value is not None and e.value < floor for row in self.rows for e in row):
                self._ends = (f"≤ {floor:g}", self._ends[1])
        self._bar = sum(width_of(end, 6) for end in self._ends) + BAR + 0.1
        self.head = _LINE if width_of(title, 7) + self._bar + 0.1 <= self.width else 2 * _LINE
        self._labels = ColumnLabels(grid.decoders, column)
        small = [e.small for row in self.rows for e in row if e.small]
        room = any(width_of(text, SMALL_SIZES[-1]) <= column - 2 * GAP for text in small)
        self.row = _ROW if room else _LOW_ROW

    @property
    def height(self) -> float:
        """Height of the matrix and the names of decoders."""
        return self._labels.height + len(self.rows) * self.row

    def draw(
        self, sheet: Sheet, x: float, letter: str = "", *, head: float = 0, row_labels: bool = True
    ) -> None:
        """Draw it below the height that the sheet has reached.

        Args:
            sheet: What is drawn on.
            x: Left end of the matrix, in inches.
            letter: Its name among several.
            head: Height of the titles of all panels beside it, its own included; 0 for its own.
            row_labels: Whether encoders are named.
        """
        y, head = sheet.y, head or self.head
        if letter:
            sheet.text(x - 0.16, y + 0.06, letter, 8, bold=True)
        sheet.text(x, y + 0.06, self._title, 7)
        bar = y + (0.06 if head == _LINE else 0.2)
        scale_bar(sheet, x + max(self.width, self._bar), bar, self._whole, self._ends)
        y += head
        self._labels.draw(sheet, x, y)
        y += self._labels.height
        draw_matrix(sheet, x, y, self.rows, self._scales, width=self._column, height=self.row)
        if row_labels:
            for i, name in enumerate(self._grid.encoders):
                sheet.text(x - 0.05, y + (i + 0.5) * self.row, name, 7, at="right")
            middle = y + (len(self.rows) * self.row + width_of("encoder", 7)) / 2
            sheet.text(0.11, middle, "encoder", 7, colour=QUIET, turned=True)
            sheet.text(x - 0.05, y - 0.08, "decoder", 7, at="right", colour=QUIET)


def _entries(grid: Grid, measure: Measure, signed: bool) -> list[list[Entry]]:
    values = {pair: cell.number(measure.key) for pair, cell in grid.cells.items()}
    largest = max(abs(value) for value in values.values() if value is not None)

    def entry(pair: Pair, text: str, interval: str, found: str) -> Entry:
        value = values.get(pair)
        if value is None:
            return Entry(None, (text,), kind="absent")
        if abs(value) < _ROUNDING * largest:
            text, interval = formats.with_interval(0.0, (0.0, 0.0) if interval else None, measure)
        texts = (text + found if signed else text, f"{value:.2g}")
        best = BEST in found or TIE in found
        return Entry(value, texts, interval, bold=best, framed=pair in grid.own)

    return [
        [entry((encoder, decoder), *x) for decoder, x in zip(grid.decoders, row, strict=True)]
        for encoder, row in zip(grid.encoders, tables.grid_texts(grid, measure), strict=True)
    ]
