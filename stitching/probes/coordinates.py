"""Latents as probes see them: standardised, and in their own principal axes.

A probe whose weights are penalised by their squares lies in the space that the latents span, so
N items need no more than N coordinates, however wide the latents are. In the principal axes the
second moments are diagonal, which makes iterations on them converge fast. One decomposition
serves all attributes, folds, penalties and control labels of a model.
"""

from functools import cached_property

import torch
from torch import Tensor

from stitching.maps import Factorisation, factorise
from stitching.maps.matrix import (
    Rows,
    blocks,
    centred,
    checked_matrix,
    column_moments,
    lines,
    working_dtype,
)

#: A dimension whose standard deviation is at most this many roundings of its mean is constant:
#: what varies there is how the encoder's sums were rounded, and must not be blown up to unit
#: variance.
CONSTANT_ROUNDINGS = 8


class Coordinates:
    """The latents that probes of one model are fitted on.

    Everything beyond the raw latents is found when first asked for and kept.

    Args:
        latents: Shape (N, D), any float dtype, not modified. What is no tensor is read by rows,
            the first `max_items` of them.
        standardise: Whether to take each dimension less its mean, over its standard deviation
            (of the fit items, divided by their number). Statistics are float64, the
            standardised latents have the dtype of the latents, float32 at least.
        max_items: Items beyond the first so many are left out, at least 2.

    Attributes:
        n_given: Number N of latents handed in.
        n_items: Number n of those used.
        mean: What is taken off each dimension, shape (D,), float64.
        scale: What it is then multiplied by, shape (D,), float64; 0 for constant dimensions.
        standardised: The outcome, shape (n, D).

    Raises:
        TypeError: Latents are not floating point.
        ValueError: Not a matrix, fewer than 2 rows, values that are not finite, or `max_items`
            too small.
    """

    def __init__(self, latents: Rows, standardise: bool = True, max_items: int = 10_000) -> None:
        """Read and standardise the latents."""
        if max_items < 2:
            raise ValueError(f"probe.max_items must be >= 2, got {max_items}")
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
        """Find all of the above, before several threads ask for it at once."""
        _ = self.squares, self.points

    def unrotated(self, weight: Tensor) -> Tensor:
        """Take weights on `points`, shape (C, K), to weights on centred latents, (C, D)."""
        basis, found = self.basis, weight.new_zeros(weight.shape[0], self.basis.width)
        full = weight.new_zeros(weight.shape[0], basis.eigenvalues.shape[0])
        full[:, basis.eigenvalues > 0] = weight
        if not basis.dual:
            return full @ basis.eigenvectors.T
        loadings = (full * basis.inverse_root()) @ basis.eigenvectors.T  # (C, n)
        for cols in blocks(basis.width):
            found[:, cols] = loadings @ centred(self.standardised[:, cols], basis.mean[cols])
        return found

    def unscaled(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Take a linear function of standardised latents to one of raw latents.

        Args:
            weight: Shape (C, D).
            bias: Shape (C,).

        Returns:
            Weight (C, D) and bias (C,), float64: of constant dimensions the weight is 0.
        """
        raw = weight.double() * self.scale
        return raw, bias.double() - raw @ self.mean
