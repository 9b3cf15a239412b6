"""Kinds of maps in a sweep over `map=`, so that each has its own grid."""

from __future__ import annotations

from collections.abc import Iterable

from stitching.results.blocks import settings_of
from stitching.results.cell import CellRecord

#: The map that others are compared with, where there is a choice.
REFERENCE_MAP = "ridge"


class Maps:
    """Names of maps, where cells of one protocol and pair of models differ in their map.

    On the diagonal every map is the identity; there the configuration names the map.

    Args:
        done: Finished cells.
    """

    def __init__(self, done: Iterable[CellRecord]) -> None:
        groups: dict[object, dict[str, None]] = {}
        between = [cell for cell in done if not cell.diagonal and cell.values.get("map")]
        for cell in between:
            groups.setdefault((cell.protocol, cell.pair), {})[str(cell.values["map"])] = None
        names = dict.fromkeys(name for group in groups.values() for name in group)
        self._differ = any(len(group) > 1 for group in groups.values())
        self._first = REFERENCE_MAP if REFERENCE_MAP in names else next(iter(names), "")
        self._names: dict[str, str] = {}
        if self._differ:
            self._names = {self.target(cell): str(cell.values["map"]) for cell in between}

    def target(self, cell: CellRecord) -> str:
        """Return the class of the map in a cell's configuration; "" where maps do not differ."""
        if not self._differ:
            return ""
        found = (settings_of(block).get("map._target_") for block in cell.blocks)
        return next((str(target) for target in found if target is not None), "")

    def label(self, cell: CellRecord) -> str:
        """Return a finished cell's protocol, and its map if it is not the first one."""
        if not self._differ:
            return cell.protocol
        if cell.diagonal:
            name = self._names.get(self.target(cell), self._first)
        else:
            name = str(cell.values.get("map") or self._first)
        parts = [cell.protocol, *([f"map={name}"] if name != self._first else [])]
        return ", ".join(part for part in parts if part)
