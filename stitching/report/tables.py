"""Measures as people read them: names, direction, rounding, tables and what limits them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from stitching.report.cells import Grid, pivot
from stitching.report.measures import MEASURES, Measure

if TYPE_CHECKING:
    import pandas as pd

CORNER = "encoder \\ decoder"


def format_value(value: float | str, measure: Measure) -> str:
    """Return a number rounded for reading, a word as it is.

    Percent have one decimal, other numbers three significant digits; halves and all else are
    rounded, never cut off.
    """
    if isinstance(value, str):
        return value
    if measure.percent:
        text = f"{value:.1%}".removesuffix("%")
    else:
        exponent = int(f"{value:.2e}".partition("e")[2])  # after rounding: 0.9996 is 1.00
        plain = -4 <= exponent < 6
        text = f"{value:.{max(0, 2 - exponent)}f}" if plain else f"{value:.2e}"
    return text.removeprefix("-") if float(text) == 0 else text


def grid_values(grid: Grid, measure: Measure) -> list[list[float | str]]:
    """Return a measure for all pairs of models, with a word where there is no number.

    Returns:
        One row per encoder, one column per decoder: a number, "failed", "unfinished" or
        "missing" for a cell that has no result, "missing" for a result without this measure,
        "invalid" for a value that is not a finite number.
    """
    import pandas as pd

    table = pivot(grid.frame, measure.key)

    def value(encoder: str, decoder: str) -> float | str:
        if (encoder, decoder) in grid.absent:
            return grid.absent[encoder, decoder]
        found: Any = table.loc[encoder, decoder]
        if pd.isna(found):
            return "missing"
        return "invalid" if isinstance(found, (str, bool)) else float(found)

    return [[value(encoder, decoder) for decoder in grid.decoders] for encoder in grid.encoders]


def shown(grid: Grid) -> list[Measure]:
    """Return the measures that at least one finished cell has a value for."""
    frame = grid.frame
    return [m for m in MEASURES if m.key in frame and bool(frame[m.key].notna().any())]


def print_table(grid: Grid, measures: Sequence[Measure] | None = None) -> str:
    """Return measures as text, one table of encoders by decoders each.

    Args:
        grid: What to show.
        measures: Which; None takes those meant for the console.

    Raises:
        ValueError: Cells of one encoder and decoder differ in their results.
    """
    blocks = []
    for measure in measures or [m for m in shown(grid) if m.printed]:
        rows = [[format_value(x, measure) for x in row] for row in grid_values(grid, measure)]
        head = [CORNER, *grid.decoders]
        body = [[name, *row] for name, row in zip(grid.encoders, rows, strict=True)]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        lines = [f"{measure.key}: {measure.label}; {direction(measure)}"]
        for name, *cells in [head, *body]:
            padded = [x.rjust(width) for x, width in zip(cells, widths[1:], strict=True)]
            lines.append("  ".join([name.ljust(widths[0]), *padded]))
        lines += [f"  {note}" for note in caveats(grid.frame, measure)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def markdown(grid: Grid) -> str:
    """Return all measures as Markdown, with what was left out at the end.

    Raises:
        ValueError: Cells of one encoder and decoder differ in their results.
    """
    lines = ["# Stitching grid", "", f"{setting(grid.frame)}."]
    for measure in shown(grid):
        lines += ["", f"## {measure.label}", "", f"`{measure.key}`: {direction(measure)}."]
        lines += [f"{note[0].upper()}{note[1:]}." for note in caveats(grid.frame, measure)]
        lines += ["", _markdown_row([CORNER, *grid.decoders])]
        lines += [_markdown_row(["---", *("---:" for _ in grid.decoders)])]
        for name, row in zip(grid.encoders, grid_values(grid, measure), strict=True):
            lines.append(_markdown_row([name, *(format_value(x, measure) for x in row)]))
    notes = [*not_measured(grid), *grid.notes]
    if notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def direction(measure: Measure) -> str:
    """Return which end of the scale is the better one, in words."""
    better = "lower is better" if measure.lower_is_better else "higher is better"
    return f"{better}, comparable within a column" if measure.by_column else better


def setting(frame: pd.DataFrame) -> str:
    """Return what all cells have in common, in one line."""
    parts = []
    for key, text in (
        ("data", "data {}"),
        ("map", "map {}"),
        ("n_train", "{} images to fit"),
        ("n_test", "{} to test"),
        ("seed", "seed {}"),
    ):
        values = set(frame[key].dropna()) if key in frame else set()
        if key == "map" and len(values) == 2 and "identity" in values:
            values.remove("identity")
            text = "map {} (none on the diagonal)"
        if len(values) == 1:
            parts.append(text.format(*values))
    return ", ".join(parts)


def caveats(frame: pd.DataFrame, measure: Measure) -> list[str]:
    """Return what one must know to judge a measure: counts, bias, missing values."""
    notes = []
    images, width = _range(frame, f"{measure.key}_n"), _range(frame, f"{measure.key}_dim")
    if images and width:
        note = f"{_words(images)} images per side, {_words(width)} features"
        if images[0] <= width[1]:
            note += "; mostly estimation bias unless images > features: small gaps mean nothing"
        notes.append(note)
    attributes, constant = _range(frame, "probe/n_attributes"), _range(frame, "probe/n_constant")
    if attributes and measure.key.startswith("probe/"):
        notes.append(f"mean over {_words(attributes)} attributes")
        if constant and constant[1] and measure.key in ("probe/consistency", "probe/kappa"):
            notes.append(
                f"up to {constant[1]:g} of them uninformative: a probe gives one answer to all"
            )
    return notes + _reasons(frame, measure)


def not_measured(grid: Grid) -> list[str]:
    """Return the measures that no cell has, where cells say why."""
    absent = [measure for measure in MEASURES if measure not in shown(grid)]
    return [f"{m.key} {reason}" for m in absent for reason in _reasons(grid.frame, m)]


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
