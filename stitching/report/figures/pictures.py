"""Figures 1 and 2: one test image, decoded by every model from every model's latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stitching.report.drawing.sheet import BLANK, INK, QUIET, WIDE, Sheet, width_of
from stitching.results.cell import CellRecord
from stitching.results.formats import setting
from stitching.results.grid import Grid

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["gans", "picture_grid", "picture_strip", "pictured"]

GAP = 0.04  # inches between pictures

#: Side of a picture at most, in inches: five pictures and the original fill a page.
LARGEST = 1.1


def pictured(cell: CellRecord) -> bool:
    """Whether a cell left its pictures."""
    return all((cell.path / name).is_file() for name in (_STITCHED, _ORIGINAL))


_STITCHED, _ORIGINAL = "picture.png", "picture_original.png"


def gans(grid: Grid) -> list[str]:
    """Return the GANs among the decoders."""
    return [name for name in grid.decoders if grid.kinds[name] == "gan"]


def picture_grid(grid: Grid) -> Sheet:
    """Draw figure 1: decoders by encoders.

    Raises:
        ValueError: Cells show different test images.
    """
    pictures = _read(grid, grid.decoders)
    sheet = Sheet(WIDE)
    sheet.title("One test image through every pair of models", setting(grid.frame))
    _draw(sheet, pictures, grid.encoders, grid.decoders, "original")
    notes = ["Framed: the decoder's own reconstruction, without a map."] if pictures.own else []
    sheet.notes([" ".join([*notes, _pixels(pictures.original)])])
    return sheet


def picture_strip(grid: Grid) -> Sheet:
    """Draw figure 2: the GAN as decoder, on an image that it drew.

    Raises:
        ValueError: Cells show different test images.
    """
    rows = gans(grid)
    pictures = _read(grid, rows)
    known = {encoder for encoder, _ in pictures.found}
    columns = [name for name in grid.encoders if name in known]
    sheet = Sheet(WIDE)
    sheet.title("A drawn image, encoded by each model and decoded by the GAN", setting(grid.frame))
    _draw(sheet, pictures, columns, rows, "drawn")
    notes = ["Framed: the GAN's own latent, without a map."] if pictures.own else []
    sheet.notes([" ".join([*notes, _pixels(pictures.original)])])
    return sheet


@dataclass(frozen=True)
class _Pictures:
    """Pictures of cells.

    Attributes:
        original: The test image.
        found: Stitched pictures by encoder and decoder.
        words: Why there is none, by encoder and decoder.
        own: Those of them that are a model's own reconstruction.
    """

    original: Image.Image
    found: dict[tuple[str, str], Image.Image]
    words: dict[tuple[str, str], str]
    own: frozenset[tuple[str, str]]


def _read(grid: Grid, decoders: Sequence[str]) -> _Pictures:
    found, words = {}, dict(grid.absent)
    originals: dict[bytes, tuple[Path, Image.Image]] = {}
    for pair, cell in grid.cells.items():
        if pair[1] not in decoders:
            continue
        if not pictured(cell):
            words[pair] = "missing"
            continue
        found[pair] = _open(cell.path / _STITCHED)
        original = _open(cell.path / _ORIGINAL)
        originals.setdefault(original.tobytes(), (cell.path, original))
    if len(originals) > 1:
        names = " and ".join(path.name for path, _ in originals.values())
        raise ValueError(
            f"the cells {names} show different test images: sweep one setting of `data` and "
            "`picture` per folder"
        )
    [(_, original)] = originals.values()
    return _Pictures(original, found, words, grid.own.intersection(found))


def _open(path: Path) -> Image.Image:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB")


def _draw(
    sheet: Sheet, pictures: _Pictures, columns: Sequence[str], rows: Sequence[str], first: str
) -> None:
    """Draw the original, and right of it one row per decoder and one column per encoder."""
    label = max(width_of(name, 7) for name in rows) + 0.08
    n = len(columns) + 1
    side = min(LARGEST, (sheet.width - 0.1 - label - (n + 1) * GAP) / n)
    high = side * pictures.original.height / pictures.original.width
    left = 0.05 + side + 3 * GAP + label
    middle = left + (len(columns) * (side + GAP) - GAP) / 2
    sheet.text(middle, sheet.y + 0.05, "encoder", 7, at="center", colour=QUIET)
    sheet.text(left - 0.05, sheet.y + 0.17, "decoder", 7, at="right", colour=QUIET)
    for j, name in enumerate(columns):
        x = left + j * (side + GAP) + side / 2
        sheet.text(x, sheet.y + 0.17, _cut(name, side), 7, at="center")
    top = sheet.y + 0.26
    height = len(rows) * (high + GAP) - GAP
    y = top + (height - high) / 2  # level with the middle of the rows
    sheet.picture(0.05, y, side, high, pictures.original)
    sheet.text(0.05 + side / 2, y - 0.07, first, 7, at="center")
    for i, decoder in enumerate(rows):
        y = top + i * (high + GAP)
        sheet.text(left - 0.05, y + high / 2, decoder, 7, at="right")
        for j, encoder in enumerate(columns):
            x = left + j * (side + GAP)
            image = pictures.found.get((encoder, decoder))
            if image is not None:
                sheet.picture(x, y, side, high, image)
                if (encoder, decoder) in pictures.own:
                    sheet.box(x, y, side, high, "none", edge=INK, line=1.2)
            else:
                word = pictures.words.get((encoder, decoder), "missing")
                sheet.box(x, y, side, high, BLANK)
                sheet.text(x + side / 2, y + high / 2, word, 6, at="center", italic=True)
    sheet.y = top + height + 0.08


def _cut(name: str, width: float) -> str:
    """Return a name, its end left out where it is wider than its column."""
    while len(name) > 2 and width_of(name, 7) > width:
        name = name[:-2] + "…"
    return name


def _pixels(image: Image.Image) -> str:
    return f"Pictures of {image.width} x {image.height} pixels, enlarged without interpolation."
