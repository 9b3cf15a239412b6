"""Grids of the page: numbers as in the tables, and facts about cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from stitching.records.plan import SweepPlan
from stitching.report import tables
from stitching.report.limits import Limits
from stitching.report.page.packing import href, rounded
from stitching.results import formats
from stitching.results.cell import CellRecord
from stitching.results.commands import command_of
from stitching.results.configs import Configs
from stitching.results.marks import SIGNS, legend
from stitching.results.measures import MEASURES, Measure, headline
from stitching.results.variants import View


def measures_of(views: Sequence[View]) -> list[Measure]:
    """Return the measures that at least one cell has, in the order of reports."""
    found: dict[str, Measure] = {}
    for view in views:
        if view.grid.cells:
            found |= {measure.key: measure for measure in view.grid.measured}
    order = {measure.key: place for place, measure in enumerate(MEASURES)}
    return sorted(found.values(), key=lambda measure: order.get(measure.key, len(order)))


def describe(measures: Sequence[Measure], first: View) -> list[dict[str, Any]]:
    """Return names, directions and rules of colour of measures.

    Args:
        measures: Measures to describe.
        first: The grid that is shown first; headline measures are those of its protocol.
    """
    main = {measure.key for measure in headline(x.values for x in first.grid.cells.values())}
    return [
        {
            "key": measure.key,
            "label": measure.label,
            "direction": formats.direction(measure),
            "lower": measure.lower_is_better,
            "byColumn": measure.by_column,
            "floor": measure.floor,
            "percent": measure.percent,
            "headline": measure.key in main,
        }
        for measure in measures
    ]


def meanings() -> dict[str, str]:
    """Return what each sign beside a number means."""
    lines = [line.partition(" ") for line in legend(SIGNS)]
    return {sign: meaning for sign, _, meaning in lines}


def columns(
    view: View, measures: Sequence[Measure], sweep: SweepPlan | None, configs: Configs, page: Path,
    limits: Limits,
) -> dict[str, Any]:  # fmt: skip
    """Return one grid as columns, each with one entry per pair: row by row, as in the table.

    Args:
        view: The grid.
        measures: Of the whole page; those without a number here are left out.
        sweep: For command lines.
        configs: Of its cells.
        page: Path of the page, for links.
        limits: For digits.
    """
    grid = view.grid
    pairs, cells = view.pairs, view.cells
    # Rows of a frame are in the order of pairs; of repeats the first is the one that is shown.
    shown = set(map(id, grid.cells.values()))
    once = [id(cell) in shown for cell in grid.done]
    commands = [command_of(cell, sweep) if cell else ("", True) for cell in cells]
    return {
        "encoders": grid.encoders,
        "decoders": grid.decoders,
        "controls": grid.controls,
        "setting": formats.setting(grid.frame) if grid.cells else "",
        "own": [place for place, pair in enumerate(pairs) if pair in grid.own],
        "state": [grid.absent.get(pair, "") for pair in pairs],
        "folder": [_folder(cell, page) if cell else "" for cell in cells],
        "reason": [_reason(cell) if cell and cell.state != "done" else "" for cell in cells],
        "config": [configs.of.get(cell.path, ()) if cell else () for cell in cells],
        "command": [command for command, _ in commands],
        "unsure": [place for place, (_, known) in enumerate(commands) if not known],
        "measures": {
            measure.key: _column(view, measure, once, limits)
            for measure in measures
            if measure.key in grid.frame
        },
    }


def _column(view: View, measure: Measure, once: Sequence[bool], limits: Limits) -> dict[str, Any]:
    import pandas as pd

    texts = [entry for row in tables.grid_texts(view.grid, measure) for entry in row]
    signs = [sign for _, _, sign in texts]
    numbers = pd.to_numeric(view.grid.frame[measure.key], errors="coerce")
    first = compress(numbers.tolist(), once)
    values = dict(zip(view.grid.cells, rounded(first, limits.digits), strict=True))
    return {
        "text": [text for text, _, _ in texts],
        "interval": [interval[1:-1] for _, interval, _ in texts],
        "signs": signs if any(signs) else [],
        "value": [values.get(pair) for pair in view.pairs],
        "caveats": tables.caveats(view.grid, measure),
    }


def _folder(cell: CellRecord, page: Path) -> str:
    """Return the link to a cell's folder; "" where it was not started."""
    return "" if cell.state == "missing" else href(cell.path, page)


def _reason(cell: CellRecord) -> str:
    """Return why a cell has no result, without its own folder, so that equal reasons are equal."""
    return cell.reason.removesuffix(f" (see {cell.path / 'error.txt'})")


def grouped(cells: Sequence[CellRecord], page: Path) -> list[dict[str, Any]]:
    """Return the cells that have not finished, those with one reason together, most first."""
    groups: dict[tuple[str, str], list[CellRecord]] = {}
    for cell in cells:
        if cell.state != "done":
            groups.setdefault((cell.state, _reason(cell)), []).append(cell)
    return [
        {
            "state": state,
            "reason": reason,
            "cells": [[cell.path.name, _folder(cell, page)] for cell in group],
        }
        for (state, reason), group in sorted(groups.items(), key=lambda x: -len(x[1]))
    ]


class Facts:
    """Values of cells besides their measures, such as sizes and times.

    Attributes:
        common: Those of the first finished cell.
    """

    def __init__(self, cells: Sequence[CellRecord], measures: Sequence[Measure]) -> None:
        self._measured = {measure.key for measure in measures}
        self._names: dict[tuple[str, ...], list[str]] = {}
        first = next((cell for cell in cells if cell.state == "done"), None)
        self.common: dict[str, object] = self._facts(first) if first else {}

    def of(self, cell: CellRecord) -> dict[str, object]:
        """Return the facts of a cell that differ from `common`; None for a key that it lacks."""
        own = self._facts(cell)
        gone: dict[str, object] = dict.fromkeys(key for key in self.common if key not in own)
        return gone | {k: v for k, v in own.items() if k not in self.common or self.common[k] != v}

    def _facts(self, cell: CellRecord) -> dict[str, object]:
        keys = tuple(cell.values)
        if keys not in self._names:
            self._names[keys] = [key for key in keys if self._is_fact(key)]
        return {
            key: _plain(value)
            for key in self._names[keys]
            if isinstance(value := cell.values[key], (str, int, float))
        }

    def _is_fact(self, key: str) -> bool:
        base = key.removesuffix(".low").removesuffix(".high")
        measured = base in self._measured or base.rpartition("/")[0] in self._measured
        of_one = key.startswith(("probe/", "factor/", "class/")) and key.count("/") > 1
        return not measured and not of_one and key not in ("folder", "sweep")


def _plain(value: str | int | float) -> str | int | float:
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else str(value)
