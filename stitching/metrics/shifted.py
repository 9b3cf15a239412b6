"""Latent scores of mapped latents after small changes, at the cost of a few passes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from stitching.compute.threads import one_thread_each
from stitching.metrics.gram import centred
from stitching.metrics.latent import r2_of, ratio_weights

#: Dimensions of one block. Fixed, so that sums do not depend on the number of threads.
_COLUMNS = 2048


class ShiftedScores:
    """Values of `latent_scores` for mapped latents to which a change is added.

    All that does not depend on the change is summed once, in float64. The sums over the change
    itself have its precision, relative to its own size.

    Args:
        true: Shape (n, D), the target's own latents, n >= 2.
        mapped: Shape (n, D), mapped latents before the change.

    Example:
        >>> scores = ShiftedScores(true, mapped)
        >>> scores.values(change)["latent/r2"]  # of mapped + change
    """

    def __init__(self, true: Tensor, mapped: Tensor) -> None:
        self.n, self.width = true.shape
        pairs = zip(true.split(_COLUMNS, 1), mapped.split(_COLUMNS, 1), strict=True)
        with one_thread_each() as pool:
            self._blocks = list(pool.map(lambda pair: _Block.of(*pair), pairs))
        self._spread = sum(float(b.spread) for b in self._blocks)
        self._n_varying = sum(b.n_varying for b in self._blocks)
        self._rows: Tensor = reduce(torch.add, (b.rows for b in self._blocks))
        self._normalised: Tensor = reduce(torch.add, (b.normalised for b in self._blocks))

    def values(self, change: Tensor) -> dict[str, float]:
        """Return the defined scores of mapped + change, shape (n, D), by key."""
        return self.of_items(self.items(change))

    def items(self, change: Tensor) -> dict[str, Tensor]:
        """Return what scores of mapped + change are means of, each (n,) float64.

        By the key of the measure: `latent/mse`, of which R2 and RMSE are functions; `latent/nmse`
        and `latent/cosine` where they are defined.
        """
        with one_thread_each() as pool:
            parts = list(
                pool.map(lambda b, c: b.of_change(c), self._blocks, change.split(_COLUMNS, 1))
            )
        moved: Tensor = reduce(torch.add, (rows for rows, _ in parts))
        along_true, along_mapped, error_change = moved.unbind()
        error, squares, mapped_squares, products = self._rows.unbind()
        found = {"latent/mse": (error + error_change) / self.width}
        if self._n_varying:
            normalised = reduce(torch.add, (part for _, part in parts)) + self._normalised
            found["latent/nmse"] = normalised / self._n_varying
        # |change|^2 = change (change - 2 e) + 2 e change, with the error e = c - h.
        own = error_change + 2 * (along_true - along_mapped)
        lengths = squares * (mapped_squares + 2 * along_mapped + own).clamp_(min=0)
        if bool((lengths > 0).all()):
            found["latent/cosine"] = (products + along_true) / lengths.sqrt()
        return found

    def of_items(self, items: dict[str, Tensor]) -> dict[str, float]:
        """Return the scores that `items` make."""
        found = {key: float(values.mean()) for key, values in items.items()}
        mse = found["latent/mse"]
        found["latent/rmse"] = mse**0.5
        if self._spread > 0:
            found["latent/r2"] = r2_of(mse * self.n * self.width, self._spread, self.n)
        return found


@dataclass(frozen=True, eq=False)
class _Block:
    """Some dimensions: c and h, true and mapped latents less the mean of the true ones.

    Attributes:
        c: Shape (n, d), in the precision of the change.
        h: Those of mapped latents, the same shape.
        twice_error: 2 (c - h).
        weights: Of squared errors in the sum over dimensions, (n, d), see `ratio_weights`.
        n_varying: Dimensions that vary.
        rows: Shape (4, n), by item |c - h|^2, |c|^2, |h|^2 and c h, float64.
        spread: Sum of |c|^2.
        normalised: Sum of weighted squared errors by item, (n,).
    """

    c: Tensor
    h: Tensor
    twice_error: Tensor
    weights: Tensor
    n_varying: int
    rows: Tensor
    spread: float
    normalised: Tensor

    @classmethod
    def of(cls, true: Tensor, mapped: Tensor) -> _Block:
        """Sum what the change does not touch."""
        z, z_hat = true.double(), mapped.double()
        c, h, error = centred(z, z), centred(z_hat, z), z - z_hat
        squares = c.square()
        variance = squares.sum(0) / max(1, len(c) - 1)
        varying = variance.sqrt() > torch.finfo(true.dtype).eps * true.abs().amax(0)
        weights = ratio_weights(squares, torch.where(varying, variance, torch.inf))
        vecdot = torch.linalg.vecdot
        rows = torch.stack([vecdot(error, error), squares.sum(1), vecdot(h, h), vecdot(c, h)])
        return cls(
            c.to(mapped),
            h.to(mapped),
            (2 * error).to(mapped),
            weights.to(mapped),
            int(varying.sum()),
            rows,
            float(squares.sum()),
            (error.square() * weights).sum(1),
        )

    def of_change(self, change: Tensor) -> tuple[Tensor, Tensor]:
        """Return c change, h change and the change of the error, (3, n); that of nmse, (n,)."""
        quadratic = (change - self.twice_error).mul_(change)
        vecdot = torch.linalg.vecdot
        by_item = quadratic.sum(1)
        rows = torch.stack([vecdot(self.c, change), vecdot(self.h, change), by_item])
        return rows.double(), vecdot(quadratic, self.weights).double()
