"""Figures 4 and 5: what probes read off a model's own latents, and off mapped ones."""

from __future__ import annotations

from collections.abc import Sequence

from stitching.report.drawing.sheet import WIDE, Sheet
from stitching.report.figures.facts import INTERVAL, probe_setting
from stitching.report.figures.readings import Row, Table, attributes_of, reasons
from stitching.results.cell import BASELINES, CellRecord
from stitching.results.grid import Grid

__all__ = ["draw_accuracy", "draw_agreement", "mapped_cells", "own_cells"]

OWN, MAJORITY = "probe/accuracy_own", "probe/majority"
MATCH, DELTA = "probe/consistency", "probe/percent_delta"

#: Rows of both panels of figure 5 up to which they fit on a page with their intervals.
_ROWS_WITH_INTERVALS = 32

_GROUP = 0.05  # inches in front of the first row of another decoder


def own_cells(grid: Grid) -> dict[str, CellRecord]:
    """Return for each decoder with probes a cell that has them: its own, or else the first.

    Probes of own latents are the same in all cells of a decoder, unless items are excluded.
    """
    found: dict[str, CellRecord] = {}
    for (_, decoder), cell in grid.cells.items():
        if cell.number(OWN) is not None and (cell.diagonal or decoder not in found):
            found[decoder] = cell
    return {name: found[name] for name in grid.decoders if name in found}


def draw_accuracy(grid: Grid, cells: dict[str, CellRecord]) -> Sheet:
    """Draw figure 4: models by attributes.

    Args:
        grid: Finished cells.
        cells: One for each model, as decoder.
    """
    used = list(cells.values())
    rows = [Row(name, cell, OWN, MAJORITY, ("own",)) for name, cell in cells.items()]
    table = Table(rows + _majorities(cells), attributes_of(used, OWN), width=WIDE - 0.1)
    sheet = Sheet(WIDE)
    sheet.title(
        "Probe accuracy on each model's own latents", probe_setting(grid, used, maps=False)
    )
    table.draw(sheet, "Accuracy (%), by attribute")
    sheet.y += 0.1
    notes = ["majority: accuracy of always giving the more frequent label."]
    notes += _signs(table, "not told from majority", "one answer to all own latents")
    sheet.notes([" ".join(notes), *reasons(used)])
    return sheet


def _majorities(cells: dict[str, CellRecord]) -> list[Row]:
    """Return what accuracies are compared with: one row for all models that share it."""
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
    """Return the cells of a map whose probes were asked, by decoder; baselines come first."""
    cells = [cell for cell in grid.off_diagonal if cell.number(MATCH) is not None]
    cells.sort(key=lambda c: (grid.decoders.index(c.decoder), c.kinds[0] not in BASELINES))
    return cells


def draw_agreement(grid: Grid, cells: Sequence[CellRecord]) -> Sheet:
    """Draw figure 5: maps by attributes, percent match and percent delta.

    Args:
        grid: Finished cells.
        cells: One for each map, ordered by decoder.
    """
    sheet = Sheet(WIDE)
    setting = probe_setting(grid, cells)
    sheet.title("What the target's probes read off mapped latents, against its own", setting)
    attributes = attributes_of(cells, MATCH)
    tables = []
    for key, against in ((MATCH, None), (DELTA, 0.0)):
        rows = [
            Row(
                f"{cell.encoder} → {cell.decoder}",
                cell,
                key,
                against,
                ("own", "mapped"),
                gap=_GROUP if i and cell.decoder != cells[i - 1].decoder else 0.0,
            )
            for i, cell in enumerate(cells)
        ]
        tables.append(
            Table(
                rows,
                attributes,
                width=WIDE - 0.1,
                diverging=key == DELTA,
                intervals=2 * len(rows) <= _ROWS_WITH_INTERVALS,
            )
        )
    tables[0].draw(sheet, "Percent match: equal answers on own and mapped latents (%)", "a")
    sheet.y += 0.12
    tables[1].draw(sheet, "Percent delta: change of accuracy from own to mapped (%)", "b")
    sheet.y += 0.1
    notes = _signs(tables[1], "not told from 0", "one answer to all own or all mapped latents")
    rare = (
        "Percent match is high by chance where one label is rare: compare with encoders that know "
        "nothing, or use kappa."
    )
    sheet.notes([" ".join(notes), rare, *reasons(cells), *_without(grid, cells)])
    return sheet


def _signs(table: Table, level: str, constant: str) -> list[str]:
    """Return what the signs in a table mean, those that occur."""
    entries = [entry for row in table.entries for entry in row]
    notes = []
    if any(entry.small for entry in entries):
        notes.append(INTERVAL if table.intervals else "")
    if any(entry.italic for entry in entries):
        notes.append(f"Slanted: {level} (95 %).")
    if any(entry.kind == "quiet" for entry in entries):
        notes.append(f"Hatched: uninformative, the probe gives {constant}; the mean includes it.")
    return [note for note in notes if note]


def _without(grid: Grid, cells: Sequence[CellRecord]) -> list[str]:
    """Return which maps are not shown, and why."""
    shown = {(cell.encoder, cell.decoder) for cell in cells}
    absent = [
        f"{encoder} → {decoder} ({grid.absent.get((encoder, decoder), 'no probes')})"
        for decoder in grid.decoders
        for encoder in grid.encoders
        if encoder != decoder and (encoder, decoder) not in shown
    ]
    return [f"Not shown: {', '.join(absent)}."] if absent else []
