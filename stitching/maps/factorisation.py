"""The source side of a linear map: one eigendecomposition for every target and every penalty.

With S the centred source latents (N, D_s) and T a centred target (N, D_t), ridge regression is

    primal, D_s <= N:  S'S = V diag(l) V',  W' = V  diag(1 / (l + alpha)) V' S' T
    dual,   D_s >  N:  SS' = U diag(l) U',  W' = S' U diag(1 / (l + alpha)) U' T

The factors to the right of `diag` are the rotated target (`Factorisation.rotate`), those to its
left turn latents into coordinates (`Factorisation.coordinates`); the D_s x D_t matrix W is not
needed. Only the rotation touches the target, so a hundred penalties cost as much as one.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

#: Rows or columns converted to float64 at a time: 200 MB for 12,288 columns.
BLOCK = 2048

EPS = torch.finfo(torch.float64).eps


def blocks(size: int) -> Iterator[slice]:
    """Cut range(size) into slices of at most `BLOCK`."""
    return (slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK))


def checked_matrix(name: str, x: Tensor) -> Tensor:
    """Return x detached, once it is known to be a finite floating-point matrix with columns.

    Raises:
        TypeError: Not floating point.
        ValueError: Not a matrix, no columns, or values that are not finite.
    """
    if not x.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {x.dtype}: convert it with .float()")
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(
            f"{name} must have shape (rows, columns) with at least one column, got "
            f"{tuple(x.shape)}: flatten latents to one row per image"
        )
    bad = (~torch.isfinite(x)).any(1).nonzero().flatten().tolist()
    if bad:
        shown = ", ".join(map(str, bad[:10])) + (", ..." if len(bad) > 10 else "")
        raise ValueError(
            f"{name} has values that are not finite in {len(bad)} of {x.shape[0]} rows "
            f"(rows {shown}): look at these images and at the model that encoded them"
        )
    return x.detach()


def column_mean(x: Tensor) -> Tensor:
    """Return float64 column means, exact for constant columns.

    Taken about the first row, so that a constant column centres to exactly 0 and a large mean
    costs no digits.
    """
    mean = x.new_empty(x.shape[1], dtype=torch.float64)
    for cols in blocks(x.shape[1]):
        first = x[0, cols].to(torch.float64)
        mean[cols] = first + centred(x[:, cols], first).mean(0)
    return mean


def centred(x: Tensor, mean: Tensor) -> Tensor:
    """Return x - mean in float64."""
    return x.to(torch.float64) - mean


@dataclass(frozen=True, eq=False)
class Factorisation:
    """Eigendecomposition of the centred Gram matrix of a set of source latents.

    Depends on the training latents of the encoder alone. The latents themselves are not kept:
    methods that need them take them again as `source`, row for row the same.

    Attributes:
        mean: Column means of the source, shape (D_s,), float64.
        eigenvalues: Shape (K,), ascending, K = min(N, D_s), float64. Values at or below
            `tolerance` are rounding and stored as 0.
        eigenvectors: Shape (K, K), one per column; V of the primal or U of the dual form.
        n_train: Number N of training latents.
    """

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    n_train: int

    #: Names the algorithm for cache keys: change it when the stored numbers change.
    identity: ClassVar[str] = "gram-eigh-float64/1"

    @property
    def width(self) -> int:
        """Source width D_s."""
        return self.mean.shape[0]

    @property
    def dual(self) -> bool:
        """Whether the N x N Gram matrix was decomposed, not the D_s x D_s one."""
        return self.width > self.n_train

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

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the state as named tensors, for a cache on disk."""
        return {
            "mean": self.mean,
            "eigenvalues": self.eigenvalues,
            "eigenvectors": self.eigenvectors,
            "n_train": torch.tensor(self.n_train),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Rebuild from the tensors of `to_tensors`; others are ignored.

        Raises:
            ValueError: A tensor is missing or the shapes contradict each other.
        """
        missing = {"mean", "eigenvalues", "eigenvectors", "n_train"} - tensors.keys()
        if missing:
            raise ValueError(f"stored factorisation lacks {sorted(missing)}: delete and redo it")
        n_train, mean = int(tensors["n_train"]), tensors["mean"]
        size = min(n_train, mean.shape[0])
        values, vectors = tensors["eigenvalues"], tensors["eigenvectors"]
        if values.shape != (size,) or vectors.shape != (size, size):
            raise ValueError(
                f"stored factorisation of {n_train} x {mean.shape[0]} latents needs {size} "
                f"eigenvalues and {size} x {size} eigenvectors, got {tuple(values.shape)} and "
                f"{tuple(vectors.shape)}: delete and redo it"
            )
        return cls(mean, values, vectors, n_train)

    def check(self, source: Tensor) -> None:
        """Make sure that these are the latents which were factorised, in the same row order.

        Compares the column means and the diagonal of the Gram matrix: squared row norms in the
        dual form, where row order matters, sums of squared columns in the primal, where it does
        not. The cost is one pass over the latents.

        Raises:
            ValueError: Other shape, other values, or (dual) another row order.
        """
        if tuple(source.shape) != (self.n_train, self.width):
            raise ValueError(
                f"source has shape {tuple(source.shape)} but the factorisation was made from "
                f"shape {(self.n_train, self.width)}: factorise this source"
            )
        top = float(self.eigenvalues[-1])
        drift = (column_mean(source) - self.mean).abs()
        diagonal = torch.zeros_like(self.eigenvalues)
        for cols in blocks(self.width):
            squares = centred(source[:, cols], self.mean[cols]).square()
            if self.dual:
                diagonal += squares.sum(1)
            else:
                diagonal[cols] = squares.sum(0)
        error = (diagonal - self.eigenvectors.square() @ self.eigenvalues).abs()
        # Rounding is orders below, other latents orders above a relative 1e-8.
        scale = self.mean.abs() + math.sqrt(top / self.n_train)
        if bool((drift > 1e-8 * scale).any()) or bool((error > 1e-8 * top).any()):
            raise ValueError(
                "the factorisation was made from other latents or another row order: "
                "factorise this source"
            )

    def rotate(self, source: Tensor, target: Tensor) -> Tensor:
        """Express a centred target in the eigenbasis.

        Args:
            source: The factorised latents, shape (N, D_s).
            target: Centred target columns, shape (N, T), float64.

        Returns:
            V' S' T in the primal, U' T in the dual form, shape (K, T).
        """
        if self.dual:
            return self.eigenvectors.T @ target
        cross = target.new_zeros(self.width, target.shape[1])
        for rows in blocks(self.n_train):
            cross.addmm_(centred(source[rows], self.mean).T, target[rows])
        return self.eigenvectors.T @ cross

    def coordinates(self, latents: Tensor, source: Tensor | None) -> Tensor:
        """Express latents in the basis that a rotated target is multiplied with.

        Args:
            latents: Shape (n, D_s).
            source: The factorised latents; read in the dual form only.

        Returns:
            (x - mean) V in the primal, (x - mean) S' U in the dual form, shape (n, K).
        """
        if not self.dual:
            return centred(latents, self.mean) @ self.eigenvectors
        assert source is not None  # maps in dual form keep their training latents
        kernel = self.mean.new_zeros(latents.shape[0], self.n_train)
        for cols in blocks(self.width):
            mean = self.mean[cols]
            kernel.addmm_(centred(latents[:, cols], mean), centred(source[:, cols], mean).T)
        return kernel @ self.eigenvectors

    def energies(self, rotated: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """Split the target's sum of squares over the eigenvectors.

        Args:
            rotated: Shape (K, T), from `rotate`.
            total: Sum of squares of each centred target column, shape (T,).

        Returns:
            Sum of squares along each direction, shape (K, T), 0 where the eigenvalue is 0; and
            the rest, which no map of this source reaches, shape (T,), exactly 0 without residual
            degrees of freedom.
        """
        alive = (self.eigenvalues > 0)[:, None]
        squares = rotated.square() if self.dual else rotated.square() / self.eigenvalues[:, None]
        energy = torch.where(alive, squares, 0.0)
        if self.residual_rank == 0:
            return energy, torch.zeros_like(total)
        # Rounding can push a perfect fit below 0.
        return energy, (total - energy.sum(0)).clamp(min=0)

    def shrinkage(self, alpha: Tensor) -> Tensor:
        """Return 1 / (eigenvalue + alpha), shape (K, A) for penalties of shape (A,).

        Directions with eigenvalue 0 count as absent (pseudo-inverse) when the penalty is itself
        no larger than `tolerance`: dividing rounding by it would invent weights.
        """
        values = self.eigenvalues[:, None]
        keep = (values > 0) | (alpha > self.tolerance)
        return torch.where(keep, 1 / (values + alpha), 0.0)

    def degrees_of_freedom(self, alpha: Tensor) -> Tensor:
        """Return the trace of the hat matrix without the intercept, sum l / (l + alpha), (A,)."""
        values = self.eigenvalues[self.eigenvalues > 0, None]
        return (values / (values + alpha)).sum(0)

    def residual_filter(self, alpha: Tensor) -> Tensor:
        """Return alpha / (eigenvalue + alpha), the part of each direction left as residual.

        Where no residual degree of freedom exists (rank = N - 1) the common factor alpha is left
        out. It cancels in generalised cross-validation and in leave-one-out errors, which would
        otherwise tend to 0 / 0 for alpha -> 0. Shape (K, A), 0 where the eigenvalue is 0.
        """
        values = self.eigenvalues[:, None]
        numerator = torch.ones_like(alpha) if self.residual_rank == 0 else alpha
        return torch.where(values > 0, numerator / (values + alpha), 0.0)

    def gcv(self, alpha: Tensor, energy: Tensor, outside: Tensor) -> Tensor:
        """Score every penalty on every target by generalised cross-validation.

        (RSS / N) / (1 - (dof + 1) / N)^2, where dof + 1 counts the intercept: an estimate of the
        squared error on a new item. RSS and N - 1 - dof are summed from their positive parts, so
        nothing cancels when N - 1 - dof goes to 0.

        Args:
            alpha: Penalties, shape (A,).
            energy: Shape (K, T), from `energies`; may be summed over targets.
            outside: Shape (T,), likewise.

        Returns:
            Scores, shape (A, T), in squared target units.

        Source: Golub, Heath and Wahba (1979), doi:10.1080/00401706.1979.10489751
        """
        left = self.residual_filter(alpha)
        rss = left.square().T @ energy + outside
        spare = left.sum(0) + self.residual_rank
        return self.n_train * rss / spare.square()[:, None]

    def leave_one_out(self, source: Tensor, target: Tensor, alpha: Tensor) -> Tensor:
        """Predict each training item by the ridge map fitted on all the others, in closed form.

        The residual of the full fit divided by 1 - leverage, which is exact for ridge regression
        with a free intercept.

        Args:
            source: The factorised latents, shape (N, D_s).
            target: Shape (N, T).
            alpha: One penalty for all targets, shape (1,), or one for each, shape (T,).

        Returns:
            Predictions, shape (N, T), float64. NaN or infinite where the other items leave the
            prediction undetermined (leverage 1 beside residual degrees of freedom).

        Source: Allen (1974), doi:10.1080/00401706.1974.10489157
        """
        alive = self.eigenvalues > 0
        vectors = self.eigenvectors[:, alive]
        if not self.dual:
            vectors = centred(source, self.mean) @ vectors / self.eigenvalues[alive].sqrt()
        deviation = centred(target, column_mean(target))
        inside = vectors.T @ deviation
        left = self.residual_filter(alpha)[alive]
        residual = vectors @ (left * inside)
        spare = vectors.square() @ left  # 1 - leverage
        if self.residual_rank > 0:
            residual += deviation - vectors @ inside
            spare += (1 - 1 / self.n_train - vectors.square().sum(1))[:, None]
        return target.to(torch.float64) - residual / spare


def eigenvalue_tolerance(n_train: int, width: int, largest: float) -> float:
    """Return max(N, D_s, 64) * eps * largest: eigenvalues up to this are rounding.

    In terms of singular values a cut at 1e-7 (N = D_s = 64) to 2e-6 (12,288) of the largest.
    Null eigenvalues of deficient matrices were seen up to 3 * eps, and up to 20 * eps at
    N = 20,000; the 64 keeps tiny problems clear of them.
    """
    return max(n_train, width, 64) * EPS * largest


def factorise(source: Tensor) -> Factorisation:
    """Decompose the centred Gram matrix of source latents, the costly part of a linear map.

    Primal (D_s x D_s) when D_s <= N, dual (N x N) otherwise; in float64 whatever the input,
    because float32 sums of products lose the weak directions.

    Args:
        source: Training latents, shape (N, D_s), any float dtype. Not modified.

    Raises:
        TypeError: Not floating point.
        ValueError: Not a matrix, fewer than 2 rows, or values that are not finite.
    """
    source = checked_matrix("source", source)
    n, width = source.shape
    if n < 2:
        raise ValueError(f"a map needs at least 2 training items, source has {n}")
    mean = column_mean(source)
    size = min(n, width)
    gram = mean.new_zeros(size, size)
    if width > n:
        for cols in blocks(width):
            part = centred(source[:, cols], mean[cols])
            gram.addmm_(part, part.T)
    else:
        for rows in blocks(n):
            part = centred(source[rows], mean)
            gram.addmm_(part.T, part)
    values, vectors = torch.linalg.eigh(gram)
    if size == n:
        values[0] = 0  # centred rows span N - 1 directions, whatever the rounding of the mean
    floor = eigenvalue_tolerance(n, width, max(float(values[-1]), 0.0))
    return Factorisation(mean, torch.where(values > floor, values, 0.0), vectors, n)
