"""Numbers with their resamples, and differences and means of several of them.

Draw k of every cell with the same test items is of the same resample of these items. Such cells
are combined draw by draw, so that the test images, which all of them share, do not count as
uncertainty of a difference. Draws of different items are shuffled against each other: they count
as independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stitching.compute.intervals import COVERAGE, percentile_interval

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Quantity:
    """A number with its values on resamples of the test items.

    Attributes:
        value: On all test items; None where it is undefined.
        draws: On each resample, shape (R,), NaN where undefined; None without resamples.
        items: Identity of the resamples: draws of equal `items` are paired. None pairs with no
            others.
        exact: Without uncertainty, such as a count; then there are no draws.
    """

    value: float | None
    draws: Numbers | None = None
    items: tuple[object, ...] | None = None
    exact: bool = False

    def interval(self, coverage: float = COVERAGE) -> tuple[float, float] | None:
        """Return `percentile_interval` of the draws; None without a value or draws."""
        if self.value is None or self.draws is None:
            return None
        return percentile_interval(self.draws, coverage, self.value)


class Difference(NamedTuple):
    """How much larger a measure is in one cell than in another.

    Attributes:
        value: None where one of the cells lacks the measure.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end of the 95 % interval; None where there is none.
        paired: Whether both cells have the same resamples; else they count as independent.
    """

    value: float | None
    low: float | None
    high: float | None
    paired: bool

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends of the interval; None where there is none."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def resolved(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.ends is not None and not self.ends[0] <= 0 <= self.ends[1]


def mean_difference(first: Sequence[Quantity], second: Sequence[Quantity]) -> Difference:
    """Return the mean over pairs of the first quantity minus the second.

    Args:
        first: One per pair.
        second: In the same order. The result is paired if the two of every pair have the same
            resamples, whether or not all pairs do.
    """
    found = mean_gap(first, second)
    low, high = found.interval() or (None, None)
    together = all(a.items == b.items is not None for a, b in zip(first, second, strict=True))
    return Difference(found.value, low, high, together)


def mean_gap(first: Sequence[Quantity], second: Sequence[Quantity]) -> Quantity:
    """Return the mean over pairs of the first quantity minus the second."""
    n = len(first)
    return combine(lambda x: (x[:n] - x[n:]).mean(0), [*first, *second])


def mean(parts: Sequence[Quantity]) -> Quantity:
    """Return the mean of quantities; undefined if there are none or one is undefined."""
    return combine(lambda x: x.mean(0), parts)


def combine(function: Callable[[Numbers], Numbers], parts: Sequence[Quantity]) -> Quantity:
    """Compute a quantity from others, draw by draw.

    Args:
        function: Takes shape (number of parts, R), returns (R,), NaN where undefined; column k
            of the result depends on column k alone.
        parts: Those with equal `items` are paired draw by draw. Others count as independent:
            their draws are shuffled, always in the same way.

    Returns:
        Without a value where a part has none, without draws where a part has none and is not
        exact. Its `items` are those of the parts, None if they differ.
    """
    known = [part.value for part in parts if part.value is not None]
    if not parts or len(known) < len(parts):
        return Quantity(None)
    value = float(function(np.array(known, dtype=np.float64)[:, None])[0])
    drawn = [part.draws for part in parts if part.draws is not None]
    if not math.isfinite(value):
        return Quantity(None)
    if all(part.exact for part in parts):
        return Quantity(value, exact=True)
    if any(part.draws is None and not part.exact for part in parts):
        return Quantity(value)
    length = max(map(len, drawn))
    groups: list[tuple[object, ...] | None] = []
    rows = []
    for part in parts:
        if part.draws is None:
            rows.append(np.full(length, part.value))
            continue
        if part.items is None or part.items not in groups:
            groups.append(part.items)
        place = len(groups) - 1 if part.items is None else groups.index(part.items)
        rows.append(_shuffled(part.draws, length, place))
    together = len(groups) == 1
    return Quantity(value, function(np.stack(rows)), groups[0] if together else None)


def _shuffled(draws: Numbers, length: int, place: int) -> Numbers:
    """Return so many draws; those of the first group as they are, of others shuffled."""
    repeated = np.resize(draws, length)
    if place == 0:
        return repeated
    generator = np.random.Generator(np.random.PCG64([place, length]))
    return generator.permutation(repeated)
