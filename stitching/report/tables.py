"""Tables of a grid, with notes on how far its numbers can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stitching.results.cell import CellRecord
from stitching.results.formats import (
    aligned,
    direction,
    format_value,
    markdown_table,
    setting,
    with_interval,
)
from stitching.results.grid import Grid, Pair
from stitching.results.marks import BEST, legend, marks
from stitching.results.measures import MEASURES, Measure, main_measures

if TYPE_CHECKING:
    import pandas as pd

CORNER = "encoder \\ decoder"

#: Cells that a note names.
_SHOWN = 6

#: Test images below which intervals of skewed measures cover too seldom: docs/MEASURES.md.
_FEW = 100

#: Characters of a line on the console up to which numbers have their intervals.
_WIDEST = 132


def cell_texts(cell: CellRecord, measure: Measure) -> tuple[str, str]:
    """Return a measure of a cell as texts: a number or a word, and its interval or nothing.

    The word is "missing" without this measure, "invalid" for a value that is not a finite number.
    """
    value = cell.number(measure.key)
    if value is None:
        return ("missing" if cell.values.get(measure.key) is None else "invalid"), ""
    return with_interval(value, cell.interval(measure.key), measure)


def grid_texts(grid: Grid, measure: Measure) -> list[list[tuple[str, str, str]]]:
    """Return a measure for all pairs of models as texts.

    Returns:
        One row per encoder, one column per decoder: a number or a word, as `cell_texts`, or
        "failed", "unfinished" or "missing" for a cell without a result; the number's interval or
        nothing; and its signs.
    """

    def texts() -> list[list[tuple[str, str, str]]]:
        signs = marks(grid, measure)

        def text(pair: Pair) -> tuple[str, str, str]:
            if pair not in grid.cells:
                return grid.absent[pair], "", ""
            return *cell_texts(grid.cells[pair], measure), signs[pair]

        return [[text((e, d)) for d in grid.decoders] for e in grid.encoders]

    return grid.once(("texts", measure), texts)


def print_table(grid: Grid, measures: Sequence[Measure] | None = None) -> str:
    """Return measures as text, one table of encoders by decoders each, with what to note of it.

    Args:
        grid: Cells.
        measures: Measures to show; None takes the main ones.

    Raises:
        ValueError: Cells of one encoder and decoder differ in their results.
    """
    grid.require_unique()
    blocks = []
    for measure in measures or main_measures(grid.measured):
        notes = [*caveats(grid, measure), *legend(signs_of(grid, measure))]
        lines = [*text_table(grid, measure), *(f"  {note}" for note in notes)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def text_table(grid: Grid, measure: Measure) -> list[str]:
    """Return the lines of one table: the measure, the decoders, and a line per encoder.

    Numbers have their intervals, as far as the lines are not too long with them.
    """
    texts = grid_texts(grid, measure)
    width = max(len(sign) for row in texts for _, _, sign in row)
    head = [CORNER, *(name + " " * width for name in grid.decoders)]
    rooms = [
        max(len(interval) for _, interval, _ in column) for column in zip(*texts, strict=True)
    ]

    def lines(rooms: Sequence[int]) -> list[str]:
        rows = [
            [encoder]
            + [
                value + f" {interval:>{room}}" * bool(room) + sign.ljust(width)
                for (value, interval, sign), room in zip(row, rooms, strict=True)
            ]
            for encoder, row in zip(grid.encoders, texts, strict=True)
        ]
        return aligned([head, *in_groups(grid, rows, "({})")])

    found = lines(rooms)
    if max(map(len, found)) > _WIDEST:
        found = lines([0] * len(rooms))
    return [f"{measure.key}: {label(grid, measure)}; {direction(measure)}", *found]


def main_markdown(grid: Grid, appendix: str = "") -> str:
    """Return the main measures as one table in Markdown, controls apart, and the notes.

    Args:
        grid: Cells.
        appendix: Name of the file with all other measures, if there is one.

    Raises:
        ValueError: Cells of one encoder and decoder differ in their results.
    """
    grid.require_unique()
    measures = main_measures(grid.measured)
    lines, rows = _introduction(grid, measures, "Stitching grid"), []
    for measure in measures:
        title = f"**{label(grid, measure)}** (`{measure.key}`, {direction(measure)})"
        rows += [[title, *[""] * len(grid.decoders)], *_markdown_rows(grid, measure)]
    lines += ["", *markdown_table([CORNER, *grid.decoders], rows)]
    lines += _legend("".join(signs_of(grid, measure) for measure in measures))
    noted = [(measure.label, caveats(grid, measure)) for measure in measures]
    lines += [""] + [f"- {name}: {'; '.join(notes)}." for name, notes in noted if notes]
    if appendix:
        lines += ["", f"All other measures are in [{appendix}]({appendix})."]
    notes = [*not_measured(grid), *grid.notes]
    if notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def markdown(
    grid: Grid, measures: Sequence[Measure] | None = None, title: str = "Stitching grid"
) -> str:
    """Return measures with intervals as Markdown, a section with a table each.

    Args:
        grid: Cells.
        measures: Measures to show; all if None.
        title: First line.

    Raises:
        ValueError: Cells of one encoder and decoder differ in their results.
    """
    grid.require_unique()
    chosen = grid.measured if measures is None else measures
    lines = _introduction(grid, chosen, title)
    for measure in chosen:
        lines += ["", f"## {label(grid, measure)}", "", f"`{measure.key}`: {direction(measure)}."]
        lines += [f"{note[0].upper()}{note[1:]}." for note in caveats(grid, measure)]
        rows = _markdown_rows(grid, measure)
        lines += ["", *markdown_table([CORNER, *grid.decoders], rows)]
        lines += _legend(signs_of(grid, measure))
    return "\n".join(lines) + "\n"


def _introduction(grid: Grid, measures: Sequence[Measure], title: str) -> list[str]:
    """Return the lines before the first table: what all cells share, and how to read them."""
    lines = [f"# {title}", "", f"{setting_of(grid)}."]
    if any(f"{measure.key}/low" in grid.frame for measure in measures):
        lines += ["", "In brackets: 95 % intervals over resamples of the test images."]
        refits, tested = (_range(grid.frame, key) for key in ("map/refits", "n_test"))
        if refits and refits[1] > 0:
            lines[-1] += " Those of latent measures contain the choice of fit images too."
        if tested and tested[0] < _FEW:
            lines[-1] += f" Below {_FEW} test images those of skewed measures are too narrow."
    if grid.controls:
        found = "; ".join(f"`{name}`, {text}" for name, text in grid.controls.items())
        lines += ["", f"Controls, which are no trained models: {found}."]
    return lines


def _markdown_rows(grid: Grid, measure: Measure) -> list[list[str]]:
    rows = [
        [encoder, *(_escaped(" ".join(part for part in parts if part)) for parts in row)]
        for encoder, row in zip(grid.encoders, grid_texts(grid, measure), strict=True)
    ]
    return in_groups(grid, rows, "*{}*")


def signs_of(grid: Grid, measure: Measure) -> str:
    """Return the signs of a measure's table."""
    return "".join(sign for row in grid_texts(grid, measure) for _, _, sign in row)


