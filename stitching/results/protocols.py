"""Protocols and maps side by side, and the effect of each of their switches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from stitching.results.cell import BASELINES, CellRecord
from stitching.results.differences import Difference, Quantity, mean, mean_difference
from stitching.results.grid import Grid, Pair
from stitching.results.measures import Measure, headline
from stitching.results.variants import Variant

#: The protocol that others are compared with, where there is a choice.
REFERENCE = "strict"

_TRAINED, _BASELINES = "trained models", "baselines"


@dataclass(frozen=True)
class Effect:
    """How much a measure moves when another protocol is used.

    Attributes:
        measure: The measure.
        protocol: Label of the other protocol.
        encoders: "trained models" or "baselines".
        n_cells: Cells of two different models that both protocols have, over all seeds.
        reference: Mean of the measure over these cells under the reference.
        difference: Mean over these cells, other protocol minus reference.
    """

    measure: Measure
    protocol: str
    encoders: str
    n_cells: int
    reference: Quantity
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """Grids of the same models, measured by several protocols or with several seeds.

    Attributes:
        grids: By protocol and seed.

    Raises:
        ValueError: They are of different data sets.
    """

    grids: Mapping[Variant, Grid]

    def __post_init__(self) -> None:
        """Check that there is one data set."""
        cells = [cell for grid in self.grids.values() for cell in grid.cells.values()]
        names = {str(cell.values.get("data")) for cell in cells}
        if len(names) > 1:
            raise ValueError(
                f"cells of different data sets cannot be compared: {', '.join(sorted(names))}; "
                "report each on its own"
            )

    @cached_property
    def protocols(self) -> list[str]:
        """Labels, the reference first."""
        labels = list(dict.fromkeys(variant.protocol for variant in self.grids))
        return sorted(labels, key=lambda label: label != REFERENCE)  # stable: others keep order

    @cached_property
    def measures(self) -> list[Measure]:
        """Measures that any of the protocols judges by."""
        return headline(cell.values for grid in self.grids.values() for cell in grid.read)

    @cached_property
    def pairs(self) -> list[Pair]:
        """Encoders and decoders of all grids, in order of appearance."""
        encoders = dict.fromkeys(e for grid in self.grids.values() for e in grid.encoders)
        decoders = dict.fromkeys(d for grid in self.grids.values() for d in grid.decoders)
        return [(encoder, decoder) for encoder in encoders for decoder in decoders]

    @cached_property
    def reference_map(self) -> str:
        """The map of the first label, if the others are other maps alone; else ""."""
        first, *others = self.protocols
        prefix = f"{first}, map=" if first else "map="
        kinds = [x.removeprefix(prefix) for x in others if x.startswith(prefix)]
        if not others or len(kinds) < len(others) or any("," in kind for kind in kinds):
            return ""
        cells = [cell for grid in self.of_protocol(first) for cell in grid.off_diagonal]
        return str(cells[0].values.get("map") or "") if cells else ""

    @property
    def seeded(self) -> bool:
        """Whether a protocol was run with several seeds."""
        return len(self.grids) > len(self.protocols)

    def effects(self) -> Iterator[Effect]:
        """Yield the effect of each protocol, by measure, kind of encoder and protocol.

        Measures in units of the decoder are left out: they have no mean over decoders.
        """
        measures = [measure for measure in self.measures if not measure.by_column]
        kinds = (_TRAINED, _BASELINES)
        for measure, kind, protocol in itertools.product(measures, kinds, self.protocols[1:]):
            both = [
                (cell.quantity(measure.key), usual.quantity(measure.key))
                for cell, usual in self._common(protocol)
                if not cell.diagonal and (cell.kinds[0] in BASELINES) == (kind == _BASELINES)
            ]
            both = [(a, b) for a, b in both if a.value is not None and b.value is not None]
            if both:
                other, usual = (list(part) for part in zip(*both, strict=True))
                moved = mean_difference(other, usual)
                yield Effect(measure, protocol, kind, len(both), mean(usual), moved)

    def _common(self, protocol: str) -> Iterator[tuple[CellRecord, CellRecord]]:
        """Yield the cells of a protocol, each with that of the reference and the same seeds."""
        for variant, grid in self.grids.items():
            usual = self.grids.get(Variant(self.protocols[0], variant.seeds))
            if variant.protocol == protocol and usual is not None:
                for pair in self.pairs:
                    if pair in grid.cells and pair in usual.cells:
                        yield grid.cells[pair], usual.cells[pair]

    def of_protocol(self, protocol: str) -> list[Grid]:
        """Return the grids of a protocol, one per seed."""
        return [grid for variant, grid in self.grids.items() if variant.protocol == protocol]
