"""Pictures of a grid: heatmaps (matplotlib) and sheets of images (PIL alone).

Everything here takes plain values and returns bytes or an image; nothing reads or writes files,
and matplotlib is used through its objects, without pyplot's global state.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Pixels = NDArray[np.uint8]
    Numbers = NDArray[np.float64]

__all__ = ["heatmap", "picture_grid", "render_reconstructions"]

#: Images shown by `render_reconstructions` at most.
MAX_COLUMNS = 12

# Lengths in pixels. Tiles are enlarged by a whole factor to about this side, so that a pixel of
# the model stays a square and no interpolation flatters it.
_TILE, _GAP, _MARGIN, _FONT = 128, 6, 14, 19
_INK, _PAPER, _BLANK, _HATCH = "#222222", "#ffffff", "#ececec", "#c4c4c4"


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
    from matplotlib import colormaps, style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, to_rgb
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    numbers = np.array(
        [[math.nan if isinstance(v, str) else float(v) for v in row] for row in values]
    )
    shades, low, high = _shades(numbers, by_column, floor)
    cmap = colormaps["viridis_r" if lower_is_better else "viridis"]
    rows, columns = numbers.shape
    width = max(4.6, 2.5 + 0.95 * columns)
    # About 18 characters of the notes fit into an inch.
    lines = [line for note in notes for line in textwrap.wrap(note, int(18 * width))]
    size = (width, 1.75 + 0.62 * rows + 0.15 * len(lines))
    with style.context("default"):
        figure = Figure(figsize=size, dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for i, j in np.ndindex(rows, columns):
            blank = math.isnan(shades[i, j])
            colour = to_rgb(_BLANK if blank else cmap(float(shades[i, j])))
            box = Rectangle((j - 0.49, i - 0.49), 0.98, 0.98, facecolor=colour, linewidth=0)
            if blank:
                box.set(hatch="////", edgecolor=_HATCH)
            axes.add_patch(box)
            # Black and white text have the same contrast at this luminance.
            ink = _INK if _luminance(colour) > 0.21 else "white"
            slant = "italic" if blank else "normal"
            below = small[i][j] if small else ""
            y = i - 0.1 if below else i
            axes.text(j, y, texts[i][j], ha="center", va="center", c=ink, size=10, style=slant)
            axes.text(j, i + 0.24, below, ha="center", va="center", c=ink, size=6.5)
        axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), aspect="auto")
        axes.set_xticks(range(columns), labels=decoders, size=10)
        axes.set_yticks(range(rows), labels=encoders, size=10)
        axes.set_xlabel("decoder", size=10)
        axes.set_ylabel("encoder", size=10)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(f"{title}\n", size=12, loc="left")
        axes.text(0, 1.03, subtitle, size=9, color="#555555", transform=axes.transAxes)
        scale = ScalarMappable(Normalize(0, 1) if by_column else Normalize(low, high), cmap)
        clipped = floor is not None and bool(np.nanmin(numbers) < floor)
        bar = figure.colorbar(scale, ax=axes, pad=0.02, extend="min" if clipped else "neither")
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8)
        if by_column:
            bar.set_ticks([0, 1], labels=["lowest in\ncolumn", "highest in\ncolumn"])
        elif not low < high:
            bar.set_ticks([])
        if lines:
            figure.supxlabel("\n".join(lines), size=7.5, color="#555555", x=0.01, ha="left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
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


def _luminance(colour: tuple[float, float, float]) -> float:
    """Return the relative luminance of sRGB values in [0, 1] (WCAG 2.1)."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def render_reconstructions(original: Pixels, own: Pixels, stitched: Pixels) -> Image.Image:
    """Show test images above the target's own reconstructions and the stitched images.

    Args:
        original: Shape (n, H, W, 3), uint8, n >= 1; the first 12 are shown.
        own: The target model's reconstructions of them, same shape.
        stitched: The images decoded from mapped latents, same shape.

    Raises:
        ValueError: An array is not uint8, or shapes differ or are not (n, H, W, 3).
    """
    from PIL import Image

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
    tiles = [[_enlarge(Image.fromarray(x)) for x in part[:MAX_COLUMNS]] for part in parts.values()]
    return _sheet(tiles, list(parts), [])


