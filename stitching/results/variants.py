"""Grids of a sweep: one per protocol, map and seed, and on the page one per swept setting too.

Nothing is averaged over protocols, maps, seeds or settings: each combination has its own tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from stitching.results.cell import CellRecord
from stitching.results.configs import Configs, seeds_of
from stitching.results.grid import Grid, Pair, grid_of
from stitching.results.map_kinds import Maps

#: Parts of a configuration that change no result, or only where it is written.
_ASIDE = ("tracker", "cache", "device", "batch_size", "picture", "resume", "hydra", "zoo")


class Variant(NamedTuple):
    """How the cells of one grid were measured.

    Attributes:
        protocol: Label of the protocol; "" for cells without one. Where the cells of a pair differ
            in their map, those of another map than the first one have it in this label, as a
            switch: "strict, map=mlp".
        seeds: Settings that end in `seed`, where the cells of a sweep differ in them.
    """

    protocol: str
    seeds: tuple[tuple[str, object], ...] = ()

    @property
    def label(self) -> str:
        """Return it in words, such as "strict, data.seed=1"."""
        seeds = [f"{key}={value}" for key, value in self.seeds]
        return ", ".join([*([self.protocol] if self.protocol else []), *seeds]) or "unnamed"

    @property
    def folder(self) -> str:
        """Return it as the name of a folder."""
        return "".join(x if x.isalnum() or x in "=.-_" else "_" for x in self.label).replace(
            "__", "_"
        )


def split(
    cells: Iterable[CellRecord],
) -> tuple[dict[Variant, list[CellRecord]], list[CellRecord]]:
    """Group cells by protocol, and by map or seed where the cells of a pair differ in it.

    The protocol of a cell that has not finished is only in its configuration: it belongs to the
    finished cells with the same one. A cell that never started has no configuration: it belongs
    to those for which the sweep's plan set the same options, models aside.

    Returns:
        Cells by variant, in order of appearance, and those that belong to none.
    """
    cells = list(cells)
    done = [cell for cell in cells if cell.state == "done"]
    seeds = cache(seeds_of)  # which reads a file
    maps = Maps(done)
    axes = _seed_axes(done, seeds, maps)
    parts: dict[Variant, list[CellRecord]] = {}
    for cell in done:
        values = tuple((key, seeds(cell).get(key)) for key in axes)
        parts.setdefault(Variant(maps.label(cell), values), []).append(cell)
    one = next(iter(parts)) if len(parts) == 1 else None
    signs = {} if one else {key: _sign(part[0], axes, maps) for key, part in parts.items()}
    plans = {_plan(cell): variant for variant, part in parts.items() for cell in part}
    rest: list[CellRecord] = []
    for cell in [cell for cell in cells if cell.state != "done"]:
        found = one
        if found is None and cell.config:
            sign = _sign(cell, axes, maps)
            found = next((variant for variant in parts if signs[variant] == sign), None)
        elif found is None and cell.job is not None:
            found = plans.get(_plan(cell))
        (parts[found] if found else rest).append(cell)
    return parts, rest


@dataclass(frozen=True, eq=False)
class View:
    """One grid of the page.

    Attributes:
        settings: Settings that identify it among the grids, as text.
        grid: Its cells; without a frame where none has finished.
        variant: The report's name of it; None where none has finished.
        values: The same settings as they are.
    """

    settings: dict[str, str]
    grid: Grid
    variant: Variant | None
    values: dict[str, object]

    @property
    def pairs(self) -> list[Pair]:
        """All pairs of models, row by row."""
        return [(e, d) for e in self.grid.encoders for d in self.grid.decoders]

    @property
    def cells(self) -> list[CellRecord | None]:
        """The cell of each pair, finished or not; None where there is none."""
        rest = {cell.pair: cell for cell in self.grid.read if cell.state != "done"}
        return [self.grid.cells.get(pair) or rest.get(pair) for pair in self.pairs]


def views_of(
    folder: Path,
    cells: Sequence[CellRecord],
    configs: Configs,
    grids: Mapping[Variant, Grid] | None = None,
) -> tuple[list[View], list[CellRecord]]:
    """Split a sweep into grids that have one cell per pair, repeats aside.

    Args:
        folder: Of the sweep.
        cells: In whatever state.
        configs: Of these cells.
        grids: Those that were already made of `split(cells)`.

    Returns:
        Grids in order of appearance, and unfinished cells whose settings do not identify one.
    """
    if grids:
        parts = {variant: list(grid.read) for variant, grid in grids.items()}
        used = {id(cell) for members in parts.values() for cell in members}
        rest = [cell for cell in cells if id(cell) not in used]
    else:
        parts, rest = split(cells)
    if not parts:
        return [View({}, grid_of(folder, cells, finished=False), None, {})], []
    found: list[tuple[Grid, Variant, dict[str, object]]] = []
    for variant, members in parts.items():
        start = {"protocol": variant.protocol, **dict(variant.seeds)}
        axes = _swept(members, configs, {key for key, _ in variant.seeds})
        if not axes:
            found.append(((grids or {}).get(variant) or grid_of(folder, members), variant, start))
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
            grid = grid_of(folder, group, finished=False)
            grid.compared = (grids or {}).get(variant, grid).compared
            found.append((grid, variant, start | dict(zip(axes, key, strict=True))))
    kept = _kept([values for _, _, values in found])
    views = []
    for grid, variant, values in found:
        named = {_name(axis): values.get(axis) for axis in kept}
        views.append(View({k: _word(v) for k, v in named.items()}, grid, variant, named))
    return views, rest


def axes_of(views: Sequence[View]) -> list[tuple[str, list[str]]]:
    """Return what the grids differ in, and the values that occur: numbers by size."""
    found = []
    for axis in views[0].settings if views else ():
        raw = {view.settings[axis]: view.values[axis] for view in views}
        numbers = all(isinstance(value, (int, float)) for value in raw.values())
        found.append((axis, sorted(raw, key=lambda x: raw[x]) if numbers else [*raw]))  # type: ignore[arg-type,return-value]
    return found


def _plan(cell: CellRecord) -> tuple[str, ...] | None:
    """Return the options that the plan set for a cell besides its models; None without a plan."""
    if cell.job is None:
        return None
    return tuple(x for x in cell.overrides if not x.startswith(("encoder=", "decoder=")))


def _sign(cell: CellRecord, axes: Sequence[str], maps: Maps) -> object:
    """Return the part of a cell's configuration that identifies its variant."""
    if not cell.config:
        return None
    seeds = seeds_of(cell)
    chosen = [cell.config.get(key) for key in ("protocol", "probe")]
    return chosen, maps.target(cell), [seeds.get(x) for x in axes]


