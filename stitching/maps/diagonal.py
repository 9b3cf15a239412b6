"""One straight line per dimension."""

import torch
from torch import Tensor

from stitching.maps.base import AffineMap, dtype_carrier
from stitching.maps.factorisation import Factorisation
from stitching.maps.matrix import blocks, centred, column_mean


class Diagonal(AffineMap):
    """A slope and an intercept for each dimension, for two spaces of one width.

    Minimises sum_i (w_j s_ij + b_j - t_ij)^2 for each dimension j alone: the best map between
    spaces whose axes mean the same thing. A source column that does not vary has slope 0.

    Each dimension has one degree of freedom, `dof` in the summary is their mean: below 1 where
    columns do not vary.
    """

    name = "diagonal"
    equal_widths = True

    def _fit(self, source: Tensor, target: Tensor, factorisation: Factorisation | None) -> None:
        n = source.shape[0]
        means = column_mean(source), column_mean(target)
        spread, common = torch.zeros_like(means[0]), torch.zeros_like(means[0])
        for rows in blocks(n):
            part = centred(source[rows], means[0])
            spread += part.square().sum(0)
            common += (part * centred(target[rows], means[1])).sum(0)
        varies = spread > 0
        self._tensors = {
            "source_mean": means[0],
            "target_mean": means[1],
            "slope": torch.where(varies, common / torch.where(varies, spread, 1), 0),
            "like": dtype_carrier(target),
        }
        # A straight line passes through two points.
        through = n == 2 and bool(varies.any())
        dof = float(varies.double().mean())
        self._measure(source, target, dof=dof, interpolates=int(through))

    @property
    def slope(self) -> Tensor:
        """The diagonal of W, shape (D,)."""
        self._require_fit()
        return self._tensors["slope"].to(self._tensors["like"])

    @property
    def weight(self) -> Tensor:
        """W, shape (D, D), zero off its diagonal, formed on demand."""
        return torch.diag(self.slope)

    def _predict_rows(self, source: Tensor) -> Tensor:
        kept = self._tensors
        moved = centred(source, kept["source_mean"]).mul_(kept["slope"])
        return moved.add_(kept["target_mean"]).to(kept["like"])
