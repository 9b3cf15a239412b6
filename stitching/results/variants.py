"""One grid per protocol, and per seed where a sweep went over seeds.

Nothing is averaged over protocols or seeds: each has its own tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple

from stitching.results.cell import CellRecord
from stitching.results.configs import seeds_of

__all__ = ["Variant", "split"]


class Variant(NamedTuple):
    """How the cells of one grid were measured.

    Attributes:
        protocol: Label of the protocol; "" where cells do not say.
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


def split(cells: Iterable[CellRecord]) -> tuple[dict[Variant, list[CellRecord]], list[CellRecord]]:
    """Take cells apart by protocol, and by seed where the cells of a pair differ in a seed.

    A cell that has not finished says nothing of its protocol but in its configuration: it belongs
    to the finished cells with the same one. One that never started has no configuration: it
    belongs to those for which the sweep's plan set the same, models aside.

    Returns:
        Cells by variant, in order of appearance, and those that belong to none.
    """
    cells = list(cells)
    done = [cell for cell in cells if cell.state == "done"]
    seeds = cache(seeds_of)  # which reads a file
    axes = _seed_axes(done, seeds)
    parts: dict[Variant, list[CellRecord]] = {}
    for cell in done:
        values = tuple((key, seeds(cell).get(key)) for key in axes)
        parts.setdefault(Variant(cell.protocol, values), []).append(cell)
    one = next(iter(parts)) if len(parts) == 1 else None
    signs = {} if one else {variant: _sign(part[0], axes) for variant, part in parts.items()}
    plans = {_plan(cell): variant for variant, part in parts.items() for cell in part}
    rest: list[CellRecord] = []
    for cell in [cell for cell in cells if cell.state != "done"]:
        found = one
        if found is None and cell.config:
            sign = _sign(cell, axes)
            found = next((variant for variant in parts if signs[variant] == sign), None)
        elif found is None and cell.job is not None:
            found = plans.get(_plan(cell))
        (parts[found] if found else rest).append(cell)
    return parts, rest


def _plan(cell: CellRecord) -> tuple[str, ...] | None:
    """Return what the plan of a sweep set for a cell besides its models; None without a plan."""
    if cell.job is None:
        return None
    return tuple(x for x in cell.overrides if not x.startswith(("encoder=", "decoder=")))


def _sign(cell: CellRecord, axes: Sequence[str]) -> object:
    """Return what tells the variant of a cell from its configuration."""
    if not cell.config:
        return None
    seeds = seeds_of(cell)
    return [cell.config.get(key) for key in ("protocol", "probe")], [seeds.get(x) for x in axes]


def _seed_axes(
    done: Sequence[CellRecord], seeds_of: Callable[[CellRecord], dict[str, object]]
) -> list[str]:
    """Return the seeds in which cells of one pair and protocol differ."""
    groups: dict[tuple[str, str, str], list[CellRecord]] = {}
    for cell in done:
        groups.setdefault((cell.protocol, cell.encoder, cell.decoder), []).append(cell)
    found: dict[str, set[object]] = {}
    for group in groups.values():
        seeds = [seeds_of(cell) for cell in group] if len(group) > 1 else []
        for key in {key for cell in seeds for key in cell}:
            found.setdefault(key, set()).update(cell.get(key) for cell in seeds)
    return sorted(key for key, values in found.items() if len(values) > 1)
