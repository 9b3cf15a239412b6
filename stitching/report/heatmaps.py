"""Heatmaps of a grid, drawn box by box.

A plotting library needs a third of a second for each, and a report has twenty per protocol; what
is drawn is a table of boxes and texts, so it is drawn as such.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

    Numbers = NDArray[np.float64]
    Colour = tuple[int, int, int]

__all__ = ["heatmap"]

_INK, _QUIET, _PAPER, _BLANK, _HATCH = "#222222", "#555555", "#ffffff", "#ececec", "#c4c4c4"
_WHITE = "#ffffff"

# Lengths in pixels, for print at 200 dots per inch.
_DPI, _WIDTH, _HEIGHT, _GAP, _MARGIN = 200, 190, 124, 4, 24
_TITLE, _LABEL, _NUMBER, _SMALL, _SCALE, _NOTE = 34, 28, 27, 18, 22, 20
_BAR = 36


def heatmap(
    values: Sequence[Sequence[float | str]],
    texts: Sequence[Sequence[str]],
    encoders: Sequence[str],
    decoders: Sequence[str],
    *,
    title: str,
    subtitle: str,
    lower_is_better: bool,
    by_column: bool = False,
    floor: float | None = None,
    small: Sequence[Sequence[str]] | None = None,
    notes: Sequence[str] = (),
) -> bytes:
    """Draw one measure over the grid; yellow is the better end of the scale in every heatmap.

    Args:
        values: One row per encoder, one column per decoder; a number, or a word such as
            "missing" for a cell without one, which is hatched.
        texts: What to write into each cell.
        encoders: Row labels.
        decoders: Column labels.
        title: Name of the measure and its unit.
        subtitle: Direction of the scale in words.
        lower_is_better: Direction of the scale, for its colours.
        by_column: Colour each column on its own, for measures whose unit changes with the
            decoder.
        floor: Numbers below it get the same colour.
        small: What to write below the text of each cell, in the shape of `texts`.
        notes: Small lines below the grid.

    Returns:
        A PNG file, the same bytes for the same input.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    numbers = np.array(
        [[math.nan if isinstance(v, str) else float(v) for v in row] for row in values]
    )
    shades, low, high = _shades(numbers, by_column, floor)
    below = small or [[""] * len(decoders) for _ in encoders]
    pitch = _pitch(decoders, texts, below)
    left = 2 * _MARGIN + _LABEL + _GAP + max(_length(name, _LABEL) for name in encoders)
    top = _MARGIN + 2 * _TITLE + _LABEL
    right, bottom = left + len(decoders) * pitch, top + len(encoders) * _HEIGHT
    ends = _scale_labels(low, high, by_column, clipped=_clips(numbers, floor))
    width = right + _MARGIN + _BAR + max(_length(text, _SCALE) for _, text in ends) + _MARGIN
    width = max(width, left + max(_length(title, _TITLE), _length(subtitle, _LABEL)) + _MARGIN)
    lines = [line for note in notes for line in _wrapped(note, width - 2 * _MARGIN)]
    line = round(1.35 * _NOTE)
    height = bottom + 3 * _LABEL + _MARGIN + (len(lines) * line + _MARGIN if lines else 0)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.fontmode = "L"
    _text(draw, (left, _MARGIN + _TITLE // 2), title, _TITLE, anchor="lm")
    _text(draw, (left, top - _LABEL), subtitle, _LABEL - 3, anchor="lm", colour=_QUIET)
    palette = _palette(lower_is_better)
    for i, row in enumerate(texts):
        y = top + i * _HEIGHT
        middle = y + _HEIGHT // 2
        _text(draw, (left - _MARGIN // 2, middle), encoders[i], _LABEL, anchor="rm")
        for j, text in enumerate(row):
            box = (left + j * pitch, y, left + (j + 1) * pitch - _GAP, y + _HEIGHT - _GAP)
            shade = shades[i, j]
            if math.isnan(shade):
                _hatch(sheet, box)
                colour, slanted = _INK, True
            else:
                fill = palette[round(255 * float(shade))]
                draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill)
                # Black and white text have the same contrast at this luminance.
                colour, slanted = (_INK if _luminance(fill) > 0.21 else _WHITE), False
            x = (box[0] + box[2]) // 2
            up = 12 if below[i][j] else _GAP // 2
            _text(draw, (x, middle - up), text, _NUMBER, colour=colour, slanted=slanted)
            if below[i][j]:
                _text(draw, (x, middle + 24), below[i][j], _SMALL, colour=colour)
    for j, name in enumerate(decoders):
        _text(draw, (left + j * pitch + pitch // 2, bottom + _LABEL), name, _LABEL)
    _text(draw, ((left + right) // 2, bottom + 5 * _LABEL // 2), "decoder", _LABEL, colour=_QUIET)
    _turned(sheet, (_MARGIN, (top + bottom) // 2), "encoder")
    _bar(draw, palette, (right + _MARGIN, top, bottom - _GAP), ends)
    start = bottom + 3 * _LABEL + _MARGIN
    for number, text in enumerate(lines):
        place = (_MARGIN, start + number * line)
        _text(draw, place, text, _NOTE, anchor="lm", colour=_QUIET)
    buffer = io.BytesIO()
    sheet.save(buffer, format="png", dpi=(_DPI, _DPI), compress_level=3)
    return buffer.getvalue()


def _shades(
    numbers: Numbers, by_column: bool, floor: float | None
) -> tuple[Numbers, float, float]:
    """Return positions on the colour scale in [0, 1], NaN where there is no number, and its ends.

    Without spread, a value is in the middle.
    """
    import numpy as np

    clipped = numbers if floor is None else np.maximum(numbers, floor)
    shades = np.full_like(clipped, math.nan)
    for columns in [[j] for j in range(clipped.shape[1])] if by_column else [slice(None)]:
        part = clipped[:, columns]
        known = part[~np.isnan(part)]
        if known.size:
            spread = known.max() - known.min()
            shades[:, columns] = (part - known.min()) / spread if spread > 0 else part * 0 + 0.5
    return shades, float(np.nanmin(clipped)), float(np.nanmax(clipped))


def _clips(numbers: Numbers, floor: float | None) -> bool:
    import numpy as np

    return floor is not None and bool(np.nanmin(numbers) < floor)


def _scale_labels(
    low: float, high: float, by_column: bool, *, clipped: bool
) -> list[tuple[float, str]]:
    """Return what stands beside the bar of colours: a place in [0, 1], from below, and a text."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    if by_column:
        return [(0.0, "lowest in\ncolumn"), (1.0, "highest in\ncolumn")]
    if not low < high:
        return [(0.5, f"{low:.3g}")]
    ticks = [x for x in MaxNLocator(6).tick_values(low, high) if low <= x <= high]
    form = ScalarFormatter(useOffset=False)
    form.create_dummy_axis()
    form.set_scientific(False)
    labels = form.format_ticks(ticks)
    labels = [label.replace("\N{MINUS SIGN}", "-") for label in labels]
    if any(len(label) > 9 for label in labels):
        labels = [f"{x:.3g}" for x in ticks]
    found = [((x - low) / (high - low), label) for x, label in zip(ticks, labels, strict=True)]
    return [(0.0, f"≤ {low:.3g}"), *found[1:]] if clipped else found


def _pitch(
    decoders: Sequence[str], texts: Sequence[Sequence[str]], below: Sequence[Sequence[str]]
) -> int:
    """Return the width of a column that has room for its name and all texts."""
    widest = [_length(name, _LABEL) for name in decoders]
    widest += [_length(max(row, key=len), _NUMBER) for row in texts]
    widest += [_length(max(row, key=len), _SMALL) for row in below]
    return max(_WIDTH, max(widest) + 20)


def _palette(lower_is_better: bool) -> list[Colour]:
    from matplotlib import colormaps

    colours = colormaps["viridis_r" if lower_is_better else "viridis"](range(256))
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b, _ in colours.tolist()]


def _luminance(colour: Colour) -> float:
    """Return the relative luminance of sRGB values in [0, 255] (WCAG 2.1)."""
    scaled = (c / 255 for c in colour)
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in scaled)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _bar(
    draw: ImageDraw,
    palette: Sequence[Colour],
    place: tuple[int, int, int],
    ends: Sequence[tuple[float, str]],
) -> None:
    """Draw the scale of colours, lowest number at the bottom."""
    x, top, bottom = place
    span = bottom - 1 - top
    for y in range(top, bottom):
        shade = palette[round(255 * (bottom - 1 - y) / span)]
        draw.line(((x, y), (x + _BAR - 1, y)), shade)
    for where, text in ends:
        y = bottom - 1 - round(where * span)
        draw.line(((x + _BAR, y), (x + _BAR + 5, y)), _QUIET)
        # Labels stay within the bar, so that none is cut off at the sheet's edge.
        room = (text.count("\n") + 1) * _SCALE // 2
        y = min(max(y, top + room), bottom - room)
        _text(draw, (x + _BAR + 10, y), text, _SCALE, anchor="lm")


def _hatch(sheet: Image.Image, box: tuple[int, int, int, int]) -> None:
    from PIL import Image, ImageDraw

    width, height = box[2] - box[0], box[3] - box[1]
    tile = Image.new("RGB", (width, height), _BLANK)
    draw = ImageDraw.Draw(tile)
    for x in range(-height, width, 14):
        draw.line(((x, height), (x + height, 0)), _HATCH)
    sheet.paste(tile, box[:2])


def _text(
    draw: ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    *,
    anchor: str = "mm",
    colour: str = _INK,
    slanted: bool = False,
) -> None:
    if "\n" in text:
        place = (place[0], place[1] - size * text.count("\n") // 2)
        for number, part in enumerate(text.split("\n")):
            draw.text((place[0], place[1] + number * size), part, colour, _font(size), anchor)
    else:
        draw.text(place, text, colour, _font(size, slanted), anchor)


def _turned(sheet: Image.Image, place: tuple[int, int], text: str) -> None:
    """Write a text upwards; the place is the middle of its left side."""
    from PIL import Image, ImageDraw

    tile = Image.new("RGB", (_length(text, _LABEL), 2 * _LABEL), _PAPER)
    _text(ImageDraw.Draw(tile), (0, _LABEL), text, _LABEL, anchor="lm", colour=_QUIET)
    tile = tile.crop((0, _LABEL // 2, tile.width, 3 * _LABEL // 2))
    turned = tile.transpose(Image.Transpose.ROTATE_90)
    sheet.paste(turned, (place[0], place[1] - turned.height // 2))


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text that fit into a width."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _length(longer, _NOTE) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _length(text: str, size: int) -> int:
    return max(math.ceil(_font(size).getlength(line)) for line in text.split("\n"))


@lru_cache
def _font(size: int, slanted: bool = False) -> FreeTypeFont:
    """Return the typeface that matplotlib brings along, so that no font need be installed."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Oblique.ttf" if slanted else "DejaVuSans.ttf"
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{name}", size)
