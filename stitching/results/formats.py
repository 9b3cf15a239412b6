"""Numbers and tables as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from stitching.results.measures import Measure

if TYPE_CHECKING:
    import pandas as pd


def format_value(value: float | str, measure: Measure) -> str:
    """Return a number rounded for reading, a word as it is.

    Percent have one decimal, other numbers three significant digits; halves and all else are
    rounded, never cut off.
    """
    if isinstance(value, str):
        return value
    if measure.percent:
        return _unsigned_zero(f"{value:.1%}".removesuffix("%"))
    return three_digits(value)


def with_interval(
    value: float, ends: tuple[float, float] | None, measure: Measure | None = None
) -> tuple[str, str]:
    """Return a number and its interval as texts, such as `0.064` and `[0.061, 0.067]`.

    All three have the same decimals: those that give the number three significant digits, or
    the larger end where the number is less than a tenth of it and its digits mean nothing.

    Args:
        value: The number.
        ends: Of its interval; without it the second text is empty.
        measure: A measure in percent has one decimal.
    """
    if measure is not None and measure.percent:
        texts = [format_value(number, measure) for number in (value, *(ends or ()))]
    elif ends is None:
        texts = [three_digits(value)]
    else:
        largest = max(map(abs, ends))
        scale = three_digits(value if abs(value) >= largest / 10 else largest)
        decimals = len(scale.partition(".")[2])
        plain = "e" not in scale
        texts = [
            _unsigned_zero(f"{number:.{decimals}f}") if plain else three_digits(number)
            for number in (value, *ends)
        ]
    return texts[0], f"[{', '.join(texts[1:])}]" if ends else ""


def three_digits(value: float) -> str:
    """Return a number with three significant digits, very small and large ones in powers of 10."""
    exponent = int(f"{value:.2e}".partition("e")[2])  # after rounding: 0.9996 is 1.00
    plain = -4 <= exponent < 6
    return _unsigned_zero(f"{value:.{max(0, 2 - exponent)}f}" if plain else f"{value:.2e}")


def _unsigned_zero(text: str) -> str:
    return text[1:] if text.startswith("-") and float(text) == 0 else text


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """Return the lines of a table in Markdown.

    Args:
        head: Titles of the columns.
        rows: Texts of the cells.
        left: Number of columns that are aligned left; the others are aligned right.
    """
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return [f"| {' | '.join(cells)} |" for cells in [head, rule, *rows]]


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return rows as text with columns two spaces apart, the first `left` aligned left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if place < left else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def direction(measure: Measure) -> str:
    """Return which end of a measure's scale is the better one, in words."""
    if not measure.good:
        return "for comparison, neither end is better"
    better = f"{'lower' if measure.lower_is_better else 'higher'} is {measure.good}"
    return f"{better}, comparable within a column" if measure.by_column else better


def setting(frame: pd.DataFrame) -> str:
    """Return what all cells have in common, in one line."""
    parts = []
    for key, text in (
        ("protocol", "protocol {}"),
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
