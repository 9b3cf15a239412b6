"""Configurations of cells, and which settings a sweep went over besides its models."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from stitching.results.blocks import settings_of
from stitching.results.cell import CellRecord

#: Parts of a configuration that differ between the cells of any grid, or change no result.
_ROLES = ("encoder", "decoder", "tracker", "cache", "device", "batch_size")


def swept_setting(cells: Sequence[CellRecord]) -> tuple[str, list[float]] | None:
    """Return the one numeric setting in which cells differ, and its value in every cell.

    Returns:
        The setting's name as on the command line, such as `data.n_train`, and values in the
        order of the cells; None where there is no such setting, or more than one.
    """
    if not all(cell.blocks for cell in cells):
        return None
    same = set(cells[0].blocks).intersection(*(cell.blocks for cell in cells))
    settings = [
        {k: v for x in cell.blocks if x not in same for k, v in _of_result(x).items()}
        for cell in cells
    ]
    keys = {key for found in settings for key in found}
    differing = [key for key in keys if len({str(found.get(key)) for found in settings}) > 1]
    if len(differing) != 1:
        return None
    values = [found.get(differing[0]) for found in settings]
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return (differing[0], numbers) if len(numbers) == len(values) else None


def seeds_of(cell: CellRecord) -> dict[str, object]:
    """Return the seeds of a cell by the names of their settings, such as `data.seed`."""
    found: dict[str, object] = {"seed": cell.values.get("seed")}
    for block in cell.blocks:
        found |= _seeds(block)
    return found


class Configs:
    """The `config.yaml` of each cell, as places in a pool of blocks.

    Attributes:
        texts: The pool: blocks as they stand in the files.
        leaves: Settings in each block by dotted names, such as `{"map.alpha": None}`.
        of: For each cell's folder the places of its blocks, in the order of its file.
    """

    def __init__(self, cells: Sequence[CellRecord]) -> None:
        places: dict[str, int] = {}
        known: dict[tuple[str, ...], tuple[int, ...]] = {}
        self.of: dict[Path, tuple[int, ...]] = {}
        for cell in cells:
            blocks = cell.blocks
            if blocks not in known:
                known[blocks] = tuple([places.setdefault(x, len(places)) for x in blocks])
            self.of[cell.path] = known[blocks]
        self.texts = list(places)
        self.leaves = [
            {name: _plain(value) for name, value in settings_of(block).items()}
            for block in self.texts
        ]

    def settings(self, cell: CellRecord) -> dict[str, object]:
        """Return all settings of a cell, by dotted names; empty without a file."""
        return self._merged(self.of.get(cell.path, ()))

    def common(self) -> list[int]:
        """Return the places of the blocks that most cells have, one for each top-level key."""
        counts = Counter(chain.from_iterable(self.of.values()))
        found: dict[str, int] = {}
        for place, _ in counts.most_common():
            found.setdefault(self.texts[place].partition(":")[0], place)
        return sorted(found.values())

    def differing(self, cells: Sequence[CellRecord]) -> set[str]:
        """Return names of settings in which these cells differ."""
        sets = {self.of.get(cell.path, ()) for cell in cells}
        shared = set[int].intersection(*map(set, sets)) if sets else set()
        parts = [self._merged([x for x in places if x not in shared]) for places in sets]
        names = {name for part in parts for name in part}
        return {name for name in names if len({repr(part.get(name)) for part in parts}) > 1}

    def _merged(self, places: Sequence[int]) -> dict[str, object]:
        return {name: value for x in places for name, value in self.leaves[x].items()}


@lru_cache(maxsize=8192)
def _of_result(block: str) -> dict[str, Any]:
    """Return the settings of a block besides `_ROLES`."""
    settings = settings_of(block).items()
    return {k: v for k, v in settings if k.partition(".")[0] not in _ROLES and v != {}}


@lru_cache(maxsize=8192)
def _seeds(block: str) -> dict[str, object]:
    return {k: v for k, v in _of_result(block).items() if k.rpartition(".")[2] == "seed"}


def _plain(value: object) -> object:
    """Return a value as JSON has it; a list, a date or a float as text."""
    if value is None or isinstance(value, (str, int)):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
