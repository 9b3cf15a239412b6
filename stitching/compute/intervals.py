"""Intervals by percentiles of resampled values, without torch."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

#: Coverage of the intervals of reports and of `metrics.json`.
COVERAGE = 0.95

#: A measure that is undefined on more than this share of its resamples gets no interval.
UNDEFINED_SHARE = 0.05


def percentile_interval(
    draws: NDArray[np.float64], coverage: float = COVERAGE, value: float | None = None
) -> tuple[float, float] | None:
    """Return both ends of the interval between two percentiles of the draws.

    Args:
        draws: Values on resamples, shape (R,), NaN or infinite where undefined.
        coverage: Share of new draws to expect between the ends: the end below k of R draws leaves
            out k / (R + 1) of them, which of 100 draws is 6 % further out than the percentile of
            these draws themselves. Above 95 %, where less than one draw would lie beyond each
            end, the ends are those of a normal distribution with the mean and the standard
            deviation of the draws.
        value: Where given, the interval is widened to contain it.

    Returns:
        The low and the high end; None without draws, or if over 5 % of them are undefined.
    """
    known = draws[np.isfinite(draws)]
    if len(known) == 0 or len(known) < (1 - UNDEFINED_SHARE) * len(draws):
        return None
    tail = (1 - coverage) / 2
    if coverage > COVERAGE and tail * len(known) < 1:
        width = NormalDist().inv_cdf(1 - tail) * float(known.std())
        low, high = float(known.mean()) - width, float(known.mean()) + width
    else:
        ends = np.percentile(known, [100 * tail, 100 * (1 - tail)], method="weibull")
        low, high = map(float, ends)
    return (low, high) if value is None else (min(low, value), max(high, value))