def picture_grid(
    original: Image.Image,
    stitched: Sequence[Sequence[Image.Image | str]],
    encoders: Sequence[str],
    decoders: Sequence[str],
) -> Image.Image:
    """Show one test image decoded by every decoder (rows) from every encoder (columns).

    Args:
        original: The test image, shown at the left.
        stitched: One row per decoder; a picture, or a word such as "missing".
        encoders: Column labels.
        decoders: Row labels.
    """
    tile = _enlarge(original)
    tiles = [
        [_blank(tile.size, x) if isinstance(x, str) else _enlarge(x) for x in row]
        for row in stitched
    ]
    grid = _sheet(tiles, decoders, encoders, "decoder", "encoder")
    font = _font(_FONT)
    left = 2 * _MARGIN + tile.width
    sheet = _canvas(left + grid.width, grid.height)
    sheet.paste(grid, (left, 0))
    rows = len(tiles) * (tile.height + _GAP) - _GAP
    top = grid.height - _MARGIN - (rows + tile.height) // 2  # level with the middle of the rows
    sheet.paste(tile, (_MARGIN, top))
    middle = _MARGIN + tile.width // 2
    _draw(sheet).text((middle, top - _FONT), "original", _INK, font, "mm")
    return sheet


def _sheet(
    tiles: Sequence[Sequence[Image.Image]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    row_title: str = "",
    column_title: str = "",
) -> Image.Image:
    """Arrange equal tiles in rows, with labels at the left and above."""
    font, small = _font(_FONT), _font(_FONT - 4)
    width, height = tiles[0][0].size
    pitch_x, pitch_y = width + _GAP, height + _GAP
    text = max(math.ceil(font.getlength(label)) for label in row_labels)
    left = 2 * _MARGIN + max(text, math.ceil(small.getlength(row_title)))
    top = _MARGIN + (2 * _FONT + _GAP if column_labels else 0) + (_FONT if column_title else 0)
    columns = max(len(row) for row in tiles)
    sheet = _canvas(
        left + columns * pitch_x - _GAP + _MARGIN, top + len(tiles) * pitch_y - _GAP + _MARGIN
    )
    draw = _draw(sheet)
    for i, (label, row) in enumerate(zip(row_labels, tiles, strict=True)):
        y = top + i * pitch_y
        draw.text((left - _MARGIN, y + height // 2), label, _INK, font, "rm")
        for j, tile in enumerate(row):
            sheet.paste(tile, (left + j * pitch_x, y))
    for j, label in enumerate(column_labels):
        draw.text((left + j * pitch_x + width // 2, top - _FONT), label, _INK, font, "mm")
    if column_title:
        middle = left + (columns * pitch_x - _GAP) // 2
        draw.text((middle, _MARGIN + _FONT // 2), column_title, "#777777", small, "mm")
        draw.text((left - _MARGIN, top - _FONT), row_title, "#777777", small, "rm")
    return sheet


def _enlarge(image: Image.Image) -> Image.Image:
    from PIL import Image

    factor = max(1, round(_TILE / max(image.size)))
    size = (image.width * factor, image.height * factor)
    return image.convert("RGB").resize(size, Image.Resampling.NEAREST)


def _blank(size: tuple[int, int], word: str) -> Image.Image:
    """Return a hatched tile with a word, like the cells without a number in a heatmap."""
    from PIL import Image

    tile = Image.new("RGB", size, _BLANK)
    draw = _draw(tile)
    for x in range(-size[1], size[0], 12):
        draw.line([(x, size[1]), (x + size[1], 0)], _HATCH)
    draw.text((size[0] // 2, size[1] // 2), word, _INK, _font(_FONT - 3), "mm")
    return tile


def _canvas(width: int, height: int) -> Image.Image:
    from PIL import Image

    return Image.new("RGB", (width, height), _PAPER)


def _draw(image: Image.Image) -> ImageDraw:
    from PIL import ImageDraw

    return ImageDraw.Draw(image)


def _font(size: int) -> FreeTypeFont | ImageFont:
    """Return the typeface that PIL brings along, so that no font need be installed."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
