"""Ridge regressions of continuous factors, such as an angle or the position of a light."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stitching.probes.base import Fit, Probes
from stitching.probes.coordinates import Coordinates
from stitching.probes.fitted import Facts
from stitching.probes.labels import of_length
from stitching.probes.ridge import ridge_regression


class FactorProbes(Probes):
    """Ridge regressions on standardised latents, penalty by generalised cross-validation.

    `FittedProbe.scores` are predictions in the factor's own unit. Arguments and facts are those of
    `Probes`.
    """

    kind = "factor"

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

    def _fit(
        self,
        coordinates: Coordinates,
        values: NDArray[Any],
        alpha: float | None,
        quick: bool,
        near: Facts | None,
    ) -> Fit:
        device = coordinates.points.device
        targets = torch.from_numpy(values.astype(np.float64))[:, None].to(device)
        return ridge_regression(coordinates, targets, alpha)
