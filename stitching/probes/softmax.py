"""Multinomial logistic regression, for labels of more than two classes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stitching.maps.base import require_at_least
from stitching.probes.base import Fit
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import Facts
from stitching.probes.labels import of_length
from stitching.probes.logistic import LogisticBase


class SoftmaxProbes(LogisticBase):
    """L2-penalised multinomial logistic regressions.

    Each minimises sum_i -log softmax(W z_i + b)_(y_i) + alpha / 2 |W|^2 for classes y and
    standardised latents z; all classes have weights, biases are not penalised and sum to 0. It is
    the minimum that scikit-learn's `LogisticRegression(C=1 / alpha)` has on them for more than
    two classes. The penalty is chosen as in `LogisticProbes`.

    Further facts are those of `LogisticProbes`, with `n_classes` and `n_smallest` (items of the
    rarest class) in place of `n_yes` and `n_no`.

    Args:
        min_per_class: Fewest fit items of each class that occurs, at least 2.

    The other arguments are those of `LogisticProbes`.

    Raises:
        ValueError: A value outside its range.
    """

    kind = "softmax"

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
        super().__init__(alpha, standardise, max_items)
        require_at_least("probe", 2, min_per_class=min_per_class)
        self.min_per_class = min_per_class
        self._set_search(n_alphas, n_folds, seed, max_iter)

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

    def _fit(
        self,
        coordinates: Coordinates,
        values: NDArray[Any],
        alpha: float | None,
        quick: bool,
        near: Facts | None,
    ) -> Fit:
        targets = torch.from_numpy(values == np.unique(values)[:, None]).to(coordinates.points)
        return self._regress(coordinates, values, targets, alpha, quick, near)

    def _counts(self, values: NDArray[Any]) -> Facts:
        counts = np.unique(values, return_counts=True)[1]
        return {"n_classes": len(counts), "n_smallest": int(counts.min())}

    def _classes(self, values: NDArray[Any]) -> tuple[int, ...]:
        return tuple(np.unique(values).tolist())
