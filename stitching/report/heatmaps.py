"""A measure as a coloured matrix, encoders by decoders: heatmaps, and the panels of figure 3."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from stitching.report import tables
from stitching.report.drawing.matrix import (
    COLOURS,
    GAP,
    SIZES,
    SMALL_SIZES,
    Entry,
    Panel,
    Scale,
)
from stitching.report.drawing.sheet import Sheet, page_style, width_of
from stitching.results import formats
from stitching.results.grid import Grid, Pair
from stitching.results.marks import BEST, TIE, legend
from stitching.results.measures import Measure

FRAMED = "Framed: the decoder's own reconstruction, without a map."

#: A number below this share of the largest is 0 but for rounding: the Fréchet distance of equal
#: sets of images, which contains the root of a matrix.
_ROUNDING = 1e-9

APART = "Above the gap: controls, which are no trained models."

_APART = 0.1  # inches between controls and models

_HEIGHTS = (0.34, 0.2)  # inches, of a row with and without intervals

_COLUMN, _WIDTH = 0.65, 3.5  # inches, least width of a column and of a heatmap
_WIDEST = 1.3  # inches, of a column that fills the least width


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
        title = formats.direction(measure)
        panel = measure_panel(grid, measure, column, title=title, signs=True)
        room = (_WIDTH - 0.1 - panel.label) / len(grid.decoders)
        if room > column:
            column = max(column, min(room, _WIDEST))
            panel = replace(panel, width=column)
        sheet = Sheet(max(_WIDTH, 0.1 + panel.label + column * len(grid.decoders)))
        sheet.title(tables.label(grid, measure), tables.setting_of(grid))
        sheet.y = panel.draw(sheet) + 0.08
        notes = [*tables.caveats(grid, measure), *legend(signs for _, _, signs in texts)]
        first = [FRAMED] * any(e.framed for row in panel.rows for e in row)
        sheet.notes([*first, *[APART] * bool(first_model(grid)), *notes])
        return sheet.save(measure.label, "", kinds=["png"])["png"]


def measure_panel(
    grid: Grid, measure: Measure, column: float, *, title: str, signs: bool = False
) -> Panel:
    """Return one measure over the grid.

    Args:
        grid: Cells, of which at least one has the measure.
        measure: Measure to show.
        column: Width of a column, in inches.
        title: Text beside the scale of colours.
        signs: Whether numbers have the signs of tables, such as `*` for the best.
    """
    rows = _entries(grid, measure, signs)
    floor = float("-inf") if measure.floor is None else measure.floor
    columns = [
        [e.value for e in entries if e.value is not None] for entries in zip(*rows, strict=True)
    ]
    lowest = min(chain.from_iterable(columns))
    cmap = f"{COLOURS}_r" if measure.lower_is_better else COLOURS
    columns = [[max(value, floor) for value in values] for values in columns]
    whole = Scale.over([*chain.from_iterable(columns)], cmap)
    low = 0.0 if abs(whole.low) < _ROUNDING * abs(whole.high) else whole.low
    ends = (formats.format_value(low, measure), formats.format_value(whole.high, measure))
    if measure.by_column:
        ends = ("min", "max of column")
    elif lowest < floor:
        ends = (f"≤ {floor:g}", ends[1])
    return Panel(
        title,
        rows,
        grid.encoders,
        grid.decoders,
        [Scale.over(values, cmap) if measure.by_column else whole for values in columns],
        whole,
        ends,
        width=column,
        heights=_HEIGHTS,
        axes=("encoder", "decoder"),
        gaps=[_APART if k and k == first_model(grid) else 0.0 for k in range(len(rows))],
    )


def first_model(grid: Grid) -> int:
    """Return the place of the first model below the controls; 0 for a grid of one group."""
    return len(grid.groups[0][1]) if len(grid.groups) > 1 else 0


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
