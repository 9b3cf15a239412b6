"""Uncertainty of measures by resampling the test items, the same way for all measures and cells.

A measure is an `Estimate`: its value, its value on each resample, and the kind of resample.
Resample k holds the same items in every cell of a grid, so the difference of two cells is taken
resample by resample, without the variance that both share through the test images.

Two ways to resample:

- `BOOTSTRAP`: some fewer than n items with replacement (`bootstrap_size`), so that the draws
  spread as a t interval does, not by the variance of the n items as if it were known. For
  measures that are functions of means over items.
- `HALVES`: half of the items without replacement. For measures in which an item drawn twice
  would count as a near neighbour of itself (distances between distributions, similarities of
  spaces). The mean of n/2 of n items drawn so varies about the mean of all n as that varies about
  the truth (for odd n after a rescaling, which is applied). The bias of half of the items is
  removed: the halves' spread is put around the value from all items.

Intervals are percentiles of the draws. Where every item scores the same they have no width.
`tests/benchmarks/coverage.py` measures how often they contain the truth.

Source: Efron (1979), doi:10.1214/aos/1176344552; fewer items: Bickel, Götze and van Zwet (1997),
Statistica Sinica 7, 1-31; why percentiles are narrow: Hesterberg (2015),
doi:10.1080/00031305.2015.1089789; half-samples: Shao and Wu (1989), doi:10.1214/aos/1176347263
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from stitching.compute.intervals import COVERAGE, percentile_interval

BOOTSTRAP = "bootstrap"
HALVES = "halves"

_TAIL = (1 + COVERAGE) / 2

#: Resamples whose weights are held at once (elements: 32 MiB in float64).
_WEIGHT_ELEMENTS = 2**22


@dataclass(frozen=True, eq=False)
class Estimate:
    """A measure and its uncertainty.

    Attributes:
        value: On all test items; None where it is undefined.
        draws: On each resample, float64 (R,), NaN where undefined; None without resampling.
        method: `BOOTSTRAP` or `HALVES`.
    """

    value: float | None
    draws: NDArray[np.float64] | None = None
    method: str = BOOTSTRAP

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """Low and high end of the 95 % interval by percentiles; None where there is none.

        It contains the value: that of a share of 1 ends at 1.
        """
        if self.value is None or self.draws is None:
            return None, None
        return percentile_interval(self.draws, value=self.value) or (None, None)


#: A plain value of a result, and facts by key.
Value = float | int | str | None
Facts = dict[str, Value]

#: Results of a measure by key: estimates, and facts that have no uncertainty.
Scores = dict[str, Estimate | Value]


def undefined(key: str, why: str) -> Scores:
    """Return a measure that is undefined: None, and the reason as `KEY_missing`."""
    return {key: None, f"{key}_missing": why}


@dataclass(frozen=True, eq=False)
class Resamples:
    """Resamples of the test items, drawn from their number and a seed alone.

    Attributes:
        n: Number of items.
        n_bootstrap: Resamples with replacement; 0 for none.
        n_halves: Half-samples; 0 for none.
        seed: Of the draws.
        kept: Places of the items that take part, for a set from which invalid ones were left
            out; None for all. Others are left out of every resample.
    """

    n: int
    n_bootstrap: int = 1000
    n_halves: int = 100
    seed: int = 0
    kept: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: No items, or a negative number of resamples.
        """
        if self.n < 1:
            raise ValueError(f"resampling needs at least 1 item, got {self.n}")
        for name in ("n_bootstrap", "n_halves"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")

    @property
    def n_items(self) -> int:
        """Number of items that take part, rows of the inputs of measures."""
        return self.n if self.kept is None else len(self.kept)

    def only(self, rows: NDArray[np.bool_]) -> Resamples:
        """Return the same resamples of some of the items.

        Args:
            rows: Shape (n,), which to keep.

        Raises:
            ValueError: Another shape, none kept, or some were left out before.
        """
        if self.kept is not None:
            raise ValueError("items were left out of these resamples before: start from all items")
        if rows.shape != (self.n,) or not rows.any():
            raise ValueError(
                f"need one flag for each of {self.n} items and at least one kept, got shape "
                f"{rows.shape} with {int(rows.sum())} kept"
            )
        return replace(self, kept=tuple(int(i) for i in np.flatnonzero(rows)))

    @cached_property
    def counts(self) -> Tensor:
        """How often each bootstrap resample holds each item, (n_bootstrap, n_items) float64."""
        shape = self.n_bootstrap, bootstrap_size(self.n)
        chosen = _generator(self.seed, self.n, 0).integers(0, self.n, shape)
        table = np.zeros((self.n_bootstrap, self.n), dtype=np.float64)
        for row, items in zip(table, chosen, strict=True):
            row += np.bincount(items, minlength=self.n)
        return torch.from_numpy(self._columns(table))

    @cached_property
    def halves(self) -> Tensor:
        """Which items each half-sample holds, (n_halves, n_items) bool."""
        generator, table = (
            _generator(self.seed, self.n, 1),
            np.zeros((self.n_halves, self.n), bool),
        )
        for row in table:
            row[generator.permutation(self.n)[: max(1, self.n // 2)]] = True
        return torch.from_numpy(self._columns(table))

    def mean(self, scores: Tensor) -> Estimate:
        """Estimate the mean of one score per item, shape (n_items,)."""
        return self.of_means(scores[:, None], lambda means: means[..., 0])

    def of_means(self, scores: Tensor, function: Callable[[Tensor], Tensor]) -> Estimate:
        """Estimate a function of means over items.

        Args:
            scores: Shape (n_items, k), finite.
            function: Takes means (..., k) in float64, returns (...); NaN where undefined.
        """
        scores = scores.detach().cpu().double()

        def of_weights(weights: Tensor) -> Tensor:
            return function(weights @ scores / weights.sum(1, keepdim=True))

        return self.of_weights(of_weights)

    def of_weights(self, function: Callable[[Tensor], Tensor]) -> Estimate:
        """Estimate a function of how often each item is drawn.

        Args:
            function: Takes weights (R, n_items) in float64, returns one value for each of the R
                rows; NaN where undefined.
        """
        value = _number(function(torch.ones(1, self.n_items, dtype=torch.float64))[0])
        if not self.n_bootstrap or self.n_items < 2:  # one item does not vary
            return Estimate(value)
        rows = max(1, _WEIGHT_ELEMENTS // self.n_items)
        draws = torch.cat([function(part) for part in self.counts.split(rows)])
        return Estimate(value, draws.double().numpy())

    def of_halves(self, function: Callable[[Tensor], float]) -> Estimate:
        """Estimate a measure of sets of items, one half-sample at a time.

        Args:
            function: Takes places of items, ascending, int64 (m,); NaN where undefined.
        """

        def of_weights(weights: Tensor) -> Tensor:
            found = [function(row.nonzero().flatten()) for row in weights]
            return torch.tensor(found, dtype=torch.float64)

        return self.of_half_weights(of_weights)

    def of_half_weights(self, function: Callable[[Tensor], Tensor]) -> Estimate:
        """Estimate a measure of sets of items, all half-samples at once.

        Args:
            function: Takes weights 0 and 1, (R, n_items) in float64, as `of_weights`.
        """
        value = _number(function(torch.ones(1, self.n_items, dtype=torch.float64))[0])
        if not self.n_halves or self.n_items < 2:
            return Estimate(value, method=HALVES)
        return self.around(value, function(self.halves.double()).double().numpy())

    def around(self, value: float | None, draws: NDArray[np.float64]) -> Estimate:
        """Return an estimate with the spread of half-samples around the value from all items.

        Args:
            value: From all items.
            draws: On each of `halves`, NaN where undefined.
        """
        if value is None:
            return Estimate(value, method=HALVES)
        known = draws[np.isfinite(draws)]
        centre = known.mean() if len(known) else math.nan
        # The variance of a mean of m of n items, without replacement, is (n - m) / m times that
        # of a mean of n.
        m = max(1, self.n // 2)
        scale = math.sqrt(m / (self.n - m)) * t_factor(self.n)
        return Estimate(value, (draws - centre) * scale + value, HALVES)

    def _columns(self, table: NDArray[np.generic]) -> NDArray[np.generic]:
        return table if self.kept is None else np.ascontiguousarray(table[:, list(self.kept)])


def t_factor(n: int) -> float:
    """Return how much wider the interval of a mean of n items is than with a known variance."""
    return float(stats.t.ppf(_TAIL, n - 1) / stats.norm.ppf(_TAIL)) if n > 1 else 1.0


def bootstrap_size(n: int) -> int:
    """Return the number of items of a bootstrap resample of n.

    The mean of m items drawn from n varies by (n - 1) / (n m) of their unbiased variance. With
    this m its spread is that of a t interval: 27 of 30 items, 125 of 128, 997 of 1,000.
    """
    return max(1, round((n - 1) / t_factor(n) ** 2))


def flatten(scores: Scores) -> tuple[Facts, dict[str, NDArray[np.float32]]]:
    """Return flat results with `KEY.low` and `KEY.high`, and the draws by key.

    The draws are float32, for files: four digits more than an interval has.
    """
    values: Facts = {}
    draws: dict[str, NDArray[np.float32]] = {}
    for key, score in scores.items():
        if not isinstance(score, Estimate):
            values[key] = score
            continue
        values[key] = score.value
        if score.draws is not None:
            values[f"{key}.low"], values[f"{key}.high"] = score.interval
            draws[key] = score.draws.astype(np.float32)
    return values, draws


def _number(value: Tensor | float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _generator(seed: int, n: int, purpose: int) -> np.random.Generator:
    # PCG64 of a seed sequence: the same numbers on every platform.
    return np.random.Generator(np.random.PCG64([seed, n, purpose]))
