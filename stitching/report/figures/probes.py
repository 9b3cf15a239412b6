"""Figures 4 and 5: predictions of probes from a model's own latents, and from mapped ones."""

from __future__ import annotations

from collections.abc import Sequence

from stitching.report.drawing.matrix import Panel
from stitching.report.drawing.sheet import WIDE, Sheet
from stitching.report.figures.facts import INTERVAL, probe_setting
from stitching.report.figures.readings import Row, attribute_panel, attributes_of, reasons
from stitching.results.cell import BASELINES, CellRecord
from stitching.results.grid import Grid

OWN, MAJORITY = "probe/accuracy_own", "probe/majority"
MATCH, DELTA = "probe/consistency", "probe/percent_delta"

#: Rows of both panels of figure 5 up to which they fit on a page with their intervals.
_ROWS_WITH_INTERVALS = 32

_GROUP = 0.05  # inches in front of the first row of another decoder


def own_cells(grid: Grid) -> dict[str, CellRecord]:
    """Return for each decoder with probes a cell that has them: on the diagonal, else the first.

    Accuracy on own latents is the same in all cells of a decoder, unless items are excluded.
    """
    found: dict[str, CellRecord] = {}
    for (_, decoder), cell in grid.cells.items():
        if cell.number(OWN) is not None and (cell.diagonal or decoder not in found):
            found[decoder] = cell
    return {name: found[name] for name in grid.decoders if name in found}


def draw_accuracy(grid: Grid, cells: dict[str, CellRecord]) -> Sheet:
    """Draw figure 4: models by attributes, from one cell for each decoder."""
    used = list(cells.values())
    rows = [Row(name, cell, OWN, MAJORITY, ("own",)) for name, cell in cells.items()]
    rows += _majorities(cells)
    panel = attribute_panel("Accuracy (%), by attribute", rows, attributes_of(used, OWN))
    sheet = Sheet(WIDE)
    sheet.title(
        "Probe accuracy on each model's own latents", probe_setting(grid, used, maps=False)
    )
    sheet.y = panel.draw(sheet) + 0.1
    notes = ["majority: accuracy of always giving the more frequent label."]
    notes += _signs(panel, "not distinguishable from majority", "own latents")
    sheet.notes([" ".join(notes), *reasons(used)])
    return sheet


def _majorities(cells: dict[str, CellRecord]) -> list[Row]:
    """Return the rows of the majority label: one for all models that share it."""
    keys = [MAJORITY, *(f"{MAJORITY}/{x}" for x in attributes_of([*cells.values()], MAJORITY))]
    groups: dict[tuple[float | None, ...], list[str]] = {}
    for name, cell in cells.items():
        groups.setdefault(tuple(cell.number(key) for key in keys), []).append(name)
    rows = []
    for names in groups.values():
        name = "majority" if len(groups) == 1 else f"majority, {', '.join(names)}"
        rows.append(Row(name, cells[names[0]], MAJORITY, gap=_GROUP))
    return rows


def mapped_cells(grid: Grid) -> list[CellRecord]:
    """Return the cells of maps with probes, by decoder; baselines come first."""
    cells = [cell for cell in grid.off_diagonal if cell.number(MATCH) is not None]
    cells.sort(key=lambda c: (grid.decoders.index(c.decoder), c.kinds[0] not in BASELINES))
    return cells


def draw_agreement(grid: Grid, cells: Sequence[CellRecord]) -> Sheet:
    """Draw figure 5: maps by attributes, match and delta, from cells ordered by decoder."""
    sheet = Sheet(WIDE)
    title = "The target's probes on mapped latents, against its own latents"
    sheet.title(title, probe_setting(grid, cells))
    attributes = attributes_of(cells, MATCH)
    for letter, title, key, against in (
        ("a", "Percent match: equal predictions from own and mapped latents (%)", MATCH, None),
        ("b", "Percent delta: change of accuracy from own to mapped (%)", DELTA, 0.0),
    ):
        rows = []
        for i, cell in enumerate(cells):
            gap = _GROUP if i and cell.decoder != cells[i - 1].decoder else 0.0
            name = f"{cell.encoder} → {cell.decoder}"
            rows.append(Row(name, cell, key, against, ("own", "mapped"), gap))
        few = 2 * len(rows) <= _ROWS_WITH_INTERVALS
        panel = attribute_panel(title, rows, attributes, diverging=key == DELTA, intervals=few)
        sheet.y = panel.draw(sheet, letter) + 0.12
    notes = _signs(panel, "not distinguishable from 0", "own or all mapped latents")
    rare = (
        "Percent match is high by chance where one label is rare: compare with baselines, or use "
        "kappa."
    )
    sheet.notes([" ".join(notes), rare, *reasons(cells), *_without(grid, cells)])
    return sheet


def _signs(panel: Panel, level: str, constant: str) -> list[str]:
    """Return the meanings of the signs that occur in a panel."""
    entries = [entry for row in panel.rows for entry in row]
    hatched = f"Hatched: uninformative, the probe predicts one label for all {constant}; the mean"
    notes = {
        INTERVAL: panel.intervals,
        f"Slanted: {level} (95 %).": any(entry.italic for entry in entries),
        f"{hatched} includes it.": any(entry.kind == "quiet" for entry in entries),
    }
    return [note for note, occurs in notes.items() if occurs]


def _without(grid: Grid, cells: Sequence[CellRecord]) -> list[str]:
    """Return the maps that are not shown, with reasons."""
    shown = {(cell.encoder, cell.decoder) for cell in cells}
    absent = [
        f"{encoder} → {decoder} ({grid.absent.get((encoder, decoder), 'no probes')})"
        for decoder in grid.decoders
        for encoder in grid.encoders
        if encoder != decoder and (encoder, decoder) not in shown
    ]
    return [f"Not shown: {', '.join(absent)}."] if absent else []
