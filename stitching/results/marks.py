"""Signs beside numbers in tables: best, not resolved, mostly bias."""

from __future__ import annotations

from collections.abc import Iterable

from stitching.results.cell import CellRecord, difference
from stitching.results.grid import Grid, Pair
from stitching.results.measures import Measure

BEST, TIE, BIAS, FLOOR = "*", "≈", "†", "‡"

_MEANING = {
    BEST: "best of its column, own reconstructions aside",
    TIE: "not distinguishable from the best: the 95 % interval of the difference contains 0 "
    "(each on its own, not corrected for their number)",
    BIAS: "no more images than features: mostly estimation bias, small gaps mean nothing",
    FLOOR: "nearer to the best than two halves of the test images are to each other",
}


def marks(grid: Grid, measure: Measure) -> dict[Pair, str]:
    """Return the signs of each pair of models, for one measure.

    Encoders are compared within a column, without its diagonal, which is the decoder's own
    reconstruction and no competitor. Nothing is compared if cells have no resamples, or if
    `grid.compared` is false.
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
    return found


def _compare(rivals: list[CellRecord], measure: Measure, found: dict[Pair, str]) -> None:
    sign = 1 if measure.lower_is_better else -1
    best = min(rivals, key=lambda cell: sign * (cell.number(measure.key) or 0.0))
    found[best.pair] += BEST
    for cell in rivals:
        if cell is best:
            continue
        gap = difference(cell, best, measure.key)
        if gap.ends is not None and not gap.resolved:
            found[cell.pair] += TIE
        floor = cell.number(f"{measure.key}_floor")
        if floor is not None and gap.value is not None and abs(gap.value) < floor:
            found[cell.pair] += FLOOR


def _mostly_bias(cell: CellRecord, key: str) -> bool:
    images, width = cell.number(f"{key}_n"), cell.number(f"{key}_dim")
    return images is not None and width is not None and images <= width


def legend(signs: Iterable[str]) -> list[str]:
    """Return the meaning of each sign that occurs, one line each."""
    used = set("".join(signs))
    return [f"{sign} {meaning}" for sign, meaning in _MEANING.items() if sign in used]
