"""Power laws through learning curves: what a measure tends to with more and more fit images.

The model is y(N) = y_inf + c N^-p, with p between `EXPONENTS`: learning curves of kernel and ridge
regression fall as such powers, and p grows towards 1, or above, once N exceeds the width.

The interval has two parts. (1) Distance of the measured sizes from the curve: the profile of the
squared error over y_inf, with c and p refitted, gives a t statistic with k - 3 degrees of freedom
for k sizes. Its quantiles are spread over the draws. They hold every p that fits, so that a curve
which leaves p open has a wide interval. (2) Images: cells of one sweep share test images, and
groups of fit images, so draw b of all sizes is one resample, and moves the limit by the same
linear combination of sizes that gives its value. Variation by fit images is in both parts where
cells have refits: the interval is then too wide rather than too narrow.

Source: Bates and Watts (1988), Nonlinear Regression Analysis, section 6.1.2 (profile t); rates:
Caponnetto and De Vito (2007), doi:10.1007/s10208-006-0196-8; curves of models: Viering and Loog
(2023), doi:10.1109/TPAMI.2022.3220744
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stitching.compute.intervals import COVERAGE
from stitching.results.differences import Numbers, Quantity, combine

#: Smallest and largest exponent p. Below a quarter, a curve over a factor of 16 in N says nothing
#: about its limit. 2 is the fastest rate of ridge regression without noise.
EXPONENTS = (0.25, 2.0)

#: Fewest sizes: three parameters, and one more to see how well they fit.
FEWEST_SIZES = 4

#: Least ratio of the largest size to the smallest.
LEAST_RANGE = 4.0

#: Flags of an extrapolation, by name.
FLAGS = {
    "far": "the limit is further from the last size than half the change over all sizes",
    "open": "the sizes do not determine the exponent",
    "bound": "the fitted limit lies beyond what the measure can be, and is moved there",
}

#: Exponents that are tried: 2 % apart, which moves a limit by less than its interval shows.
_TRIED = np.geomspace(*EXPONENTS, 106)


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """The limit of a learning curve.

    Attributes:
        limit: y_inf with draws; without a value where there is no extrapolation.
        exponent: The fitted p; None without an extrapolation.
        exponents: Smallest and largest p inside the 95 % interval of the fit.
        reason: Why there is no extrapolation, or no interval; "" where there are both.
        flags: Names of `FLAGS` that hold.
    """

    limit: Quantity
    exponent: float | None = None
    exponents: tuple[float, float] | None = None
    reason: str = ""
    flags: tuple[str, ...] = ()


def extrapolate(
    sizes: Sequence[float],
    values: Sequence[Quantity],
    name: str = "",
    *,
    low: float = -math.inf,
    high: float = math.inf,
) -> Extrapolation:
    """Extrapolate a measure to infinitely many fit images.

    The limit is a `Quantity`: its draws are paired with those of any other cell on the same test
    images, so `mean_gap([a.limit], [b.limit])` is a contrast of two encoders on the extrapolated
    curve. Errors of two curves besides the test images count as independent, which widens the
    interval of a contrast.

    Args:
        sizes: Numbers of fit images, at least `FEWEST_SIZES` different ones.
        values: The measure at each size, in the same order, of one test set.
        name: Of the curve, such as "vae-to-nf latent/r2". It seeds the order in which the errors
            of the fit are spread over the draws: curves of different names are independent.
        low: Lowest possible value of the measure.
        high: Highest possible value.

    Returns:
        The limit. It has no value where sizes are too few or too close, or a value is missing;
        it has no draws where a size has none. `reason` states which.

    Raises:
        ValueError: Numbers of sizes and values differ, a size is not positive, or occurs twice.

    Example:
        >>> sizes = [100, 200, 400, 800, 1600]
        >>> values = [Quantity(0.9 - 2 / n) for n in sizes]
        >>> round(extrapolate(sizes, values).limit.value, 3)
        0.9
    """
    if len(sizes) != len(values):
        raise ValueError(f"{len(sizes)} sizes but {len(values)} values: give one value per size")
    if any(not n > 0 for n in sizes) or len({*sizes}) < len(sizes):
        raise ValueError(f"sizes must be positive and differ, got {', '.join(map(str, sizes))}")
    known = [(n, x) for n, x in zip(sizes, values, strict=True) if x.value is not None]
    reason = _impossible([n for n, _ in known])
    if reason:
        return Extrapolation(Quantity(None), reason=reason)
    known.sort(key=lambda pair: pair[0])
    fit = _Fit(np.array([n for n, _ in known], np.float64), np.array([x.value for _, x in known]))
    limit = combine(lambda y: fit.limits(y, name).clip(low, high), [x for _, x in known])
    no_draws = limit.draws is None and not limit.exact
    return Extrapolation(
        limit,
        fit.exponent,
        fit.exponents,
        "a size has no resamples: no interval" if no_draws else "",
        tuple(_flags(fit, low, high)),
    )


def _impossible(sizes: Sequence[float]) -> str:
    """Return why sizes give no extrapolation; "" if they do."""
    if len(sizes) < FEWEST_SIZES:
        return f"{len(sizes)} sizes: an extrapolation needs at least {FEWEST_SIZES}"
    ratio = max(sizes) / min(sizes)
    if ratio < LEAST_RANGE:
        return f"sizes span a factor of {ratio:.2g}: an extrapolation needs {LEAST_RANGE:g}"
    return ""


def _flags(fit: _Fit, low: float, high: float) -> list[str]:
    change, ahead = abs(fit.values[-1] - fit.values[0]), abs(fit.limit - fit.values[-1])
    found = {
        "far": ahead > change / 2,
        "open": fit.exponents[0] <= EXPONENTS[0] or fit.exponents[1] >= EXPONENTS[1],
        "bound": not low <= fit.limit <= high,
    }
    return [name for name, holds in found.items() if holds]


class _Fit:
    """Least squares for y_inf, c and p.

    Args:
        sizes: Ascending, shape (k,).
        values: Measured, shape (k,).

    Attributes:
        limit: Fitted y_inf.
        exponent: Fitted p.
        exponents: Ends of the 95 % interval of p, by the same profile.
    """

    def __init__(self, sizes: Numbers, values: Numbers) -> None:
        self.values = values
        # For one p the model is linear: basis (1, z) of shape (P, k, 2), z from 1 at the largest.
        z = (sizes / sizes[-1]) ** -_TRIED[:, None]
        basis = np.stack([np.ones_like(z), z], axis=-1)
        gram = np.linalg.inv(basis.transpose(0, 2, 1) @ basis)
        hat = gram @ basis.transpose(0, 2, 1)  # (P, 2, k)
        self._rows = hat[:, 0]  # y_inf is a row's product with the values
        self._variance = gram[:, 0, 0]
        self._limits = self._rows @ values
        left = values - np.einsum("pkj,pjl,l->pk", basis, hat, values)
        self._errors = (left**2).sum(1)
        best = int(self._errors.argmin())
        self._freedom = len(sizes) - 3
        self.limit, self.exponent = float(self._limits[best]), float(_TRIED[best])
        inside = _TRIED[self._room(np.array([(1 + COVERAGE) / 2]))[1][0] >= 0]
        self.exponents = float(inside[0]), float(inside[-1])

    def limits(self, values: Numbers, name: str) -> Numbers:
        """Return the limit for the values themselves, or one for each draw of them.

        Args:
            values: Shape (k, R); the measured ones where R is 1.
            name: Seeds the order of the quantiles.
        """
        n = values.shape[1]
        if n == 1 and np.array_equal(values[:, 0], self.values):
            return np.array([self.limit])
        order = np.random.Generator(np.random.PCG64([zlib.crc32(name.encode()), n]))
        levels = (order.permutation(n) + 0.5) / n
        places, ends = self._quantiles(levels)
        moved = self._rows[places] * (values - self.values[:, None]).T
        found: Numbers = ends + moved.sum(1)
        return found

    def _quantiles(self, levels: Numbers) -> tuple[NDArray[np.intp], Numbers]:
        """Return quantiles of the limit, and the place of the exponent that reaches each."""
        _, room = self._room(levels)
        half = np.sqrt(np.maximum(room, 0) * self._variance)
        sign = np.where(levels > 0.5, 1.0, -1.0)[:, None]
        reached = np.where(room >= 0, sign * self._limits + half, -np.inf)
        places = reached.argmax(1)
        return places, sign[:, 0] * reached[np.arange(len(levels)), places]

    def _room(self, levels: Numbers) -> tuple[Numbers, Numbers]:
        """Return t quantiles, and by how much the error at each p may still rise, (R, P)."""
        from scipy.stats import t

        quantile: Numbers = t.ppf(levels, self._freedom)
        least = self._errors.min()
        allowed = least + quantile**2 * least / self._freedom
        room = allowed[:, None] - self._errors
        # Rounding must not forbid the best p itself.
        return quantile, np.where(self._errors == least, np.maximum(room, 0), room)
