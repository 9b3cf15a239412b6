"""Multinomial logistic regression, for labels of more than two classes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stitching.probes.base import Probes, checked_at_least
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import FittedProbe
from stitching.probes.labels import of_length
from stitching.probes.logistic import Regression


class SoftmaxProbes(Probes):
    """L2-penalised multinomial logistic regressions.

    Each minimises sum_i -log softmax(W z_i + b)_(y_i) + alpha / 2 |W|^2 for classes y and
    standardised latents z; all classes have weights, biases are not penalised and sum to 0. It is
    the minimum that scikit-learn's `LogisticRegression(C=1 / alpha)` has on them for more than
    two classes. The penalty is chosen as in `LogisticProbes`.

    Facts of every probe: those of `LogisticProbes`, with `n_classes` and `n_smallest` (items of
    the rarest class) in place of `n_yes` and `n_no`.

    Args:
        min_per_class: Fewest fit items of each class that occurs, at least 2.
        alpha: See `LogisticProbes`, as are all that follow.
        n_alphas: Size of the grid.
        n_folds: Number of folds.
        seed: Of the folds.
        max_iter: Most iterations of one fit.
        standardise: See `Probes`.
        max_items: See `Probes`.

    Raises:
        ValueError: A value outside its range.
    """

    kind = "softmax"
    side_by_side = True

    def __init__(
        self,
        min_per_class: int = 5,
        alpha: float | None = None,
        n_alphas: int = 8,
        n_folds: int = 5,
        seed: int = 0,
        max_iter: int = 1000,
        standardise: bool = True,
        max_items: int = 10_000,
    ) -> None:
        super().__init__(standardise, max_items)
        checked_at_least(2, min_per_class=min_per_class)
        self.min_per_class = min_per_class
        self.alpha = alpha
        self.n_alphas = n_alphas
        self.n_folds = n_folds
        self.seed = seed
        self.max_iter = max_iter
        self._regression()

    def _regression(self) -> Regression:
        return Regression(self.alpha, self.n_alphas, self.n_folds, self.seed, self.max_iter)

    def _checked(self, name: str, values: NDArray[Any], length: int) -> NDArray[np.integer]:
        values = np.asarray(values)
        if not np.issubdtype(values.dtype, np.integer):
            raise TypeError(f"classes of {name} must be whole numbers, got {values.dtype}")
        return of_length(name, values, length)

    def _lack(self, values: NDArray[Any]) -> str | None:
        classes, counts = np.unique(values, return_counts=True)
        if len(classes) < 2:
            return f"training split has {len(classes)} classes, at least 2 are needed"
        few = [
            f"{n} of class {c}"
            for c, n in zip(classes, counts, strict=True)
            if n < self.min_per_class
        ]
        if not few:
            return None
        shown = ", ".join(few[:10]) + (", ..." if len(few) > 10 else "")
        return (
            f"training split has {shown}, at least {self.min_per_class} items of each class are "
            "needed"
        )

    def _fit(self, seen: Coordinates, values: NDArray[Any], alpha: float | None) -> FittedProbe:
        classes, counts = np.unique(values, return_counts=True)
        targets = torch.from_numpy(values == classes[:, None]).to(seen.points)
        weight, bias, facts = self._regression().fit(seen, values, targets, alpha)
        sizes = {"n": len(values), "n_classes": len(classes), "n_smallest": int(counts.min())}
        described = {"kind": self.kind, **sizes, "n_constant": seen.n_constant, **facts}
        return FittedProbe(weight, bias, described, tuple(classes.tolist()))
