"""Lasso on labels 0 and 1, the paper's probe."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stitching.probes.attributes import AttributeProbes
from stitching.probes.base import checked_alpha, checked_at_least
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import FittedProbe
from stitching.probes.labels import stratified_folds

#: Lower end of the penalty grid, in units of the smallest penalty that leaves no weight.
GRID_END = 1e-2

#: scikit-learn's tolerance while penalties are compared, in float32: 10 times its default, with
#: the same errors on held-out items to a thousandth, in less than half the time.
CV_TOLERANCE = 1e-3


class LassoProbes(AttributeProbes):
    """Lasso regressions on labels 0 and 1; the prediction is yes from 0.5 on, which rounds up.

    Each minimises sum_i (w z_i + b - y_i)^2 / (2 n) + alpha |w|_1, by scikit-learn's coordinate
    descent in float64. Without `alpha` the penalty is chosen by its squared error on held-out
    items: a grid is walked from the smallest penalty that leaves no weight downwards, and the walk
    ends where the error rises, because each further penalty takes about as long as all before it.

    The paper fixed `alpha` by hand for each model, on raw latents (`standardise=False`): 0.005 for
    vae and vqvae, 0.02 for dm, 0.1 for nf. It rounded predictions, which is the same as "from 0.5
    on" where those below 0 and above 1 are clipped first, as they were not. numpy rounds 0.5
    itself to the even number 0; here a tie is a yes, as in school. A probe without weights on
    as many yes as no is one tie.

    Further facts, see `AttributeProbes`: `n_weights`, weights that are not 0; `n_iter`; and where
    the penalty was chosen `cv_mse`.

    Args:
        attributes: See `AttributeProbes`.
        min_per_class: See `AttributeProbes`.
        alpha: Fixed penalty > 0, not scaled by the number of items, or None to choose one.
        n_alphas: Size of the grid, at least 3: evenly in logarithm from its top to 1 % of that.
        n_folds: Folds, stratified, at least 2.
        seed: Of the folds, at least 0.
        max_iter: Most passes over the dimensions in one fit, at least 1.
        standardise: See `Probes`.
        max_items: See `Probes`.

    Raises:
        ValueError: A value outside its range.

    Source: Tibshirani (1996), doi:10.1111/j.2517-6161.1996.tb02080.x
    """

    kind = "lasso"

    def __init__(
        self,
        attributes: Sequence[str] | str | None = None,
        min_per_class: int = 5,
        alpha: float | None = None,
        n_alphas: int = 8,
        n_folds: int = 5,
        seed: int = 0,
        max_iter: int = 1000,
        standardise: bool = True,
        max_items: int = 10_000,
    ) -> None:
        super().__init__(attributes, min_per_class, standardise, max_items)
        checked_at_least(3, n_alphas=n_alphas)
        checked_at_least(2, n_folds=n_folds)
        checked_at_least(1, max_iter=max_iter)
        checked_at_least(0, seed=seed)
        self.alpha = checked_alpha(alpha)
        self.n_alphas = n_alphas
        self.n_folds = n_folds
        self.seed = seed
        self.max_iter = max_iter

    def _fit(self, seen: Coordinates, values: NDArray[Any], alpha: float | None) -> FittedProbe:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import Lasso

        facts: dict[str, float | int] = {}
        alpha = alpha if alpha is not None else self.alpha
        if alpha is None:
            alpha, facts = self._choose(seen.standardised.float().cpu().numpy(), values)
        points = np.asfortranarray(seen.standardised.double().cpu().numpy())
        labels = values.astype(np.float64)
        lasso = Lasso(alpha, max_iter=self.max_iter)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lasso.fit(points, labels)
        stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
        for other in caught:
            if not issubclass(other.category, ConvergenceWarning):
                warnings.warn(other.message, stacklevel=2)
        weight = torch.from_numpy(lasso.coef_[None]).to(seen.scale)
        raw, bias = seen.unscaled(weight, weight.new_tensor([lasso.intercept_ - 0.5]))
        facts |= {
            "alpha": alpha,
            "converged": int(not stopped),
            "n_iter": int(lasso.n_iter_),
            "n_weights": int(np.count_nonzero(lasso.coef_)),
        }
        described = {"kind": self.kind, **self._counts(seen, values), **facts}
        # Scores > 0 are a yes: the next larger number makes a tie one, and nothing else.
        threshold = np.nextafter(bias[0].cpu().numpy(), np.inf)
        return FittedProbe(raw[0].cpu().numpy(), threshold, described)

    def _choose(
        self, points: NDArray[np.float32], values: NDArray[Any]
    ) -> tuple[float, dict[str, float | int]]:
        """Return the penalty where the walk's squared error on held-out items was smallest."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import Lasso

        labels = values.astype(np.float32)
        # Where no weight is left: the largest covariance with the labels.
        top = float(np.abs((labels - labels.mean()) @ (points - points.mean(0))).max())
        top = top / len(labels) or 1.0
        alphas = np.geomspace(top, GRID_END * top, self.n_alphas)
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