def _legend(signs: str) -> list[str]:
    notes = legend(signs)
    return ["", f"{_escaped('; '.join(notes))}."] if notes else []


def in_groups(grid: Grid, rows: Sequence[list[str]], title: str) -> list[list[str]]:
    """Return rows of a table, one per encoder, below the titles of controls and models.

    Args:
        grid: Cells.
        rows: Texts of each encoder's row.
        title: Pattern of a title, such as "*{}*"; a grid of one group has none.
    """
    found: list[list[str]] = []
    for name, encoders in grid.groups:
        found += [[title.format(name), *[""] * len(grid.decoders)]] if name else []
        found += [row for row in rows if row[0] in encoders]
    return found


def _escaped(text: str) -> str:
    return text.replace(BEST, f"\\{BEST}")


def setting_of(grid: Grid) -> str:
    """Return the settings that all cells of a grid share, in one line."""
    return grid.once(("setting",), lambda: setting(grid.frame))


def label(grid: Grid, measure: Measure) -> str:
    """Return the name of a measure; that of a biased distance with the number of images."""
    images = _range(grid.frame, f"{measure.key}_n") if measure.biased else None
    return f"{measure.label} at n = {_words(images)}" if images else measure.label


def caveats(grid: Grid, measure: Measure) -> list[str]:
    """Return notes on a measure: sample sizes, floor, uninformative and missing values."""
    return [*grid.once(("caveats", measure), lambda: _caveats(grid, measure))]


