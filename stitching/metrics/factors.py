"""Errors of the target's linear probes of continuous factors on own and on mapped latents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.metrics.agreement import centred_ranks, correlation, weighted_sums
from stitching.metrics.predictions import (
    Measures,
    Predictions,
    item_counts,
    measured,
    n_defined,
    scores_of,
)
from stitching.metrics.resampling import Scores

#: Measures given for each factor and, averaged, over all.
MEASURES = ("r2_own", "r2_mapped", "spearman_own", "spearman_mapped")

#: A resample whose spread is below this share of its squared distances from the mean of all
#: items holds one value only, up to rounding.
_ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class FactorPredictions(Predictions):
    """Predictions of one continuous factor; labels and scores are floats in its unit, (n,)."""

    def lack(self) -> str | None:
        """Return why the factor cannot be scored: it does not vary over its items."""
        n = len(self.truth)
        varies = n > 0 and not bool((self.truth == self.truth[0]).all())
        return None if varies else f"test split has {n} items and no two values of it"

    def counted(self, weights: Tensor) -> Callable[[Tensor], Measures]:
        """Sum over the items; measures are `MEASURES`, without pseudo-items."""
        truth, own, mapped = (x.astype(np.float64) for x in (self.truth, self.own, self.mapped))
        centred = truth - truth.mean()
        columns = [
            np.ones_like(truth),
            centred,
            centred**2,
            (own - truth) ** 2,
            (mapped - truth) ** 2,
        ]
        total, shift, about_all, error_own, error_mapped = weighted_sums(columns, weights)
        spread = about_all - shift.square() / total
        spread = spread.where(spread > _ROUNDING * about_all, torch.nan)
        # Unbiased variances, of all items as of resamples: see `latent_scores`.
        spread *= total / (total - 1)
        spread[1:] *= len(truth) / max(1, len(truth) - 1)
        ranked, *ranks = (centred_ranks(values, weights) for values in (truth, own, mapped))
        found = {
            "r2_own": 1 - error_own / spread,
            "r2_mapped": 1 - error_mapped / spread,
            "spearman_own": correlation(ranked, ranks[0], weights),
            "spearman_mapped": correlation(ranked, ranks[1], weights),
        }
        return lambda pseudo: found

    def _check_labels(self, what: str, labels: NDArray[Any]) -> None:
        self._check_scores(what, labels)


def factor_scores(predictions: Sequence[FactorPredictions], missing: Mapping[str, str]) -> Scores:
    """Score mapped latents by the target's probes of factors, overall and by factor.

    A factor is usable when it varies over its test items. Overall measures are means over usable
    factors, None where there are none:

    - `factor/r2_own`, `factor/r2_mapped`: 1 - mean (y - y_hat)^2 / unbiased variance of y on the
      target's own and on mapped latents, as `latent/r2`; 1 is perfect, 0 is a predictor that has
      the true mean, no lower bound.
    - `factor/spearman_own`, `factor/spearman_mapped`: rank correlation of prediction and factor,
      ties at their mean rank, in [-1, 1]; blind to the shrinkage of a regularised map. Over the
      `factor/n_spearman_own` and `..._mapped` factors whose probe is not constant.
    - `factor/n_factors`: usable ones; `factor/n_test`: items, None where factors differ
      (`factor/n_test/FACTOR` then).

    By usable factor each measure, as `factor/r2_own/hue`, and where predictions are constant
    `factor/constant/...`: "own", "mapped" or "own and mapped". By other factor,
    `factor/missing/...`: the reason.

    Args:
        predictions: By factor, in the order of the results.
        missing: Reason why a factor has no probe, by factor.

    Raises:
        ValueError: A factor appears twice, or resamples do not fit the items or differ in number.
    """
    found = measured("factor", predictions, missing)
    usable, rows = found.usable, found.rows
    constant = {name: prediction.constant_sides() for name, (prediction, _) in usable.items()}
    return {
        **scores_of("factor", MEASURES, found),
        "factor/n_factors": len(rows),
        **{f"factor/n_{key}": n_defined(key, rows) for key in ("spearman_own", "spearman_mapped")},
        **item_counts("factor", usable),
        **{f"factor/constant/{name}": sides for name, sides in constant.items() if sides},
        **{f"factor/missing/{name}": why for name, why in found.missing.items()},
    }
