"""Every cap of the page, in one place. What is beyond a cap is linked, and the page says so."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """How much of a sweep the page holds; sizes are those in the file, in bytes.

    The defaults keep the page of 10,000 cells below 15 MiB, and all of a grid of 12 x 12 inside.

    Attributes:
        pictures_bytes: Pictures of all cells together.
        pictures_cells: Cells of a sweep up to which all of them show pictures. In a larger sweep
            `pictures_first` cells do: reading and writing a picture takes about 20 ms.
        pictures_first: See `pictures_cells`.
        picture_width: Pictures are made smaller by a whole factor until they fit, in pixels.
        picture_quality: Of WebP, 0-100.
        values: Numbers in the grids of all measures; of a larger sweep the grids show the
            measures that the console does.
        details_bytes: Attributes, curves and tracebacks of all cells together.
        figures_bytes: The paper's figures together.
        traceback: Characters of a traceback, counted from its end.
        numbers: Numbers of an answer to a claim; `claims.json` has all.
        digits: Significant digits of numbers that colours and means rest on. What is read as
            text is rounded as in tables.
    """

    pictures_bytes: int = 6 * MIB
    pictures_cells: int = 160
    pictures_first: int = 40
    picture_width: int = 1000
    picture_quality: int = 85
    values: int = 150_000
    details_bytes: int = MIB // 4
    figures_bytes: int = 2 * MIB
    traceback: int = 6000
    numbers: int = 40
    digits: int = 5