def _caveats(grid: Grid, measure: Measure) -> list[str]:
    notes = []
    frame, key = grid.frame, measure.key
    images, width = _range(frame, f"{key}_n"), _range(frame, f"{key}_dim")
    if images and width:
        notes.append(f"{_words(images)} images per side, {_words(width)} features")
    floor = _range(frame, f"{key}_floor")
    if floor:
        ends = " to ".join(dict.fromkeys(format_value(end, measure) for end in floor))
        notes.append(f"two disjoint halves of the test images are {ends} apart")
    if f"{key}_note" in frame:
        notes += [str(note) for note in dict.fromkeys(frame[f"{key}_note"].dropna())]
    attributes, constant = _range(frame, "probe/n_attributes"), _range(frame, "probe/n_constant")
    if attributes and key.startswith("probe/"):
        notes.append(f"mean over {_words(attributes)} attributes")
        if constant and constant[1] and key in ("probe/consistency", "probe/kappa"):
            notes.append(
                f"up to {constant[1]:g} of them uninformative: a probe predicts one label for all"
            )
    return notes + _flat(grid, measure) + _chance(grid, measure) + _reasons(frame, measure)


def not_measured(grid: Grid) -> list[str]:
    """Return the measures that no cell has, with the reasons that cells give, one line each."""
    of: dict[str, list[str]] = {}
    for measure in absent_measures(grid):
        for reason in _reasons(grid.frame, measure):
            of.setdefault(reason, []).append(measure.key)
    return [f"{', '.join(keys)} {reason}" for reason, keys in of.items()]


def absent_measures(grid: Grid) -> list[Measure]:
    """Return the measures that no cell has, and that cells give a reason for."""
    known = set(grid.measured)
    return [m for m in MEASURES if m not in known and _reasons(grid.frame, m)]


def _flat(grid: Grid, measure: Measure) -> list[str]:
    """Return the measure at both penalties, for cells whose penalty is not determined."""
    texts = []
    for cell in () if measure.of_decoder else grid.cells.values():
        value, other = cell.number(measure.key), cell.flat(measure.key)
        if value is None or other is None:
            continue
        ends = [format_value(number, measure) for number in (value, other)]
        alphas = [f"{cell.number(key) or 0:.3g}" for key in ("alpha", "map/flat_alpha")]
        texts.append(
            f"{cell.encoder} to {cell.decoder} {ends[0]} at penalty {alphas[0]}, {ends[1]} at "
            f"{alphas[1]}"
        )
    more = f", and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    found = "; ".join(texts[:_SHOWN])
    return [f"penalty not determined: {found}{more}"] if texts else []


def _chance(grid: Grid, measure: Measure) -> list[str]:
    """Return how many cells are no better than the measure of shuffled items."""
    sign, end = (-1, "null_low") if measure.lower_is_better else (1, "null_high")
    if f"{measure.key}/{end}" not in grid.frame:
        return []
    pairs = [
        (cell.number(measure.key), cell.number(f"{measure.key}.{end}"))
        for cell in grid.cells.values()
    ]
    known = [(value, null) for value, null in pairs if value is not None and null is not None]
    within = sum(sign * value <= sign * null for value, null in known)
    return (
        [f"no better than for shuffled items in {within} of {len(known)} cells"] if within else []
    )


def _reasons(frame: pd.DataFrame, measure: Measure) -> list[str]:
    column = f"{measure.key}_missing"
    if column not in frame:
        return []
    counts = frame[column].value_counts().items()
    return [f"missing in {count} of {len(frame)} cells: {reason}" for reason, count in counts]


def _range(frame: pd.DataFrame, column: str) -> tuple[float, float] | None:
    values = frame[column].dropna() if column in frame else ()
    return (float(min(values)), float(max(values))) if len(values) else None


def _words(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g}" if ends[0] == ends[1] else f"{ends[0]:g} to {ends[1]:g}"