def _seed_axes(
    done: Sequence[CellRecord], seeds_of: Callable[[CellRecord], dict[str, object]], maps: Maps
) -> list[str]:
    """Return the seeds in which cells of one pair and protocol differ."""
    groups: dict[tuple[str, Pair], list[CellRecord]] = {}
    for cell in done:
        groups.setdefault((maps.label(cell), cell.pair), []).append(cell)
    found: dict[str, set[object]] = {}
    for group in groups.values():
        seeds = [seeds_of(cell) for cell in group] if len(group) > 1 else []
        for key in {key for cell in seeds for key in cell}:
            found.setdefault(key, set()).update(cell.get(key) for cell in seeds)
    return sorted(key for key, values in found.items() if len(values) > 1)


def _swept(cells: Sequence[CellRecord], configs: Configs, known: set[str]) -> list[str]:
    """Return the settings in which finished cells of one pair of models differ."""
    pairs: dict[Pair, list[CellRecord]] = {}
    for cell in cells:
        if cell.state == "done":
            pairs.setdefault(cell.pair, []).append(cell)
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
    """Return the settings that identify grids, without those that others imply."""
    names = sorted({name for found in settings for name in found}, key=_rank)
    kept: list[str] = []
    distinct = 1
    for name in names:
        more = {tuple(repr(found.get(x)) for x in [*kept, name]) for found in settings}
        if len(more) > distinct:
            kept.append(name)
            distinct = len(more)
    return kept


def _rank(name: str) -> tuple[object, ...]:
    first = ("protocol", "data.name", "seed")
    place = first.index(name) if name in first else len(first)
    return (place, not name.endswith((".name", "._target_")), name.count("."), name)


def _name(axis: str) -> str:
    return "data" if axis == "data.name" else axis


def _word(value: object) -> str:
    return "none" if value is None else str(value) or "unnamed"
