"""Signs beside numbers in tables: best, not resolved, mostly bias, penalty not determined."""

from __future__ import annotations

from collections.abc import Iterable

from stitching.results.cell import BASELINES, CellRecord, difference
from stitching.results.grid import Grid, Pair
from stitching.results.measures import Measure

BEST, TIE, BIAS, FLAT = "*", "≈", "†", "§"

#: All of them, in the order of the legend.
SIGNS = (BEST, TIE, BIAS, FLAT)

#: Encoders without information about the image: a best that is not resolved from them is none.
FLOORS = ("random", "mean")

_MEANING = {
    BEST: "best of its column, own reconstructions and controls aside; none where it is not "
    "distinguishable from `random` or `mean`",
    TIE: "not distinguishable from the best: the paired 95 % interval of the difference contains "
    "0 (each on its own, not corrected for their number)",
    BIAS: "no more images than features: mostly estimation bias, small gaps mean nothing",
    FLAT: "penalty of the map not determined: another one scores as well, with another map",
}

_SHORT = {
    BEST: "best model of its column",
    TIE: "not distinguishable from it",
    BIAS: "mostly estimation bias",
    FLAT: "penalty not determined",
}


def marks(grid: Grid, measure: Measure) -> dict[Pair, str]:
    """Return the signs of each pair of models, for one measure.

    Encoders are compared within a column, without its diagonal, which is the decoder's own
    reconstruction and no competitor. The best is one of the models; a control is the best only
    of a column of controls. Nothing is compared if cells have no resamples, or if
    `grid.compared` is false, and a column has no best where this is not resolved from `random`
    or `mean`.
    """
    found = dict.fromkeys(grid.cells, "")
    if grid.compared and measure.good == "better" and not measure.of_decoder:
        for column in grid.columns.values():
            rivals = [x for x in column if x.quantity(measure.key).interval() is not None]
            if len(rivals) > 1:
                _compare(rivals, measure, found)
    for pair, cell in grid.cells.items():
        if measure.biased and _mostly_bias(cell, measure.key):
            found[pair] += BIAS
        if not measure.of_decoder and cell.flat(measure.key) is not None:
            found[pair] += FLAT
    return found


def _compare(rivals: list[CellRecord], measure: Measure, found: dict[Pair, str]) -> None:
    sign = 1 if measure.lower_is_better else -1
    models = [cell for cell in rivals if cell.kinds[0] not in BASELINES] or rivals
    best = min(models, key=lambda cell: sign * (cell.number(measure.key) or 0.0))
    gaps = {cell.pair: difference(cell, best, measure.key) for cell in rivals if cell is not best}
    floors = [gaps.get(cell.pair) for cell in rivals if cell.kinds[0] in FLOORS]
    if any(gap is None or not gap.resolved or sign * (gap.value or 0) < 0 for gap in floors):
        return  # the best is a floor, is not resolved from one, or is worse than it
    found[best.pair] += BEST
    for pair, gap in gaps.items():
        if gap.ends is not None and not gap.resolved:
            found[pair] += TIE


def _mostly_bias(cell: CellRecord, key: str) -> bool:
    images, width = cell.number(f"{key}_n"), cell.number(f"{key}_dim")
    return images is not None and width is not None and images <= width


def legend(signs: Iterable[str]) -> list[str]:
    """Return the meaning of each sign that occurs, one line each."""
    used = set("".join(signs))
    return [f"{sign} {meaning}" for sign, meaning in _MEANING.items() if sign in used]


def short_legend(signs: Iterable[str]) -> list[str]:
    """Return the meaning of the signs that occur in a few words, in one line if any does."""
    used = set("".join(signs))
    found = ", ".join(f"{sign} {words}" for sign, words in _SHORT.items() if sign in used)
    return [f"{found} (more in table.md)"] if found else []
