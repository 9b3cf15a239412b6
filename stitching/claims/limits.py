"""Cells extrapolated to any number of fit images, from a sweep over `data.n_train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from stitching.claims.evidence import FLOOR, IMAGE_MEASURES, Evidence
from stitching.results.cell import CellRecord
from stitching.results.differences import Quantity
from stitching.results.extrapolation import FEWEST_SIZES, extrapolate


@dataclass(frozen=True, eq=False)
class AtLimit(CellRecord):
    """A cell whose measures of images are limits of learning curves.

    Attributes:
        limits: By key.
    """

    limits: Mapping[str, Quantity] = field(default_factory=dict)

    def quantity(self, key: str) -> Quantity:
        """Return a measure of images in the limit, others as they are."""
        return self.limits[key] if key in self.limits else super().quantity(key)


def at_limit(evidence: Evidence) -> Evidence | None:
    """Return the evidence with the errors of images extrapolated; None without enough sizes.

    What depends on no fit image stays as it is: the floor, and own reconstructions. A pair whose
    curve allows no extrapolation has no value.
    """
    if len(evidence.smaller) + 1 < FEWEST_SIZES:
        return None
    cells = dict(evidence.grid.cells)
    for pair, cell in evidence.grid.cells.items():
        if not cell.diagonal and evidence.grid.kinds[cell.encoder] != FLOOR:
            cells[pair] = _limit(evidence, cell)
    return evidence.with_cells(cells)


def _limit(evidence: Evidence, last: CellRecord) -> CellRecord:
    curve = {evidence.size: last}
    curve |= {n: x for n, grid in evidence.smaller.items() if (x := grid.cells.get(last.pair))}
    limits = {
        key: extrapolate(
            [*curve],
            [cell.quantity(key) for cell in curve.values()],
            f"{'-to-'.join(last.pair)} {key}",
            low=0.0,
        ).limit
        for key in IMAGE_MEASURES
    }
    return AtLimit(**{x.name: getattr(last, x.name) for x in fields(last)}, limits=limits)
