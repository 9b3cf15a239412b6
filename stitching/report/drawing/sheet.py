"""A page to draw on, measured in inches from its upper left corner, as high as what is drawn.

Text becomes outlines in the SVG, so that it looks the same where the typeface is not installed;
comments in the file hold it as text. The same drawing gives the same bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path
    from numpy.typing import NDArray
    from PIL import Image

#: Width of a page with two columns of text, in inches; that of one column is half of it.
WIDE = 7.0

#: Resolution of the PNG files, in pixels per inch: what journals ask of pictures.
DPI = 300

#: A typographic point, in inches.
POINT = 1 / 72

#: Distance of two lines of text, in heights of the type.
LEADING = 1.3

# The page replaces them in dark mode, see `assets/sections.js`: what must not change on a coloured
# box has another colour, below.
INK, QUIET, BLANK, HATCH = "#1a1a1a", "#595959", "#e6e6e6", "#d6d6d6"

#: Letters on light and on dark boxes.
ON_LIGHT, ON_DARK = "#000000", "#fefefe"

_MEASURED = 100.0  # points, at which widths are measured

Colour = str | tuple[float, ...]
Place = Literal["left", "center", "right"]
Corners = list[tuple[float, float]]


@contextmanager
def page_style() -> Iterator[None]:
    """Set matplotlib's default style, and that of sheets, whatever the user's settings are."""
    from matplotlib import style

    own = {
        "svg.fonttype": "path",
        "svg.hashsalt": "stitching",  # else names inside the file are drawn by chance
        "text.parse_math": False,  # a name may hold a $
        "hatch.linewidth": 0.5,
        "font.size": 7,
        "axes.linewidth": 0.5,
    }
    with style.context(["default", own]):
        yield


class Sheet:
    """A page of fixed width, whose height is that of what is drawn.

    Attributes:
        width: In inches.
        y: Where the next part may begin, in inches from the top; `save` cuts the page there.
    """

    def __init__(self, width: float) -> None:
        from matplotlib.figure import Figure

        self.width, self.y = width, 0.05
        self._figure = Figure(figsize=(width, 1.0))
        self._page = self._figure.add_axes((0, 0, 1, 1))
        self._page.set_axis_off()
        self._plots: list[tuple[Axes, tuple[float, float, float, float]]] = []
        #: Corners and colours, by hatch, edge and width of the line.
        self._boxes: dict[tuple[str, Colour | None, float], list[tuple[Corners, Colour]]] = {}
        #: Places, by sign, size, colour, bold and italic.
        self._signs: dict[tuple[str, float, Colour, bool, bool], Corners] = {}

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 7,
        *,
        at: Place = "left",
        colour: Colour = INK,
        bold: bool = False,
        italic: bool = False,
        turned: bool = False,
    ) -> None:
        """Write one line.

        Args:
            x: Its left end, middle or right end, by `at`; its middle where it is turned.
            y: The middle of its small letters; its lower end where it is turned.
            text: The line.
            size: In points.
            at: Part of the line at x.
            colour: Of the letters.
            bold: Heavy letters.
            italic: Slanted letters.
            turned: Whether to turn it by 90 degrees, to be read from below.
        """
        self._page.text(
            x,
            y if turned else y + 0.35 * size * POINT,
            text,
            size=size,
            color=colour,
            weight="bold" if bold else "normal",
            style="italic" if italic else "normal",
            ha="center" if turned else at,
            va="bottom" if turned else "baseline",
            rotation=90 if turned else 0,
        )

    def number(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        *,
        colour: Colour = INK,
        bold: bool = False,
        italic: bool = False,
    ) -> None:
        """Write a number with its middle at (x, y), without kerning.

        Equal signs are drawn together, in a tenth of the time: tables have thousands of them.
        """
        advances = [_advance(sign, bold, italic) * size * POINT for sign in text]
        x -= sum(advances) / 2
        for sign, advance in zip(text, advances, strict=True):
            if not sign.isspace():
                key = (sign, size, colour, bold, italic)
                self._signs.setdefault(key, []).append((x, y + 0.35 * size * POINT))
            x += advance

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        colour: Colour = BLANK,
        *,
        hatch: str = "",
        edge: Colour | None = None,
        line: float = 0.8,
    ) -> None:
        """Fill a rectangle, given by its upper left corner; those of one kind are drawn together.

        Args:
            x: Left end.
            y: Upper end.
            width: To the right.
            height: Downwards.
            colour: Of the area; "none" leaves it.
            hatch: Pattern on it, as matplotlib names them.
            edge: Colour of a line around it; None draws none.
            line: Its width in points.
        """
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        kind = (hatch, HATCH if hatch else edge, line)
        self._boxes.setdefault(kind, []).append((corners, colour))

    def picture(self, x: float, y: float, width: float, height: float, image: Image.Image) -> None:
        """Place a picture, its pixels as they are: enlarged ones stay squares."""
        import numpy as np

        x, y = round(x * DPI) / DPI, round(y * DPI) / DPI  # on whole pixels of the PNG file
        self._show(x, y, width, height, np.asarray(image.convert("RGB")))

    def gradient(self, x: float, y: float, width: float, height: float, cmap: Colormap) -> None:
        """Draw the colours of a scale from left to right."""
        import numpy as np

        colours = (cmap(np.linspace(0, 1, 128))[None] * 255).round().astype(np.uint8)
        self._show(x, y, width, height, colours)

    def _show(
        self, x: float, y: float, width: float, height: float, pixels: NDArray[np.uint8]
    ) -> None:
        extent = (x, x + width, y + height, y)
        self._page.imshow(
            pixels, extent=extent, aspect="auto", origin="upper", interpolation="none"
        )

    @property
    def plots(self) -> list[Axes]:
        """Return the axes on the page."""
        return [axes for axes, _ in self._plots]

    def plot(self, x: float, y: float, width: float, height: float) -> Axes:
        """Return axes to plot on, whose frame is the rectangle with this upper left corner."""
        axes = self._figure.add_axes((0, 0, 1, 1))
        self._plots.append((axes, (x, y, width, height)))
        return axes

    def title(self, title: str, setting: str) -> None:
        """Write the title, and below it the setting of the measurement."""
        for line in wrap(title, 8, self.width - 0.1, bold=True):
            self.text(0.05, self.y + 4.5 * POINT, line, 8, bold=True)
            self.y += 8 * LEADING * POINT
        self.notes([setting], 7)
        self.y += 0.06

    def notes(self, notes: Sequence[str], size: float = 6) -> None:
        """Write small lines over the whole width, broken where they are too long."""
        for note in notes:
            for line in wrap(note, size, self.width - 0.1):
                self.text(0.05, self.y + size * POINT * 0.6, line, size, colour=QUIET)
                self.y += size * LEADING * POINT

    def save(
        self, title: str, description: str, kinds: Sequence[str] = ("svg", "png")
    ) -> dict[str, bytes]:
        """Return the files of the page, by the end of their name.

        Args:
            title: Metadata for readers who cannot see the page.
            description: Details for them.
            kinds: `svg` and `png`.
        """
        height = math.ceil((self.y + 0.05) * DPI) / DPI
        self._figure.set_size_inches(self.width, height)
        self._page.set(xlim=(0, self.width), ylim=(height, 0))
        for axes, (x, y, wide, high) in self._plots:
            axes.set_position(
                (x / self.width, 1 - (y + high) / height, wide / self.width, high / height)
            )
        self._draw_boxes()
        self._draw_signs()
        metadata = {
            "svg": {"Title": title, "Description": description, "Date": None, "Creator": None},
            "png": {"Software": None, "Title": title},
        }
        files = {}
        for kind in kinds:
            buffer = io.BytesIO()
            self._figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata[kind])
            files[kind] = buffer.getvalue()
        return files

    def _draw_boxes(self) -> None:
        from matplotlib.collections import PolyCollection

        for (hatch, edge, line), boxes in self._boxes.items():
            corners, colours = zip(*boxes, strict=True)
            drawn = PolyCollection(
                corners,
                facecolors=colours,
                edgecolors=edge or "none",
                linewidths=0 if hatch or edge is None else line,
                hatch=hatch or None,
                zorder=1 if edge is None or hatch else 2,  # a frame lies over its neighbours
                clip_on=False,
            )
            self._page.add_artist(drawn)
        self._boxes.clear()

    def _draw_signs(self) -> None:
        from matplotlib.collections import PathCollection
        from matplotlib.transforms import Affine2D

        for (sign, size, colour, bold, italic), places in self._signs.items():
            signs = PathCollection(
                [_outline(sign, bold, italic)],
                offsets=places,
                offset_transform=self._page.transData,
                facecolors=[colour],
                linewidths=0,
                zorder=3,
                clip_on=False,
            )
            scale = Affine2D().scale(size * POINT / _MEASURED)
            signs.set_transform(scale + self._figure.dpi_scale_trans)
            signs.set_snap(False)  # brackets are straight, but belong to curved signs
            self._page.add_artist(signs)
        self._signs.clear()


def width_of(text: str, size: float, bold: bool = False) -> float:
    """Return the width of a line of text, in inches; kerning may make it narrower."""
    return sum(_advance(sign, bold, False) for sign in text) * size * POINT


@lru_cache(maxsize=1024)
def _advance(sign: str, bold: bool, italic: bool) -> float:
    """Return how far the next sign is, at a size of 1."""
    from matplotlib.font_manager import findfont, get_font

    face = get_font(findfont(_font(bold, italic)))
    face.set_size(_MEASURED, 72)  # each time: whoever draws shares the face
    return float(face.load_char(ord(sign)).linearHoriAdvance) / 65536 / _MEASURED


@lru_cache(maxsize=1024)
def _outline(sign: str, bold: bool, italic: bool) -> Path:
    from matplotlib.textpath import TextPath

    return TextPath((0, 0), sign, size=_MEASURED, prop=_font(bold, italic))


@lru_cache(maxsize=4)
def _font(bold: bool, italic: bool) -> FontProperties:
    from matplotlib.font_manager import FontProperties

    return FontProperties(
        family="DejaVu Sans",
        weight="bold" if bold else "normal",
        style="italic" if italic else "normal",
    )


def wrap(text: str, size: float, width: float, *, bold: bool = False) -> list[str]:
    """Break a text at spaces into lines of at most this width, in inches."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(longer, size, bold) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
