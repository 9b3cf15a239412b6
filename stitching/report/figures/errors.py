"""Figure 3: what is lost on the way through a map, by four measures."""

from __future__ import annotations

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
from stitching.report.drawing.sheet import QUIET, WIDE, Sheet, width_of
from stitching.report.figures.facts import INTERVAL
from stitching.report.tables import caveats, cell_texts, grid_values
from stitching.results.formats import format_value, setting, with_interval
from stitching.results.grid import Grid
from stitching.results.marks import BEST, BIAS, TIE, legend, marks
from stitching.results.measures import Measure, measure_of

__all__ = ["draw_errors", "error_measures"]

_KEYS = ("latent/mse", "image/rmse", "image/lpips")

#: The Fréchet distances there may be, the paper's first.
_FRECHET = ("image/fid", "image/fd_effnet")

_NAMES = {
    "latent/mse": "latent MSE",
    "image/rmse": "RMSE",
    "image/lpips": "LPIPS",
    "image/fid": "FID",
    "image/fd_effnet": "Fréchet distance of EfficientNet features",
}

#: A number below this share of the largest is 0 but for rounding: the Fréchet distance of equal
#: sets of images, which contains the root of a matrix.
_ROUNDING = 1e-9

#: Columns of a panel that has another one beside it; more of them need the whole width.
_HALF = 6

_LINE = 0.16  # inches, of a panel's title

_ROW, _LOW_ROW = 0.34, 0.2  # inches, with and without room for intervals


def error_measures(grid: Grid) -> list[Measure]:
    """Return the measures of the figure that cells have: of Fréchet distances the commoner."""

    def count(key: str) -> int:
        return sum(cell.number(key) is not None for cell in grid.cells.values())

    frechet = max(_FRECHET, key=count)  # the first of equals
    return [measure_of(key) for key in (*_KEYS, frechet) if count(key)]


def draw_errors(grid: Grid) -> Sheet:
    """Draw figure 3: a panel per measure, encoders by decoders."""
    measures = error_measures(grid)
    sheet = Sheet(WIDE)
    names = ", ".join(_NAMES[measure.key] for measure in measures)
    sheet.title(f"Errors of what goes through a map: {names}", setting(grid.frame))
    side_by_side = 2 if len(grid.decoders) <= _HALF and len(measures) > 1 else 1
    label = max(width_of(name, 7) for name in grid.encoders) + 0.22
    space = 0.25
    wide = (sheet.width - 0.1 - label - space * (side_by_side - 1)) / side_by_side
    column = min(wide / len(grid.decoders), 1.1)
    panels = [_Panel(grid, measure, column) for measure in measures]
    head = max(panel.head for panel in panels)
    for start in range(0, len(panels), side_by_side):
        row = panels[start : start + side_by_side]
        for k, panel in enumerate(row):
            left = 0.05 + label + k * (wide + space)
            panel.draw(sheet, left, "abcd"[start + k], head, row_labels=k == 0)
        sheet.y += head + max(panel.height for panel in row) + 0.14
    _notes(sheet, grid, panels)
    return sheet


