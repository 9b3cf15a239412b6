"""Figure 3: errors of mapped latents and decoded images, by four measures."""

from __future__ import annotations

from stitching.report.drawing.matrix import Panel, label_width
from stitching.report.drawing.sheet import WIDE, Sheet
from stitching.report.figures.facts import INTERVAL
from stitching.report.heatmaps import APART, FRAMED, first_model, measure_panel
from stitching.report.tables import caveats
from stitching.results.formats import setting
from stitching.results.grid import Grid
from stitching.results.marks import BIAS, legend, marks
from stitching.results.measures import Measure, measure_of

_KEYS = ("latent/mse", "image/rmse", "image/lpips")

#: Fréchet distances, the paper's first.
_FRECHET = ("image/fid", "image/fd_effnet")

_NAMES = {
    "latent/mse": "latent MSE",
    "image/rmse": "RMSE",
    "image/lpips": "LPIPS",
    "image/fid": "FID",
    "image/fd_effnet": "Fréchet distance of EfficientNet features",
}

#: Columns of a panel that has another one beside it; more of them need the whole width.
_HALF = 6


def error_measures(grid: Grid) -> list[Measure]:
    """Return the measures of the figure that cells have; one Fréchet distance, that of most."""

    def count(key: str) -> int:
        return sum(cell.number(key) is not None for cell in grid.cells.values())

    frechet = max(_FRECHET, key=count)  # the first of equals
    return [measure_of(key) for key in (*_KEYS, frechet) if count(key)]


def draw_errors(grid: Grid) -> Sheet:
    """Draw figure 3: a panel per measure, encoders by decoders."""
    measures = error_measures(grid)
    sheet = Sheet(WIDE)
    names = ", ".join(_NAMES[measure.key] for measure in measures)
    sheet.title(f"Errors of what goes through a map: {names}", setting(grid.frame))
    side_by_side = 2 if len(grid.decoders) <= _HALF and len(measures) > 1 else 1
    label = label_width(grid.encoders, "decoder")
    space = 0.25
    wide = (sheet.width - 0.1 - label - space * (side_by_side - 1)) / side_by_side
    column = min(wide / len(grid.decoders), 1.1)
    panels = [measure_panel(grid, measure, column, title=measure.label) for measure in measures]
    head = max(panel.head for panel in panels)
    for start in range(0, len(panels), side_by_side):
        row = panels[start : start + side_by_side]
        height = max(panel.height for panel in row)  # the names of encoders stand on the left only
        for k, panel in enumerate(row):
            panel.height = height
            left = 0.05 + label + k * (wide + space)
            end = panel.draw(sheet, "abcd"[start + k], x=left, head=head, named=k == 0)
        sheet.y = end + 0.14
    _notes(sheet, grid, dict(zip(measures, panels, strict=True)))
    return sheet


def _notes(sheet: Sheet, grid: Grid, panels: dict[Measure, Panel]) -> None:
    entries = [entry for panel in panels.values() for row in panel.rows for entry in row]
    notes = ["Yellow is the better end."]
    if any(entry.framed for entry in entries):
        notes.append(FRAMED)
    if first_model(grid):
        notes.append(APART)
    if any(entry.bold for entry in entries):
        notes.append(
            "Bold: the best of its column (the diagonal aside), and entries whose paired 95 % "
            "interval of the difference to it contains 0."
        )
    if any(entry.small for entry in entries):
        notes.append(INTERVAL)
    lines = [" ".join(notes)]
    for measure in panels:
        facts = caveats(grid, measure)
        facts += [x[2:] for x in legend(marks(grid, measure).values()) if x.startswith(BIAS)]
        if measure.by_column:
            facts.append("decoders have units of their own: compare within a column")
        lines += [f"{measure.label}: {'; '.join(facts)}."] if facts else []
    sheet.notes(lines)
