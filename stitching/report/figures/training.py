"""Figure 6: accuracy of probes on a model's own latents in the course of its training."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stitching.report.drawing.sheet import INK, QUIET, WIDE, Sheet
from stitching.report.figures.facts import probe_setting
from stitching.report.figures.readings import MEAN, attributes_of, reasons
from stitching.results.cell import CellRecord
from stitching.results.grid import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OWN, _MAJORITY = "probe/accuracy_own", "probe/majority"

_SEEN = "weights/decoder_images_seen"

#: Fewest checkpoints of a course.
_CHECKPOINTS = 2

#: Options of a model in which checkpoints of one training differ.
_OF_CHECKPOINT = ("name", "checkpoint")

_COLUMNS, _HIGH = 4, 0.95  # panels side by side; inches

#: Blue and grey: apart for colour-blind eyes and in black and white.
_LINE, _FLOOR = "#0072b2", "#8c8c8c"


@dataclass(frozen=True)
class Course:
    """Checkpoints of one training, as decoders.

    Attributes:
        model: Kind of the model, such as `nf`.
        cells: One for each number of images seen, ascending.
    """

    model: str
    cells: dict[int, CellRecord]


def courses(grid: Grid) -> list[Course]:
    """Return the trainings with two or more checkpoints as decoders, the longest first.

    Checkpoints belong to one training if their configurations differ in nothing else. Trainings
    with different weights after the same number of images are left out.
    """
    trainings: dict[tuple[str, str], list[CellRecord]] = {}
    for cell in grid.cells.values():
        if cell.number(_SEEN) is not None and cell.number(_OWN) is not None:
            trainings.setdefault((cell.kinds[1], _training(cell)), []).append(cell)
    found = [
        Course(kind, x) for (kind, _), cells in trainings.items() if (x := _checkpoints(cells))
    ]
    return sorted(found, key=lambda course: -len(course.cells))


def _checkpoints(cells: Sequence[CellRecord]) -> dict[int, CellRecord]:
    """Return cells by images seen; none if they are few, or two have different weights."""
    found: dict[int, CellRecord] = {}
    for cell in cells:
        other = found.setdefault(int(cell.number(_SEEN) or 0), cell)
        if other.values.get("weights/decoder") != cell.values.get("weights/decoder"):
            return {}
    return dict(sorted(found.items())) if len(found) >= _CHECKPOINTS else {}


def _training(cell: CellRecord) -> str:
    """Return the settings that the checkpoints of a training share."""
    model = cell.config.get("decoder")
    if not isinstance(model, dict):
        return f"{cell.kinds[1]} {cell.values.get('d_target')}"
    rest = {key: value for key, value in model.items() if key not in _OF_CHECKPOINT}
    return json.dumps(rest, sort_keys=True, default=str)


def draw_training(grid: Grid, course: Course) -> Sheet:
    """Draw figure 6: a panel for the mean over attributes, and one for each."""
    cells = list(course.cells.values())
    names = [MEAN, *(x for x in attributes_of(cells, _OWN) if _points(course, x))]
    sheet = Sheet(WIDE)
    title = f"Probe accuracy on the own latents of {course.model} along its training"
    sheet.title(title, probe_setting(grid, cells, maps=False))
    left, space, below = 0.42, 0.16, 0.24
    wide = (sheet.width - 0.1 - left - space * (_COLUMNS - 1)) / _COLUMNS
    low = _lowest(course, names)
    for i, name in enumerate(names):
        row, column = divmod(i, _COLUMNS)
        x = 0.05 + left + column * (wide + space)
        y = sheet.y + row * (_HIGH + below) + 0.12
        lowest_row = i + _COLUMNS >= len(names)
        axes = sheet.plot(x, y, wide, _HIGH)
        _panel(axes, course, name, low, with_x=lowest_row, with_y=column == 0)
        label = "mean over attributes" if name == MEAN else name.replace("_", " ")
        sheet.text(x, y - 0.07, label, 7, bold=name == MEAN)
    rows = math.ceil(len(names) / _COLUMNS)
    middle = sheet.y + (rows * (_HIGH + below)) / 2
    sheet.text(0.11, middle + 0.35, "accuracy (%)", 7, turned=True)
    sheet.y += rows * (_HIGH + below) + 0.2
    centre = 0.05 + left + (sheet.width - 0.1 - left) / 2
    sheet.text(centre, sheet.y - 0.06, "images seen in training (thousands)", 7, at="center")
    sheet.y += 0.08
    seen = ", ".join(f"{x:,}" for x in course.cells)
    notes = (
        f"Checkpoints after {seen} images. Bands: 95 % intervals over resamples of the test "
        "images, each on its own. Dashed: accuracy of always giving the more frequent label."
    )
    sheet.notes([notes, *reasons(cells)])
    return sheet


def _points(course: Course, name: str) -> list[tuple[int, CellRecord]]:
    """Return the checkpoints at which an attribute has a probe."""
    key = _key(_OWN, name)
    return [(seen, cell) for seen, cell in course.cells.items() if cell.number(key) is not None]


def _key(key: str, name: str) -> str:
    return key if name == MEAN else f"{key}/{name}"


def _lowest(course: Course, names: Sequence[str]) -> float:
    """Return the low end of all axes: the next full ten percent below all numbers."""
    values: list[float | None] = []
    for cell in course.cells.values():
        for name in names:
            own, floor = _key(_OWN, name), _key(_MAJORITY, name)
            values += [cell.number(own), cell.number(floor), *(cell.interval(own) or ())]
    return max(0.0, math.floor(10 * min(x for x in values if x is not None)) / 10)


def _panel(
    axes: Axes, course: Course, name: str, low: float, *, with_x: bool, with_y: bool
) -> None:
    points = _points(course, name)
    x = [seen / 1000 for seen, _ in points]
    y = [100 * (cell.number(_key(_OWN, name)) or 0.0) for _, cell in points]
    ends = [cell.interval(_key(_OWN, name)) for _, cell in points]
    known = [(a, end) for a, end in zip(x, ends, strict=True) if end is not None]
    if known:
        axes.fill_between(
            [a for a, _ in known],
            [100 * end[0] for _, end in known],
            [100 * end[1] for _, end in known],
            color=_LINE,
            alpha=0.2,
            linewidth=0,
        )
    floors = [cell.number(_key(_MAJORITY, name)) for _, cell in points]
    floor = [(a, 100 * b) for a, b in zip(x, floors, strict=True) if b is not None]
    axes.plot([a for a, _ in floor], [b for _, b in floor], "--", color=_FLOOR, linewidth=0.8)
    axes.plot(x, y, "-o", color=_LINE, linewidth=1.1, markersize=2.4)
    last = max(course.cells) / 1000
    axes.set(xlim=(-0.03 * last, 1.03 * last), ylim=(100 * low - 2, 102))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(
        labelsize=6, length=2, width=0.5, pad=1.5, color=QUIET, labelcolor=INK,
        labelbottom=with_x, labelleft=with_y,
    )  # fmt: skip
    axes.locator_params(axis="both", nbins=4)
