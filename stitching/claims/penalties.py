"""Cells with the map at the other of two equally good penalties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

from stitching.claims.evidence import Evidence
from stitching.results.cell import CellRecord
from stitching.results.differences import Quantity, combine
from stitching.results.formats import three_digits

#: Where a cell has its measures at the other penalty.
_PREFIX = "flat/"

#: Gains over a control, and the measure that they are of. The control has the same map at both
#: penalties, so the gain changes by as much as the measure.
_GAINS = {
    f"image/{name}_gain{control}": f"image/{name}"
    for name in ("rmse", "lpips")
    for control in ("", "_pca")
}


@dataclass(frozen=True, eq=False)
class AtOtherPenalty(CellRecord):
    """A cell whose measures are those at the other penalty, where it has them.

    Attributes:
        chosen: The cell itself.
    """

    chosen: CellRecord | None = None

    def number(self, key: str) -> float | None:
        """Return a finite number at the other penalty; None for all else."""
        return self._cell.number(_PREFIX + key if _PREFIX + key in self.values else key)

    def quantity(self, key: str) -> Quantity:
        """Return a measure at the other penalty with its draws, where the cell kept them."""
        found = self._cell.quantity(key)
        if _PREFIX + key in self.values:
            return replace(self._cell.quantity(_PREFIX + key), items=found.items)
        measure = _GAINS.get(key)
        if measure is None or _PREFIX + measure not in self.values:
            return found
        parts = [found, self._cell.quantity(measure), self.quantity(measure)]
        return combine(lambda x: x[0] + x[1] - x[2], parts)

    @property
    def _cell(self) -> CellRecord:
        assert self.chosen is not None
        return self.chosen


def at_other_penalties(evidence: Evidence) -> Iterator[tuple[str, Evidence]]:
    """Yield the evidence with all flat maps at their other penalty, then with each of them alone.

    All together may hide a change, where two maps of a contrast move alike.

    Yields:
        The maps at another penalty in words, and the evidence.
    """
    flat = [cell for cell in evidence.grid.cells.values() if cell.values.get("map/flat")]
    if len(flat) > 1:
        yield f"the other penalty of {len(flat)} maps", _changed(evidence, flat)
    for cell in flat:
        ends = (cell.number("alpha"), cell.number("map/flat_alpha"))
        known = [three_digits(x) for x in ends if x is not None]
        how = f"a penalty of {known[1]} in place of {known[0]}" if len(known) == 2 else "its other"
        yield f"{'-to-'.join(cell.pair)} at {how}", _changed(evidence, [cell])


def _changed(evidence: Evidence, flat: Sequence[CellRecord]) -> Evidence:
    cells = dict(evidence.grid.cells)
    for cell in flat:
        values = {field.name: getattr(cell, field.name) for field in fields(cell)}
        cells[cell.pair] = AtOtherPenalty(**values, chosen=cell)
    return evidence.with_cells(cells)
