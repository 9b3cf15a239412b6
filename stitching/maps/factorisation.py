"""The source side of a linear map: one eigendecomposition for every target and every penalty.

With S = U diag(s) V' the centred source latents (N, D_s) and T a centred target (N, D_t), ridge
regression is

    W' = V diag(1 / (s^2 + alpha)) V' S' T

V' S' T is the rotated target (`Factorisation.rotate`), (x - mean) V are the coordinates of
latents x (`Factorisation.coordinates`); the D_s x D_t matrix W is not needed. Only the rotation
touches the target, so a hundred penalties cost as much as one. s^2 and V come from S'S (primal,
D_s <= N), or s^2 and U from SS' (dual); where some dimensions are so much wider than others that
a Gram matrix has no digits left for the others, s and V come from S itself (`unsquared`).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from stitching.compute.linalg import add_gram, by_columns, eigh
from stitching.maps.matrix import (
    BLOCK,
    PANEL,
    Memo,
    Rows,
    blocks,
    centred,
    checked_matrix,
    column_mean,
    lines,
    same_values,
    working_dtype,
)
from stitching.maps.scaling import eigenvalue_tolerance, unresolved, unsquared


@dataclass(frozen=True, eq=False)
class Factorisation:
    """Eigendecomposition of the centred Gram matrix of a set of source latents.

    Depends on the training latents of the encoder alone. Methods that read these latents take
    them as `source`, row for row the same.

    Precision: mean, eigenvalues, eigenvectors and coordinates are float64 whatever the input, as
    errors there are amplified by up to s_max / sqrt(s^2 + alpha). The rotated target is a product
    with columns of S V, each exact to its own length, and no error there is amplified: it has the
    target's own precision, float32 at least.

    Attributes:
        mean: Column means of the source, shape (D_s,), float64.
        eigenvalues: s^2, shape (K,), ascending, float64, K = min(N, D_s), or D_s where the
            latents were streamed or badly scaled. Those that are rounding are stored as 0,
            up to `tolerance` where a Gram matrix was decomposed.
        eigenvectors: Shape (K, K), one per column; V of the primal or U of the dual form.
        n_train: Number N of training latents.
        chunk: Rows read at a time where the latents are streamed; None: latents in memory.
    """

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    n_train: int
    chunk: int | None = None
    # Computed once and shared by every target.
    _rounded: dict[torch.dtype, Tensor] = field(default_factory=dict, init=False, repr=False)
    _folds: dict[tuple[int, int], "Factorisation"] = field(
        default_factory=dict, init=False, repr=False
    )
    _source: list[Tensor] = field(default_factory=list, init=False, repr=False)
    _coordinates: Memo = field(default_factory=Memo, init=False, repr=False)

    #: Names the algorithm for cache keys: change it when the stored numbers change.
    identity: ClassVar[str] = "gram-eigh-float64/4"

    @property
    def width(self) -> int:
        """Source width D_s."""
        return self.mean.shape[0]

    @property
    def dual(self) -> bool:
        """Whether the N x N Gram matrix was decomposed, not the D_s x D_s one."""
        return self.eigenvalues.shape[0] != self.width

    @property
    def tolerance(self) -> float:
        """Eigenvalues up to this are taken as zero, see `eigenvalue_tolerance`."""
        return eigenvalue_tolerance(self.n_train, self.width, float(self.eigenvalues[-1]))

    @property
    def rank(self) -> int:
        """Number of directions in which the centred source latents vary; at most N - 1."""
        return int((self.eigenvalues > 0).sum())

    @property
    def residual_rank(self) -> int:
        """Degrees of freedom left by the unpenalised fit with intercept, N - 1 - rank."""
        return self.n_train - 1 - self.rank

    def condition(self, alpha: float) -> float | None:
        """Return (s_max^2 + alpha) / (s_min^2 + alpha) over directions with s > 0, if any."""
        values = self.eigenvalues[self.eigenvalues > 0]
        if not values.shape[0]:
            return None
        return (float(values[-1]) + alpha) / (float(values[0]) + alpha)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the state as named tensors, for a cache on disk."""
        return {
            "mean": self.mean,
            "eigenvalues": self.eigenvalues,
            "eigenvectors": self.eigenvectors,
            "n_train": torch.tensor(self.n_train),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], chunk: int | None = None) -> Self:
        """Rebuild from the tensors of `to_tensors`; others are ignored.

        Raises:
            ValueError: A tensor is missing or the shapes contradict each other.
        """
        missing = {"mean", "eigenvalues", "eigenvectors", "n_train"} - tensors.keys()
        if missing:
            raise ValueError(f"stored factorisation lacks {sorted(missing)}: delete and redo it")
        n_train, mean = int(tensors["n_train"]), tensors["mean"]
        values, vectors = tensors["eigenvalues"], tensors["eigenvectors"]
        size = mean.shape[0] if chunk is not None else min(n_train, mean.shape[0])
        sizes = {size, mean.shape[0]}
        if values.ndim != 1 or values.shape[0] not in sizes or vectors.shape != 2 * values.shape:
            raise ValueError(
                f"stored factorisation of {n_train} x {mean.shape[0]} latents needs {size} "
                f"eigenvalues and {size} x {size} eigenvectors, got {tuple(values.shape)} and "
                f"{tuple(vectors.shape)}: delete and redo it"
            )
        return cls(mean, values, by_columns(vectors), n_train, chunk)

    def to(self, device: torch.device) -> "Factorisation":
        """Return the factorisation with its tensors on a device."""
        if self.mean.device == device:
            return self
        moved = {key: value.to(device) for key, value in self.to_tensors().items()}
        return self.from_tensors(moved, self.chunk)

    def check(self, source: Rows) -> None:
        """Check that these are the factorised latents, in the same row order.

        Compares the column means and the diagonal of the Gram matrix: squared row norms in the
        dual form, where row order matters, sums of squared columns in the primal, where it does
        not. Latents of the last check are recognised by their values, which is faster.

        Raises:
            ValueError: Other shape, other values, or (dual) another row order.
        """
        if self._source and isinstance(source, Tensor) and same_values(self._source[0], source):
            return
        if tuple(source.shape) != (self.n_train, self.width):
            raise ValueError(
                f"source has shape {tuple(source.shape)} but the factorisation was made from "
                f"shape {(self.n_train, self.width)}: factorise this source"
            )
        top = float(self.eigenvalues[-1])
        total, diagonal = torch.zeros_like(self.mean), torch.zeros_like(self.eigenvalues)
        for rows in blocks(self.n_train, lines(self.width, self.chunk)):
            part = centred(source[rows], self.mean)
            total += part.sum(0)
            if self.dual:
                diagonal[rows] = part.square().sum(1)
            else:
                diagonal += part.square().sum(0)
        drift = total.abs() / self.n_train
        error = (diagonal - self.eigenvectors.square() @ self.eigenvalues).abs()
        # Rounding is orders below, other latents orders above a relative 1e-8.
        scale = self.mean.abs() + math.sqrt(top / self.n_train)
        if bool((drift > 1e-8 * scale).any()) or bool((error > 1e-8 * top).any()):
            raise ValueError(
                "the factorisation was made from other latents or another row order: "
                "factorise this source"
            )
        if isinstance(source, Tensor) and self.chunk is None:
            # Other rows, or another order: results of the last latents are not theirs.
            for found in (self._source, self._rounded, self._folds):
                found.clear()
            self.keep(source)

    def keep(self, source: Tensor) -> Tensor:
        """Return a copy of the factorised latents, shared by all maps that keep them."""
        if not self._source:
            self._source.append(source.clone())
        return self._source[0]

    def rotate(self, source: Rows, target: Rows, mean: Tensor) -> Tensor:
        """Express a target, centred, in the principal components of the source.

        Args:
            source: The factorised latents, shape (N, D_s).
            target: Shape (N, T).
            mean: Column means of the target, shape (T,), float64.

        Returns:
            V' S' (T - mean), shape (K, T), in the target's own dtype, float32 at least. Streamed
            latents are summed in float64 and rounded at the end.
        """
        dtype, width = working_dtype(target), target.shape[1]
        out = self.mean.new_empty(self.eigenvalues.shape[0], width, dtype=dtype)
        if self.chunk is not None:
            cross = self.mean.new_zeros(self.width, width)
            for rows in blocks(self.n_train, self.chunk):
                part = centred(source[rows], self.mean)
                cross.addmm_(part.T, centred(target[rows], mean))
            for cols in blocks(width):
                out[:, cols] = self.eigenvectors.T @ cross[:, cols]
            return out
        assert isinstance(target, Tensor)
        left, centre = self._left(source, dtype), mean.to(dtype)
        for cols in blocks(width, PANEL):
            # The rounding error of the mean is the same in all rows, and columns of U and of S V
            # sum to 0: it cancels.
            torch.mm(left.T, target[:, cols].to(dtype) - centre[cols], out=out[:, cols])
        return out

    def _left(self, source: Rows, dtype: torch.dtype) -> Tensor:
        """S V = U diag(s), shape (N, K), rounded and kept; each column exact to its length."""
        if dtype not in self._rounded:
            if self.dual:
                root = self.eigenvalues.sqrt()
                columns = torch.empty_like(self.eigenvectors.T, dtype=dtype)  # stored by columns
                for part in blocks(self.n_train, lines(self.n_train)):
                    columns[part] = self.eigenvectors.T[part] * root[part, None]
                self._rounded[dtype] = columns.T
            else:
                exact = self.mean.new_empty(self.n_train, self.width)
                for rows in blocks(self.n_train):
                    torch.mm(centred(source[rows], self.mean), self.eigenvectors, out=exact[rows])
                self._rounded[dtype] = exact.to(dtype)
        return self._rounded[dtype]

    def left_rows(self, source: Rows) -> Iterator[tuple[slice, Tensor]]:
        """Yield U in float64, 0 where s is 0, some rows at a time with their slice."""
        present, root = (self.eigenvalues > 0).double(), self.inverse_root()
        for rows in blocks(self.n_train, self.chunk or BLOCK):
            if self.dual:
                yield rows, self.eigenvectors[rows] * present
            elif self.chunk is None:
                yield rows, self._left(source, torch.float64)[rows] * root
            else:
                yield rows, centred(source[rows], self.mean) @ (self.eigenvectors * root)

    def coordinates(self, latents: Tensor, source: Tensor | None) -> Tensor:
        """Express latents in the right singular vectors, (x - mean) V, shape (n, K), float64.

        Args:
            latents: Shape (n, D_s). The result of the last call is kept.
            source: The factorised latents; read in the dual form only.
        """
        return self._coordinates.get(latents, lambda: self._project(latents, source))

    def leading(self, latents: Tensor, source: Tensor | None, width: int) -> Tensor:
        """Return the last `width` columns of `coordinates`, without the others, (n, width)."""
        return self._project(latents, source, -width)

    def leading_left(self, source: Rows, width: int) -> Tensor:
        """Return the same of the factorised latents, shape (N, width)."""
        if self.dual:
            return self.eigenvectors[:, -width:] * self.eigenvalues[-width:].sqrt()
        parts = blocks(self.n_train, self.chunk or BLOCK)
        here = self.mean.device
        return torch.cat([self.leading(source[part].to(here), None, width) for part in parts])

    def _project(self, latents: Tensor, source: Tensor | None, first: int = 0) -> Tensor:
        directions = self.eigenvectors[:, first:]
        if not self.dual:
            return centred(latents, self.mean) @ directions
        assert source is not None  # maps in dual form keep their training latents
        kernel = self.mean.new_zeros(latents.shape[0], self.n_train)
        for cols in blocks(self.width, PANEL):
            mean = self.mean[cols]
            kernel.addmm_(centred(latents[:, cols], mean), centred(source[:, cols], mean).T)
        return (kernel @ directions).mul_(self.inverse_root()[first:])

    def shrinkage(self, alpha: Tensor) -> Tensor:
        """Return 1 / (s^2 + alpha), shape (K, A) for penalties of shape (A,).

        Directions with eigenvalue 0 count as absent (pseudo-inverse) when the penalty is no
        larger than `tolerance`: dividing rounding errors by it would produce large weights.
        """
        values = self.eigenvalues[:, None]
        keep = (values > 0) | (alpha > self.tolerance)
        keep[: max(0, len(values) - (self.n_train - 1))] = False  # N rows have no such direction
        return torch.where(keep, 1 / (values + alpha), 0.0)

    def degrees_of_freedom(self, alpha: Tensor) -> Tensor:
        """Return the trace of the hat matrix without the intercept, sum s^2 / (s^2 + alpha)."""
        values = self.eigenvalues[self.eigenvalues > 0, None]
        return (values / (values + alpha)).sum(0)

    def residual_filter(self, alpha: Tensor) -> Tensor:
        """Return alpha / (s^2 + alpha), the residual part of each direction.

        Shape (K, A), 0 where the eigenvalue is 0. Without residual degrees of freedom (rank =
        N - 1) the common factor alpha is left out: it cancels in generalised cross-validation and
        in leave-one-out errors, which would otherwise tend to 0 / 0 for alpha -> 0.
        """
        values = self.eigenvalues[:, None]
        numerator = torch.ones_like(alpha) if self.residual_rank == 0 else alpha
        return torch.where(values > 0, numerator / (values + alpha), 0.0)

    def outside(self, energy: Tensor, total: Tensor) -> Tensor:
        """Return the part of each target's sum of squares that no map of this source explains.

        Args:
            energy: The part along the singular vectors, shape (T,).
            total: The sum of squares, shape (T,).
        """
        # Exactly 0 without residual degrees of freedom; rounding can make a perfect fit negative.
        return torch.zeros_like(total) if self.residual_rank == 0 else (total - energy).clamp(0)

    def folds(self, source: Tensor, k: int) -> list["Factorisation"]:
        """Return the factorisations of the source without every k-th row, from row 0 to k - 1."""
        return [self.fold(source, k, i) for i in range(k)]

    def fold(self, source: Tensor, k: int, i: int) -> "Factorisation":
        """Return the factorisation of the source without rows i, i + k, and so on."""
        if (k, i) not in self._folds:
            mask = fold_masks(self.n_train, k)[i]
            self._folds[k, i] = factorise(source[mask.to(source.device)])
        return self._folds[k, i]

    def inverse_root(self) -> Tensor:
        """Return 1 / s, shape (K,), 0 where s is 0."""
        return torch.where(self.eigenvalues > 0, self.eigenvalues.rsqrt(), 0.0)


