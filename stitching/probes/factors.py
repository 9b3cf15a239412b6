"""Ridge regressions of continuous factors, such as an angle or the position of a light."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stitching.probes.base import Probes, checked_alpha
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import FittedProbe
from stitching.probes.labels import of_length
from stitching.probes.ridge import ridge_regression


class FactorProbes(Probes):
    """Ridge regressions on standardised latents, penalty by generalised cross-validation.

    `FittedProbe.scores` are guesses in the factor's own unit. Facts of every probe: `kind`,
    `alpha`, `n`, `n_constant`, `converged` and, where the penalty was chosen, `edge`, as in
    `AttributeProbes`.

    Args:
        alpha: Fixed penalty > 0, or None to choose one.
        standardise: See `Probes`.
        max_items: See `Probes`.

    Raises:
        ValueError: A value outside its range.
    """

    kind = "factor"

    def __init__(
        self, alpha: float | None = None, standardise: bool = True, max_items: int = 10_000
    ) -> None:
        super().__init__(standardise, max_items)
        self.alpha = checked_alpha(alpha)

    def _checked(self, name: str, values: NDArray[Any], length: int) -> NDArray[np.floating]:
        values = np.asarray(values)
        if not np.issubdtype(values.dtype, np.floating):
            raise TypeError(f"factor {name} must be floating point, got {values.dtype}")
        if not np.isfinite(values).all():
            raise ValueError(f"factor {name} has values that are not finite")
        return of_length(name, values, length)

    def _lack(self, values: NDArray[Any]) -> str | None:
        if len(values) and values.min() < values.max():
            return None
        return f"training split has {len(values)} items and no two values of it"

    def _fit(self, seen: Coordinates, values: NDArray[Any], alpha: float | None) -> FittedProbe:
        targets = torch.from_numpy(values.astype(np.float64))[:, None].to(seen.points.device)
        alpha = alpha if alpha is not None else self.alpha
        weight, bias, facts = ridge_regression(seen, targets, alpha)
        described = {"kind": self.kind, "n": len(values), "n_constant": seen.n_constant, **facts}
        return FittedProbe(weight, bias, described)
