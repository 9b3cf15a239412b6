"""Lasso on labels 0 and 1, the paper's probe."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stitching.probes.attributes import CrossValidatedAttributeProbes
from stitching.probes.base import Fit
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import Facts
from stitching.probes.labels import stratified_folds

#: Lower end of the penalty grid, in units of the smallest penalty that leaves no weight.
GRID_END = 1e-2

#: scikit-learn's tolerance while penalties are compared, in float32: 10 times its default, with
#: the same errors on held-out items to a thousandth, in less than half the time.
CV_TOLERANCE = 1e-3


class LassoProbes(CrossValidatedAttributeProbes):
    """Lasso regressions on labels 0 and 1; the prediction is yes from 0.5 on.

    Each minimises sum_i (w z_i + b - y_i)^2 / (2 n) + alpha |w|_1, by scikit-learn's coordinate
    descent in float64. Without `alpha` the penalty is chosen by its squared error on held-out
    items: penalties descend from the smallest one that leaves no weight, evenly in logarithm to
    1 % of it, and end where the error rises, because each further penalty takes about as long as
    all before it.

    The paper fixed `alpha` by hand for each model, on raw latents (`standardise=False`): 0.005 for
    vae and vqvae, 0.02 for dm, 0.1 for nf. It rounded predictions, which equals "from 0.5 on"
    where those below 0 and above 1 are clipped first, as they were not. numpy rounds 0.5 itself to
    the even number 0; here a tie is a yes. A probe without weights on as many yes as no is a tie.

    Further facts, see `AttributeProbes`: `n_weights`, weights that are not 0; `n_iter`; and where
    the penalty was chosen `cv_mse`.

    Args:
        attributes: As in `AttributeProbes`, and so `min_per_class`.
        alpha: Fixed penalty > 0, not scaled by the number of items, or None to choose one.

    The other arguments are those of `CrossValidatedProbes` and `Probes`; iterations are passes
    over the dimensions.

    Raises:
        ValueError: A value outside its range.

    Source: Tibshirani (1996), doi:10.1111/j.2517-6161.1996.tb02080.x
    """

    kind = "lasso"

    def _fit(
        self,
        coordinates: Coordinates,
        values: NDArray[Any],
        alpha: float | None,
        quick: bool,
        near: Facts | None,
    ) -> Fit:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import Lasso

        facts: Facts = {}
        if alpha is None:
            alpha, facts = self._choose(
                coordinates.standardised.float().cpu().numpy(), values, near
            )
        points = np.asfortranarray(coordinates.standardised.double().cpu().numpy())
        labels = values.astype(np.float64)
        lasso = Lasso(alpha, max_iter=self.max_iter)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lasso.fit(points, labels)
        stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
        for other in caught:
            if not issubclass(other.category, ConvergenceWarning):
                warnings.warn(other.message, stacklevel=2)
        weight = torch.from_numpy(lasso.coef_[None]).to(coordinates.scale)
        raw, bias = coordinates.unscaled(weight, weight.new_tensor([lasso.intercept_ - 0.5]))
        facts |= {
            "alpha": alpha,
            "converged": int(not stopped),
            "n_iter": int(lasso.n_iter_),
            "n_weights": int(np.count_nonzero(lasso.coef_)),
        }
        # Scores > 0 are a yes: the next larger number makes a tie a yes, and nothing else.
        threshold = np.nextafter(bias[0].cpu().numpy(), np.inf)
        return raw[0].cpu().numpy(), threshold, facts

    def _choose(
        self, points: NDArray[np.float32], values: NDArray[Any], near: Facts | None
    ) -> tuple[float, Facts]:
        """Return the penalty with the smallest squared error on held-out items, and facts."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import Lasso

        labels = values.astype(np.float32)
        # Where no weight is left: the largest covariance with the labels.
        top = float(np.abs((labels - labels.mean()) @ (points - points.mean(0))).max())
        top = top / len(labels) or 1.0
        alphas = np.geomspace(top, GRID_END * top, self.n_alphas)
        if near is not None:
            alphas = float(near["alpha"]) * alphas[:3] / alphas[1]
        folds = stratified_folds(labels, self.n_folds, self.seed)
        models = [
            Lasso(max_iter=self.max_iter, tol=CV_TOLERANCE, warm_start=True, copy_X=False)
            for _ in range(self.n_folds)
        ]

        def error(fold: int) -> float:
            out, lasso = folds == fold, models[fold]
            lasso.fit(np.asfortranarray(points[~out]), labels[~out])
            residual = lasso.predict(points[out]) - labels[out]
            return float(np.square(residual, dtype=np.float64).sum())

        errors: list[float] = []
        with warnings.catch_warnings(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
            warnings.simplefilter("ignore", ConvergenceWarning)
            for alpha in alphas:
                for lasso in models:
                    lasso.set_params(alpha=alpha)
                errors.append(sum(pool.map(error, range(self.n_folds))) / len(labels))
                if len(errors) > 1 and errors[-1] > errors[-2]:
                    break
        best = int(np.argmin(errors))
        at_end = {0: 1, len(alphas) - 1: -1}.get(best, 0)
        return float(alphas[best]), {"edge": at_end, "cv_mse": errors[best]}