def fold_masks(n: int, k: int) -> Tensor:
    """Return the masks (k, n) of the rows of each of k fits: all but rows i, i + k, ..."""
    return torch.arange(n) % k != torch.arange(k)[:, None]


def factorise(source: Rows, chunk: int | None = None) -> Factorisation:
    """Decompose the centred Gram matrix of source latents, the costly part of a linear map.

    Primal (D_s x D_s) when D_s <= N, dual (N x N) otherwise; in float64 whatever the input,
    because float32 sums of products lose the weak directions.

    Args:
        source: Training latents, shape (N, D_s), any float dtype. Not modified.
        chunk: Rows read at a time, for latents larger than memory: always in the primal form,
            whose memory does not grow with N.

    Raises:
        TypeError: Not floating point.
        ValueError: Not a matrix, fewer than 2 rows, or values or squares that are not finite.

    Example:
        >>> basis = factorise(source)  # shape (N, D_s)
        >>> maps = [Ridge().fit(source, target, basis) for target in targets]
    """
    source = checked_matrix("source", source, chunk)
    n, width = source.shape
    if n < 2:
        raise ValueError(f"a map needs at least 2 training items, source has {n}")
    mean = column_mean(source, chunk)
    dual = chunk is None and width > n
    size = n if dual else width
    gram = mean.new_zeros(size, size)
    if dual:
        assert isinstance(source, Tensor)
        for cols in blocks(width, PANEL):
            add_gram(gram, centred(source[:, cols], mean[cols]).T)
    else:
        for rows in blocks(n, chunk or BLOCK):
            add_gram(gram, centred(source[rows], mean))
    if not bool(gram.diagonal().sum().isfinite()):
        raise ValueError(
            "source has values so large that their squares are not finite in float64: scale the "
            "latents down, or look at the model that encoded them"
        )
    values, vectors = eigh(gram, overwrite=True)
    # Centred rows span N - 1 directions, whatever the rounding of the mean.
    values[: max(0, size - (n - 1))] = 0
    floor = eigenvalue_tolerance(n, width, max(float(values[-1]), 0.0))
    values = torch.where(values > floor, values, 0.0)
    if unresolved(source, mean, values, vectors, chunk):
        values, vectors = unsquared(source, mean, chunk)
    found = Factorisation(mean, values, vectors, n, chunk)
    if isinstance(source, Tensor) and chunk is None:
        found.keep(source)
    return found
