"""Sheets of images, drawn with PIL alone; nothing here reads or writes files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stitching.report.drawing.sheet import BLANK, INK, QUIET

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Pixels = NDArray[np.uint8]

#: Images shown by `render_reconstructions` at most.
MAX_COLUMNS = 12

# Lengths in pixels. Tiles are enlarged by a whole factor to about this side, so that a pixel of
# the model stays a square, without interpolation.
_TILE, _GAP, _MARGIN, _FONT = 128, 6, 14, 19

_APART = 18  # pixels more between controls and models


def render_reconstructions(original: Pixels, own: Pixels, stitched: Pixels) -> Image.Image:
    """Return test images above the target's own reconstructions and the stitched images.

    Args:
        original: Shape (n, H, W, 3), uint8, n >= 1; the first 12 are shown.
        own: The target model's reconstructions of them, same shape.
        stitched: The images decoded from mapped latents, same shape.

    Raises:
        ValueError: An array is not uint8, or shapes differ or are not (n, H, W, 3).
    """
    parts = {"original": original, "own reconstruction": own, "stitched": stitched}
    for name, images in parts.items():
        if images.dtype != "uint8" or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(
                f"{name} must be uint8 of shape (n, H, W, 3), got {images.dtype} of shape "
                f"{images.shape}"
            )
        if images.shape != original.shape or not len(images):
            raise ValueError(
                f"{name} must have as many images as the original, at least 1, of the same size: "
                f"got shapes {images.shape} and {original.shape}"
            )
    return rows_of_pictures(parts)


def rows_of_pictures(rows: Mapping[str, Pixels]) -> Image.Image:
    """Return rows of images with their names at the left.

    Args:
        rows: By name, uint8 of shape (n, H, W, 3), one H and W; the first 12 are shown.
    """
    from PIL import Image

    tiles = [[_enlarge(Image.fromarray(x)) for x in part[:MAX_COLUMNS]] for part in rows.values()]
    return _sheet(tiles, list(rows))


def picture_grid(
    original: Image.Image,
    stitched: Mapping[tuple[str, str], Image.Image | str],
    encoders: Sequence[str],
    decoders: Sequence[str],
    apart: int = 0,
) -> Image.Image:
    """Return one test image, decoded by every decoder (columns) from every encoder (rows).

    Args:
        original: The test image, shown at the left.
        stitched: By encoder and decoder; a picture, or a word such as "missing".
        encoders: Labels of the rows.
        decoders: Labels of the columns.
        apart: Rows that a wider gap separates from the others, from the top.
    """
    tile = _enlarge(original)
    pictures = [[stitched[encoder, decoder] for decoder in decoders] for encoder in encoders]
    tiles = [
        [_blank(tile.size, x) if isinstance(x, str) else _enlarge(x) for x in row]
        for row in pictures
    ]
    grid = _sheet(tiles, encoders, decoders, apart)
    left = 2 * _MARGIN + tile.width
    sheet, draw = _canvas((left + grid.width, grid.height))
    sheet.paste(grid, (left, 0))
    rows = len(tiles) * (tile.height + _GAP) - _GAP + _APART * (0 < apart < len(tiles))
    top = grid.height - _MARGIN - (rows + tile.height) // 2  # level with the middle of the rows
    sheet.paste(tile, (_MARGIN, top))
    draw.text((_MARGIN + tile.width // 2, top - _FONT), "original", INK, _font(_FONT), "mm")
    return sheet


def _sheet(
    tiles: Sequence[Sequence[Image.Image]],
    rows: Sequence[str],
    columns: Sequence[str] = (),
    apart: int = 0,
) -> Image.Image:
    """Arrange equal tiles in rows with labels: encoders at the left, any decoders above."""
    font, small = _font(_FONT), _font(_FONT - 4)
    width, height = tiles[0][0].size
    pitch_x, pitch_y = width + _GAP, height + _GAP
    text = max(math.ceil(font.getlength(label)) for label in rows)
    left = 2 * _MARGIN + max(text, math.ceil(small.getlength("encoder")) if columns else 0)
    top = _MARGIN + (3 * _FONT + _GAP if columns else 0)
    heights = [top + i * pitch_y + _APART * (0 < apart <= i) for i in range(len(tiles))]
    right = left + max(len(row) for row in tiles) * pitch_x - _GAP
    sheet, draw = _canvas((right + _MARGIN, heights[-1] + height + _MARGIN))
    for y, label, row in zip(heights, rows, tiles, strict=True):
        draw.text((left - _MARGIN, y + height // 2), label, INK, font, "rm")
        for j, tile in enumerate(row):  # rows may be shorter
            sheet.paste(tile, (left + j * pitch_x, y))
    for j, label in enumerate(columns):
        draw.text((left + j * pitch_x + width // 2, top - _FONT), label, INK, font, "mm")
    if columns:
        middle = left + (right - left) // 2
        draw.text((middle, _MARGIN + _FONT // 2), "decoder", QUIET, small, "mm")
        draw.text((left - _MARGIN, top - _FONT), "encoder", QUIET, small, "rm")
    return sheet


def _enlarge(image: Image.Image) -> Image.Image:
    from PIL import Image

    factor = max(1, round(_TILE / max(image.size)))
    size = (image.width * factor, image.height * factor)
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST)


def _blank(size: tuple[int, int], word: str) -> Image.Image:
    """Return a tile with a word, like the cells without a number in a heatmap."""
    tile, draw = _canvas(size, BLANK)
    draw.text((size[0] // 2, size[1] // 2), word, INK, _font(_FONT - 3), "mm")
    return tile


def _canvas(size: tuple[int, int], colour: str = "white") -> tuple[Image.Image, ImageDraw]:
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", size, colour)
    return canvas, ImageDraw.Draw(canvas)


def _font(size: int) -> FreeTypeFont | ImageFont:
    """Return the typeface that PIL brings along, so that no font need be installed."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
