"""Standardised latents in their principal axes, shared by all probes of a model.

A probe whose weights are penalised by their squares lies in the space that the latents span, so
N items need no more than N coordinates, however wide the latents are. In the principal axes the
second moments are diagonal, which makes iterations on them converge fast. One decomposition
serves all attributes, folds, penalties and control labels of a model.
"""

from functools import cached_property

import torch
from torch import Tensor

from stitching.maps import Factorisation, factorise
from stitching.maps.base import require_at_least
from stitching.maps.matrix import (
    Rows,
    blocks,
    centred,
    checked_matrix,
    column_moments,
    lines,
    working_dtype,
)

#: A dimension whose standard deviation is at most this many roundings of its mean is constant: its
#: variation is rounding of the encoder, and must not be scaled up to unit variance.
CONSTANT_ROUNDINGS = 8


class Coordinates:
    """The latents that probes of one model are fitted on.

    The decomposition is computed on first use and kept.

    Args:
        latents: Shape (N, D), any float dtype, not modified; a tensor, or read by rows.
        standardise: Whether to take each dimension less its mean, over its standard deviation
            (of the fit items, divided by their number). Statistics are float64, the
            standardised latents have the dtype of the latents, float32 at least.
        max_items: Use the first so many items at most, at least 2.

    Attributes:
        n_given: Number N of latents given.
        n_items: Number n of those used.
        n_constant: Number of constant dimensions.
        mean: Subtracted from each dimension, shape (D,), float64.
        scale: Factor of each dimension after that, shape (D,), float64; 0 for constant ones.
        standardised: The standardised latents, shape (n, D).

    Raises:
        TypeError: Latents are not floating point.
        ValueError: Not a matrix, fewer than 2 rows, values that are not finite, or `max_items`
            too small.
    """

    def __init__(self, latents: Rows, standardise: bool = True, max_items: int = 10_000) -> None:
        require_at_least("probe", 2, max_items=max_items)
        x = checked_matrix("latents", latents[:max_items])
        if x.shape[0] < 2:
            raise ValueError(f"a probe needs at least 2 items to fit on, got {x.shape[0]}")
        self.standardise = standardise
        self.max_items = max_items
        self.n_given, self.n_items = latents.shape[0], x.shape[0]
        self.mean, squares = column_moments(x)
        spread = (squares / self.n_items).sqrt()
        rounding = torch.finfo(working_dtype(x)).eps * self.mean.abs()
        constant = spread <= CONSTANT_ROUNDINGS * rounding
        self.n_constant = int(constant.sum())
        if standardise:
            self.scale = torch.where(constant, 0.0, 1 / spread)
            self.standardised = torch.empty_like(x, dtype=working_dtype(x))
            for rows in blocks(self.n_items, lines(x.shape[1])):
                self.standardised[rows] = centred(x[rows], self.mean) * self.scale
        else:
            self.mean, self.scale = torch.zeros_like(self.mean), torch.ones_like(self.mean)
            self.standardised = x

    @cached_property
    def basis(self) -> Factorisation:
        """Factorisation of the standardised latents."""
        return factorise(self.standardised)

    @cached_property
    def squares(self) -> Tensor:
        """Sum of squares along each principal axis in which the latents vary, shape (K,)."""
        values = self.basis.eigenvalues
        return values[values > 0]

    @cached_property
    def points(self) -> Tensor:
        """The centred latents in these axes, shape (n, K), float64; columns are orthogonal."""
        values = self.basis.eigenvalues
        parts = [rows for _, rows in self.basis.left_rows(self.standardised)]
        return (torch.cat(parts) * values.sqrt())[:, values > 0].contiguous()

    def decompose(self) -> None:
        """Compute the decomposition before several threads use it."""
        _ = self.squares, self.points

    def unrotated(self, weight: Tensor) -> Tensor:
        """Return weights (C, D) on centred latents from weights (C, K) on `points`."""
        basis = self.basis
        full = weight.new_zeros(weight.shape[0], basis.eigenvalues.shape[0])
        full[:, basis.eigenvalues > 0] = weight
        if not basis.dual:
            return full @ basis.eigenvectors.T
        loadings = (full * basis.inverse_root()) @ basis.eigenvectors.T  # (C, n)
        found = weight.new_zeros(weight.shape[0], basis.width)
        for cols in blocks(basis.width):
            found[:, cols] = loadings @ centred(self.standardised[:, cols], basis.mean[cols])
        return found

    def unscaled(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight (C, D) and bias (C,) on raw latents from those on standardised ones.

        Both are float64; the weight of constant dimensions is 0.
        """
        raw = weight.double() * self.scale
        return raw, bias.double() - raw @ self.mean
