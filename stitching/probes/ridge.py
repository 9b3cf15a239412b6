"""Ridge-regularised Fisher discriminants."""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.maps import InterpolationWarning, PenaltyEdgeWarning, Ridge, leave_one_out
from stitching.probes.attributes import AttributeProbes
from stitching.probes.base import Fit
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import Facts


class RidgeProbes(AttributeProbes):
    """Ridge regressions on labels -1 and 1, with a threshold between the classes.

    Without `alpha` the penalty is chosen by generalised cross-validation. The direction is that of
    Fisher's linear discriminant with alpha added to the total scatter, whatever the share of
    positives; the threshold of least squares is not, and would predict no for every item where
    positives are rare. The threshold is therefore midway between the mean scores of the two
    classes, with each fit item scored by the regression fitted on all the others (in closed form):
    with D > N the regression's scores on its own items mean nothing. That treats both classes
    alike, so accuracy on an attribute that is rare and hard to see can be below the majority's.

    Latents are standardised as for the other kinds, so that comparisons of kinds compare nothing
    else, and units of dimensions do not decide what is penalised.

    A further fact, see `AttributeProbes`: `threshold`, the regression's output above which the
    prediction is yes. Arguments are those of `AttributeProbes`.

    Source: Hastie, Buja and Tibshirani (1995), doi:10.1214/aos/1176324456
    """

    kind = "ridge"

    def _fit(
        self,
        coordinates: Coordinates,
        values: NDArray[Any],
        alpha: float | None,
        quick: bool,
        near: Facts | None,
    ) -> Fit:
        device = coordinates.points.device
        signs = torch.from_numpy(np.where(values, 1.0, -1.0)).to(device)[:, None]
        weight, bias, facts = ridge_regression(coordinates, signs, alpha)
        used = signs.new_tensor([facts["alpha"]])
        held_out = leave_one_out(coordinates.basis, coordinates.standardised, signs, used)
        scores = held_out[:, 0].cpu().numpy()
        threshold = float(scores[values].mean() + scores[~values].mean()) / 2
        return weight, bias - threshold, {**facts, "threshold": threshold}


def ridge_regression(coordinates: Coordinates, targets: Tensor, alpha: float | None) -> Fit:
    """Fit one target (n, 1), float64, by ridge regression, as `Probes._fit`."""
    ridge = Ridge(alpha)
    with warnings.catch_warnings():
        # The caller warns of an edge by name. Probes that interpolate are judged on other items.
        warnings.simplefilter("ignore", PenaltyEdgeWarning)
        warnings.simplefilter("ignore", InterpolationWarning)
        ridge.fit(coordinates.standardised, targets, coordinates.basis)
    weight = ridge.weight
    bias = targets.mean(0) - weight @ coordinates.basis.mean
    weight, bias = coordinates.unscaled(weight, bias)
    facts: Facts = {"alpha": float(ridge.alpha_), "converged": 1}
    if ridge.edges_ is not None:
        facts["edge"] = int(ridge.edges_)
    return weight[0].cpu().numpy(), bias[0].cpu().numpy(), facts