class _Panel:
    """One measure over the grid.

    Attributes:
        measure: Which.
        rows: Entries, encoders by decoders.
        head: Height of its title, in inches.
        height: Of the rest.
    """

    def __init__(self, grid: Grid, measure: Measure, column: float) -> None:
        self._grid, self.measure, self._column = grid, measure, column
        self.rows = _entries(grid, measure)
        self._width = column * len(grid.decoders)
        columns = zip(*self.rows, strict=True)
        numbers = [[e.value for e in entries if e.value is not None] for entries in columns]
        cmap = "viridis_r" if measure.lower_is_better else "viridis"
        self._whole = Scale.over([v for values in numbers for v in values], cmap)
        self._scales = [Scale.over(values, cmap) for values in numbers]
        self._ends = ("min", "max of column")
        if not measure.by_column:
            low, high = self._whole.low, self._whole.high
            low = 0.0 if abs(low) < _ROUNDING * abs(high) else low
            self._ends = (format_value(low, measure), format_value(high, measure))
        taken = width_of(measure.label, 7) + sum(width_of(end, 6) for end in self._ends) + BAR
        self.head = _LINE if taken + 0.2 <= self._width else 2 * _LINE
        self._labels = ColumnLabels(grid.decoders, column)
        small = [e.small for row in self.rows for e in row if e.small]
        room = any(width_of(text, SMALL_SIZES[-1]) <= column - 2 * GAP for text in small)
        self._row = _ROW if room else _LOW_ROW
        self.height = self._labels.height + len(self.rows) * self._row

    def draw(self, sheet: Sheet, x: float, letter: str, head: float, *, row_labels: bool) -> None:
        """Draw it below the height that the sheet has come to.

        Args:
            sheet: What is drawn on.
            x: Left end of the cells, in inches.
            letter: Its name.
            head: Height of the titles of all panels.
            row_labels: Whether encoders are named.
        """
        y = sheet.y
        sheet.text(x - 0.16, y + 0.06, letter, 8, bold=True)
        sheet.text(x, y + 0.06, self.measure.label, 7)
        bar = y + (0.06 if head == _LINE else 0.2)
        scale_bar(sheet, x + self._width, bar, self._whole, self._ends)
        y += head
        self._labels.draw(sheet, x, y)
        y += self._labels.height
        scales = self._scales if self.measure.by_column else [self._whole] * len(self._scales)
        draw_matrix(sheet, x, y, self.rows, scales, width=self._column, height=self._row)
        if row_labels:
            for i, name in enumerate(self._grid.encoders):
                sheet.text(x - 0.05, y + (i + 0.5) * self._row, name, 7, at="right")
            middle = y + (len(self.rows) * self._row + width_of("encoder", 7)) / 2
            sheet.text(0.11, middle, "encoder", 7, colour=QUIET, turned=True)
            sheet.text(x - 0.05, y - 0.08, "decoder", 7, at="right", colour=QUIET)


def _entries(grid: Grid, measure: Measure) -> list[list[Entry]]:
    signs = marks(grid, measure)
    values = grid_values(grid, measure)
    largest = max(abs(v) for row in values for v in row if not isinstance(v, str))

    def entry(encoder: str, decoder: str, value: float | str) -> Entry:
        cell = grid.cells.get((encoder, decoder))
        if isinstance(value, str) or cell is None:
            return Entry(None, (str(value),), kind="absent")
        best = any(sign in signs[encoder, decoder] for sign in (BEST, TIE))
        text, interval = cell_texts(cell, measure)
        if abs(value) < _ROUNDING * largest:
            text, interval = with_interval(0.0, (0.0, 0.0) if interval else None, measure)
        texts = (text, f"{value:.2g}")
        return Entry(value, texts, interval, bold=best, framed=cell.diagonal)

    return [
        [entry(encoder, decoder, value) for decoder, value in zip(grid.decoders, row, strict=True)]
        for encoder, row in zip(grid.encoders, values, strict=True)
    ]


def _notes(sheet: Sheet, grid: Grid, panels: list[_Panel]) -> None:
    entries = [entry for panel in panels for row in panel.rows for entry in row]
    notes = ["Yellow is the better end."]
    if any(entry.framed for entry in entries):
        notes.append("Framed: the decoder's own reconstruction, without a map.")
    if any(entry.bold for entry in entries):
        notes.append(
            "Bold: the best of its column (the diagonal aside), and what the paired 95 % interval "
            "of the difference does not tell from it."
        )
    if any(entry.small for entry in entries):
        notes.append(INTERVAL)
    lines = [" ".join(notes)]
    for measure in [panel.measure for panel in panels]:
        facts = caveats(grid, measure)
        facts += [x[2:] for x in legend(marks(grid, measure).values()) if x.startswith(BIAS)]
        if measure.by_column:
            facts.append("decoders have units of their own: compare within a column")
        lines += [f"{measure.label}: {'; '.join(facts)}."] if facts else []
    sheet.notes(lines)
