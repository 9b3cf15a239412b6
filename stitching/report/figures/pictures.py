"""Figures 1 and 2: one test image, decoded by every model from every model's latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stitching.report.drawing.sheet import BLANK, INK, QUIET, WIDE, Sheet, width_of
from stitching.report.heatmaps import APART, FRAMED
from stitching.results.cell import CellRecord
from stitching.results.formats import setting
from stitching.results.grid import Grid, Pair

if TYPE_CHECKING:
    from PIL import Image

GAP = 0.04  # inches between pictures

_APART = 0.12  # inches more between controls and models

#: Side of a picture at most, in inches: five pictures and the original fill a page.
LARGEST = 1.1

#: Height of all rows together at most, in inches: what a page has beside title and notes.
TALLEST = 8.0

_STRIP = 5.0  # inches, the same of one column of pictures


@dataclass
class Pictures:
    """Pictures of cells.

    Attributes:
        original: The test image; None where no cell has pictures.
        of: Stitched picture by encoder and decoder, or a word such as "missing".
        unreadable: Cells without pictures, with the error.
    """

    original: Image.Image | None
    of: dict[Pair, Image.Image | str]
    unreadable: list[str]


def read_pictures(grid: Grid, decoders: Sequence[str]) -> Pictures:
    """Read the pictures of the cells with these decoders.

    Raises:
        ValueError: Cells show different test images.
    """
    pictures = Pictures(None, dict(grid.absent), [])
    originals: dict[bytes, str] = {}
    for pair, cell in grid.cells.items():
        if pair[1] not in decoders:
            continue
        try:
            pictures.of[pair], pictures.original = _read(cell)
        except OSError as error:
            pictures.of[pair] = "missing" if isinstance(error, FileNotFoundError) else "invalid"
            pictures.unreadable.append(f"{cell.path.name} without pictures: {error}")
            continue
        originals.setdefault(pictures.original.tobytes(), cell.path.name)
    if len(originals) > 1:
        raise ValueError(
            f"the cells {' and '.join(originals.values())} show different test images: sweep one "
            "setting of `data` and `picture` per folder"
        )
    return pictures


def _read(cell: CellRecord) -> list[Image.Image]:
    from PIL import Image

    found = []
    for name in ("picture.png", "picture_original.png"):
        with Image.open(cell.path / name) as image:
            found.append(image.convert("RGB"))
    return found


def pictured(cell: CellRecord) -> bool:
    """Return whether a cell has pictures that can be read."""
    try:
        return bool(_read(cell))
    except OSError:
        return False


def gans(grid: Grid) -> list[str]:
    """Return the GANs among the decoders."""
    return [name for name in grid.decoders if grid.kinds[name] == "gan"]


def picture_grid(grid: Grid) -> Sheet:
    """Draw figure 1: encoders by decoders.

    Raises:
        ValueError: Cells show different test images.
    """
    pictures = read_pictures(grid, grid.decoders)
    title = "One test image through every pair of models"
    return _draw(grid, pictures, grid.encoders, grid.decoders, title, "original", FRAMED)


def picture_strip(grid: Grid) -> Sheet:
    """Draw figure 2: the GAN as decoder, on an image that it drew.

    Raises:
        ValueError: Cells show different test images.
    """
    decoders = gans(grid)
    pictures = read_pictures(grid, decoders)
    known = {encoder for (encoder, _), x in pictures.of.items() if not isinstance(x, str)}
    encoders = [name for name in grid.encoders if name in known]
    title = "A drawn image, encoded by each model and decoded by the GAN"
    framed = "Framed: the GAN's own latent, without a map."
    return _draw(grid, pictures, encoders, decoders, title, "drawn", framed)


def _draw(
    grid: Grid,
    pictures: Pictures,
    encoders: Sequence[str],
    decoders: Sequence[str],
    title: str,
    first: str,
    framed: str,
) -> Sheet:
    """Draw the original, and right of it one row per encoder and one column per decoder."""
    original = pictures.original
    assert original is not None  # else there is no such figure
    sheet = Sheet(WIDE)
    sheet.title(title, setting(grid.frame))
    label = max(width_of(name, 7) for name in (*encoders, "encoder")) + 0.08
    n = len(decoders) + 1
    models = [name for name in encoders if name not in grid.controls]
    apart = _APART if models and len(models) < len(encoders) else 0.0
    side = min(LARGEST, (sheet.width - 0.1 - label - (n + 1) * GAP) / n)
    high = side * original.height / original.width
    tallest = TALLEST if len(decoders) > 1 else _STRIP
    if (most := (tallest - apart) / len(encoders) - GAP) < high:
        side, high = side * most / high, most
    left = 0.05 + side + 3 * GAP + label
    places = [left + j * (side + GAP) for j in range(len(decoders))]
    middle = (left + places[-1] + side) / 2
    sheet.text(middle, sheet.y + 0.05, "decoder", 7, at="center", colour=QUIET)
    sheet.text(left - 0.05, sheet.y + 0.17, "encoder", 7, at="right", colour=QUIET)
    for x, name in zip(places, decoders, strict=True):
        sheet.text(x + side / 2, sheet.y + 0.17, _cut(name, side), 7, at="center")
    top = sheet.y + 0.26
    heights = [
        top + i * (high + GAP) + apart * (name in models) for i, name in enumerate(encoders)
    ]
    y = (top + heights[-1]) / 2  # level with the middle of the rows
    sheet.picture(0.05, y, side, high, original)
    sheet.text(0.05 + side / 2, y - 0.07, first, 7, at="center")
    notes = [f"Pictures of {original.width} x {original.height} pixels, enlarged without "
             "interpolation."]  # fmt: skip
    if apart:
        notes.append(APART)
    for y, encoder in zip(heights, encoders, strict=True):
        sheet.text(left - 0.05, y + high / 2, encoder, 7, at="right")
        for x, decoder in zip(places, decoders, strict=True):
            image = pictures.of[encoder, decoder]
            if isinstance(image, str):
                sheet.box(x, y, side, high, BLANK)
                sheet.text(x + side / 2, y + high / 2, image, 6, at="center", italic=True)
                continue
            sheet.picture(x, y, side, high, image)
            if (encoder, decoder) in grid.own:
                sheet.box(x, y, side, high, "none", edge=INK, line=1.2)
                notes = [framed, *[note for note in notes if note != framed]]
    sheet.y = heights[-1] + high + 0.08
    sheet.notes([" ".join(notes)])
    return sheet


def _cut(name: str, width: float) -> str:
    """Return a name, its end left out where it is wider than its column."""
    while len(name) > 2 and width_of(name, 7) > width:
        name = name[:-2] + "…"
    return name
