"""Ridge-regularised Fisher discriminants."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.maps import InterpolationWarning, PenaltyEdgeWarning, Ridge, leave_one_out
from stitching.probes.attributes import AttributeProbes
from stitching.probes.base import checked_alpha
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import FittedProbe


class RidgeProbes(AttributeProbes):
    """Ridge regressions on labels -1 and 1, with a threshold between the classes.

    Without `alpha` the penalty is chosen by generalised cross-validation. The direction is that of
    Fisher's linear discriminant with alpha added to the total scatter, whatever the share of
    positives; least squares' own threshold is not, and would say "no" to everybody when positives
    are rare. The threshold is therefore put midway between the mean scores of the two classes,
    where each fit item is scored by the regression fitted on all the others (in closed form): with
    D > N the regression's scores on its own items are no guide at all. That treats both classes
    alike, so accuracy on an attribute that is rare and hard to see can be below the majority's.

    Latents are standardised as for the other kinds, so that a comparison of kinds compares
    nothing else, and so that units of dimensions do not decide what is penalised.

    A further fact, see `AttributeProbes`: `threshold`, the regression's output above which the
    prediction is yes.

    Args:
        attributes: See `AttributeProbes`.
        min_per_class: See `AttributeProbes`.
        alpha: Fixed penalty > 0, or None to choose one.
        standardise: See `Probes`.
        max_items: See `Probes`.

    Raises:
        ValueError: A value outside its range.

    Source: Hastie, Buja and Tibshirani (1995), doi:10.1214/aos/1176324456
    """

    kind = "ridge"

    def __init__(
        self,
        attributes: Sequence[str] | str | None = None,
        min_per_class: int = 5,
        alpha: float | None = None,
        standardise: bool = True,
        max_items: int = 10_000,
    ) -> None:
        super().__init__(attributes, min_per_class, standardise, max_items)
        self.alpha = checked_alpha(alpha)

    def _fit(self, seen: Coordinates, values: NDArray[Any], alpha: float | None) -> FittedProbe:
        signs = torch.from_numpy(np.where(values, 1.0, -1.0)).to(seen.points.device)[:, None]
        alpha = alpha if alpha is not None else self.alpha
        weight, bias, facts = ridge_regression(seen, signs, alpha)
        used = signs.new_tensor([facts["alpha"]])
        scores = leave_one_out(seen.basis, seen.standardised, signs, used)[:, 0].cpu().numpy()
        threshold = float(scores[values].mean() + scores[~values].mean()) / 2
        described = {"kind": self.kind, **self._counts(seen, values), **facts}
        return FittedProbe(weight, bias - threshold, described | {"threshold": threshold})


def ridge_regression(
    seen: Coordinates, targets: Tensor, alpha: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, float | int]]:
    """Fit one target by ridge regression, penalty by generalised cross-validation or given.

    Args:
        seen: The latents.
        targets: Shape (n, 1), float64.
        alpha: Penalty, None to choose it.

    Returns:
        Weight (D,) and bias () on raw latents, and facts.
    """
    ridge = Ridge(alpha)
    with warnings.catch_warnings():
        # Of an edge the caller warns, by name. A probe that passes through all of its items is
        # judged on others.
        warnings.simplefilter("ignore", PenaltyEdgeWarning)
        warnings.simplefilter("ignore", InterpolationWarning)
        ridge.fit(seen.standardised, targets, seen.basis)
    weight = ridge.weight
    weight, bias = seen.unscaled(weight, targets.mean(0) - weight @ seen.basis.mean)
    facts: dict[str, float | int] = {"alpha": float(ridge.alpha_), "converged": 1}
    if ridge.edges_ is not None:
        facts["edge"] = int(ridge.edges_)
    return weight[0].cpu().numpy(), bias[0].cpu().numpy(), facts
