"""How well the target's linear probe_suite of continuous factors work on mapped latents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.compute.threads import one_thread_each
from stitching.metrics.agreement import (
    Samples,
    centred_ranks,
    checked_names,
    checked_scores,
    constant_sides,
    correlation,
    item_counts,
    scores_of,
    weighted_sums,
)
from stitching.metrics.resampling import Estimate, Resamples, Scores

#: Measures given for each factor and, averaged, over all.
MEASURES = ("r2_own", "r2_mapped", "spearman_own", "spearman_mapped")

#: A resample whose spread is below this share of its squared distances from the mean of all
#: items holds one value only, up to rounding.
_ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class FactorPredictions:
    """What the target's probe of one continuous factor says of the test items.

    Attributes:
        name: Of the factor.
        truth: Its value for each item, shape (n,).
        own: Probe of the target's own latents, in the factor's units, shape (n,).
        mapped: Probe of the mapped latents, item by item.
        resamples: Of these items; None for estimates without draws.
    """

    name: str
    truth: NDArray[np.floating]
    own: NDArray[np.floating]
    mapped: NDArray[np.floating]
    resamples: Resamples | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            TypeError: Not floats.
            ValueError: Shapes differ, or a value is not finite (the rows are named).
        """
        shape = (len(self.truth),)
        for kind, values in (
            ("true values", self.truth),
            ("own probe_suite", self.own),
            ("mapped probe_suite", self.mapped),
        ):
            checked_scores(f"{kind} of {self.name}", values, shape)


def factor_scores(predictions: Sequence[FactorPredictions], missing: Mapping[str, str]) -> Scores:
    """Score mapped latents by the target's probe_suite of factors, overall and by factor.

    A factor is usable when it varies over its test items. Overall measures are means over usable
    factors, None where there are none:

    - `factor/r2_own`, `factor/r2_mapped`: 1 - sum (y - y_hat)^2 / sum (y - mean y)^2 on the
      target's own and on mapped latents; 1 is perfect, 0 is the mean, no lower bound.
    - `factor/spearman_own`, `factor/spearman_mapped`: rank correlation of probe and factor,
      ties at their mean rank, in [-1, 1]; blind to the shrinkage of a regularised map. Over the
      `factor/n_spearman_own` and `..._mapped` factors whose probe is not constant.
    - `factor/n_factors`: usable ones; `factor/n_test`: items, None where factors differ
      (`factor/n_test/FACTOR` then).

    By usable factor each measure, as `factor/r2_own/hue`, and where probe_suite are constant
    `factor/constant/...`: "own", "mapped" or "own and mapped". By other factor,
    `factor/missing/...`: the reason.

    Args:
        predictions: By factor, in the order of the results.
        missing: Reason why a factor has no probe, by factor.

    Raises:
        ValueError: A factor appears twice, or resamples do not fit the items or differ in number.
    """
    checked_names("factor", [prediction.name for prediction in predictions], missing)
    samples, missing = Samples(), dict(missing)
    usable: dict[str, tuple[FactorPredictions, Tensor]] = {}
    facts: dict[str, Estimate | float | int | str | None] = {}
    for prediction in predictions:
        name, n = prediction.name, len(prediction.truth)
        if n == 0 or bool((prediction.truth == prediction.truth[0]).all()):
            missing[name] = f"test split has {n} items and no two values of it"
            continue
        usable[name] = prediction, samples.weights(f"factor {name}", n, prediction.resamples)
        constant = constant_sides(prediction.own, prediction.mapped)
        if constant:
            facts[f"factor/constant/{name}"] = constant
    with one_thread_each() as pool:
        measured = pool.map(lambda pair: _measures(*pair), usable.values())
        rows = dict(zip(usable, measured, strict=True))
    counts = {name: len(prediction.truth) for name, (prediction, _) in usable.items()}
    defined = {
        f"factor/n_{key}": sum(not row[key][0].isnan() for row in rows.values())
        for key in ("spearman_own", "spearman_mapped")
    }
    return {
        **scores_of("factor", MEASURES, rows),
        "factor/n_factors": len(rows),
        **defined,
        **item_counts("factor", counts),
        **facts,
        **{f"factor/missing/{name}": why for name, why in missing.items()},
    }


def _measures(prediction: FactorPredictions, weights: Tensor) -> dict[str, Tensor]:
    truth, own, mapped = (
        values.astype(np.float64)
        for values in (prediction.truth, prediction.own, prediction.mapped)
    )
    centred = truth - truth.mean()
    columns = [np.ones_like(truth), centred, centred**2, (own - truth) ** 2, (mapped - truth) ** 2]
    total, shift, about_all, error_own, error_mapped = weighted_sums(columns, weights)
    spread = about_all - shift.square() / total
    spread = spread.where(spread > _ROUNDING * about_all, torch.nan)
    # The mean of a resample fits its items better than the mean of all items does all of them.
    spread[1:] *= len(truth) / max(1, len(truth) - 1)
    ranked, *ranks = (centred_ranks(values, weights) for values in (truth, own, mapped))
    return {
        "r2_own": 1 - error_own / spread,
        "r2_mapped": 1 - error_mapped / spread,
        "spearman_own": correlation(ranked, ranks[0], weights),
        "spearman_mapped": correlation(ranked, ranks[1], weights),
    }
