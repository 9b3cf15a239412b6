"""A sweep taken apart into grids: one for each protocol, seed, data set and swept setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stitching.report.page.configs import Configs
from stitching.results.cell import CellRecord
from stitching.results.grid import Grid, Pair, grid_of
from stitching.results.variants import Variant, split

__all__ = ["View", "axes_of", "views_of"]

#: Parts of a configuration that change no result, or only where it goes.
_ASIDE = ("tracker", "cache", "device", "batch_size", "picture", "resume", "hydra", "zoo")


@dataclass(frozen=True, eq=False)
class View:
    """One grid of the page.

    Attributes:
        settings: What it was measured by, in words: axis to value.
        grid: Its cells; without a frame where none has finished.
        variant: The report's name of it; None where none has finished.
        ordinal: Settings as they are, for their order.
    """

    settings: dict[str, str]
    grid: Grid
    variant: Variant | None
    ordinal: dict[str, object]

    @property
    def pairs(self) -> list[Pair]:
        """All pairs of models, row by row."""
        return [(e, d) for e in self.grid.encoders for d in self.grid.decoders]

    @property
    def cells(self) -> list[CellRecord | None]:
        """The cell of each pair, finished or not; None where there is none."""
        rest = {(x.encoder, x.decoder): x for x in self.grid.read if x.state != "done"}
        return [self.grid.cells.get(pair) or rest.get(pair) for pair in self.pairs]


def views_of(
    folder: Path,
    cells: Sequence[CellRecord],
    configs: Configs,
    grids: Mapping[Variant, Grid] | None = None,
) -> tuple[list[View], list[CellRecord]]:
    """Take a sweep apart so that each grid has one cell per pair, repeats aside.

    Args:
        folder: Of the sweep.
        cells: In whatever state.
        configs: Theirs.
        grids: Those that were already made of `variants.split(cells)`.

    Returns:
        Grids in order of appearance, and cells that have not finished and tell too little to
        belong to one of several.
    """
    if grids:
        parts = {variant: list(grid.read) for variant, grid in grids.items()}
        told = {id(cell) for members in parts.values() for cell in members}
        rest = [cell for cell in cells if id(cell) not in told]
    else:
        parts, rest = split(cells)
    if not parts:
        return [View({}, _bare(folder, cells), None, {})], []
    views: list[View] = []
    for variant, members in parts.items():
        start = {"protocol": variant.protocol, **dict(variant.seeds)}
        axes = _swept(members, configs, {key for key, _ in variant.seeds})
        if not axes:
            grid = (grids or {}).get(variant) or grid_of(folder, members)
            views.append(View({}, grid, variant, start))
            continue
        groups: dict[tuple[object, ...], list[CellRecord]] = {}
        for cell in members:
            known = configs.settings(cell)
            key = tuple(known.get(axis) for axis in axes)
            if cell.state == "done" or all(axis in known for axis in axes):
                groups.setdefault(key, []).append(cell)
            else:
                rest.append(cell)
        for key, group in groups.items():
            ordinal = start | dict(zip(axes, key, strict=True))
            done = any(cell.state == "done" for cell in group)
            grid = grid_of(folder, group) if done else _bare(folder, group)
            grid.compared = (grids or {}).get(variant, grid).compared
            views.append(View({}, grid, variant, ordinal))
    kept = _kept([view.ordinal for view in views])
    shown = [
        View(
            {_name(axis): _word(v.ordinal.get(axis)) for axis in kept},
            v.grid,
            v.variant,
            v.ordinal,
        )
        for v in views
    ]
    return shown, rest


def axes_of(views: Sequence[View]) -> list[tuple[str, list[str]]]:
    """Return what the grids differ in, and the values that occur: numbers by size."""
    found = []
    for axis in views[0].settings if views else ():
        raw = {view.settings[axis]: _raw(view, axis) for view in views}
        numbers = all(isinstance(value, (int, float)) for value in raw.values())
        found.append((axis, sorted(raw, key=lambda x: raw[x]) if numbers else [*raw]))  # type: ignore[arg-type,return-value]
    return found


def _raw(view: View, axis: str) -> object:
    return next(value for key, value in view.ordinal.items() if _name(key) == axis)


def _swept(cells: Sequence[CellRecord], configs: Configs, known: set[str]) -> list[str]:
    """Return the settings in which finished cells of one pair of models differ."""
    pairs: dict[tuple[str, str], list[CellRecord]] = {}
    for cell in cells:
        if cell.state == "done":
            pairs.setdefault((cell.encoder, cell.decoder), []).append(cell)
    groups = {
        frozenset(configs.of.get(cell.path, ()) for cell in group): group
        for group in pairs.values()
        if len(group) > 1
    }
    names = {name for group in groups.values() for name in configs.differing(group)}
    return sorted(
        (name for name in names - known if name.partition(".")[0] not in _ASIDE), key=_rank
    )


def _kept(settings: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the settings that tell grids apart, without those that others imply."""
    names = sorted({name for found in settings for name in found}, key=_rank)
    kept: list[str] = []
    told = 1
    for name in names:
        more = {tuple(repr(found.get(x)) for x in [*kept, name]) for found in settings}
        if len(more) > told:
            kept.append(name)
            told = len(more)
    return kept


def _rank(name: str) -> tuple[bool, ...] | tuple[object, ...]:
    first = ("protocol", "data.name", "seed")
    place = first.index(name) if name in first else len(first)
    return (place, not name.endswith((".name", "._target_")), name.count("."), name)


def _name(axis: str) -> str:
    return "data" if axis == "data.name" else axis


def _word(value: object) -> str:
    return "none" if value is None else str(value) or "unnamed"


def _bare(folder: Path, cells: Sequence[CellRecord]) -> Grid:
    """Return a grid of cells of which none has finished."""
    import pandas as pd

    grid = Grid(folder, pd.DataFrame(), list(cells))
    named = [cell for cell in cells if cell.encoder and cell.decoder]
    grid.encoders = list(dict.fromkeys(cell.encoder for cell in named))
    grid.decoders = list(dict.fromkeys(cell.decoder for cell in named))
    states = {(cell.encoder, cell.decoder): cell.state for cell in named}
    grid.absent = {
        (e, d): states.get((e, d), "missing") for e in grid.encoders for d in grid.decoders
    }
    return grid
