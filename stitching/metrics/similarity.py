"""Four measures of similarity of two latent spaces, from n x n matrices of the same n items."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stitching.metrics.gram import gram_matrix
from stitching.metrics.resampling import HALVES, Estimate, Resamples

#: A set of fewer items has no debiased HSIC, and hardly any neighbourhoods or components.
MIN_ITEMS = 4

#: Distances and eigenvalues closer than this share of the largest are equal up to rounding.
_ROUNDING = 1e-10

#: Half-samples take their principal components from this many times as many of all items'.
_WIDER = 4

#: Up to this many columns singular values are computed as such, beyond as roots of eigenvalues:
#: three times as fast, to 1e-6 instead of 1e-14 (1,000 items: 0.3 s instead of 0.9 s).
_FEW_COLUMNS = 300


@dataclass(frozen=True, eq=False)
class Space:
    """One model's latents of n items, up to a shift, a rotation and a scale.

    Attributes:
        width: Dimensions of the space.
        scale: Sum of squares of the centred latents; 0 where all items are equal.
        gram: Inner products of the centred latents divided by `scale`, shape (n, n), float64.
        axes: Principal components' scores at unit length, the leading one first, shape (n, r);
            r is the rank.
        lengths: Their lengths, shape (r,); the squares sum to 1.
    """

    width: int
    scale: float
    gram: Tensor
    axes: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, z: Tensor) -> Space:
        """Describe latents (n, D)."""
        gram = gram_matrix(z)
        scale = float(gram.trace())
        if scale > 0:
            gram /= scale
        values, vectors = torch.linalg.eigh(gram)
        # Rounding of a Gram matrix, as numpy.linalg.matrix_rank judges it.
        kept = values > len(z) * torch.finfo(torch.float64).eps * values[-1]
        return cls(z.shape[1], scale, gram, vectors[:, kept].flip(1), values[kept].sqrt().flip(0))

    @property
    def rank(self) -> int:
        """Dimensions that the items span."""
        return len(self.lengths)

    @property
    def scores(self) -> Tensor:
        """Latents in principal coordinates, at unit Frobenius norm, shape (n, r)."""
        return self.axes * self.lengths


class Similarity(ABC):
    """A measure of two spaces, with its uncertainty and its value for shuffled pairs.

    Symmetric in the two spaces up to the order in which floats are added.

    Attributes:
        lower_is_closer: Whether it is a distance.
        undefined: Why it has no value for these spaces; None where it has one.
    """

    lower_is_closer = False
    undefined: str | None = None

    @abstractmethod
    def estimate(self, resamples: Resamples) -> Estimate:
        """Return the measure on all items, with draws."""

    @abstractmethod
    def permuted(self, order: NDArray[np.int64]) -> float:
        """Return the measure once item i of `a` is paired with item ``order[i]`` of `b`."""


class CKA(Similarity):
    """Linear centred kernel alignment with the unbiased estimator of HSIC, in [-1, 1].

    1 where the spaces are equal up to rotation and scale. Its mean over test sets is near 0 for
    unrelated spaces whatever their widths, so it can be negative; the usual, biased estimator
    approaches 1 as width / n grows. It is the cosine of the two U-centred Gram matrices.

    Source: Song et al. (2012), https://jmlr.org/papers/v13/song12a.html, equation 5; use for
    CKA: Nguyen et al. (2021), https://openreview.net/forum?id=KJNcAkY8tY4
    """

    def __init__(self, a: Space, b: Space) -> None:
        self._a, self._b = _u_centred(a.gram), _u_centred(b.gram)
        self._norms = float(self._a.norm() * self._b.norm())
        if any(u.norm() <= _ROUNDING * s.gram.norm() for u, s in ((self._a, a), (self._b, b))):
            # A regular simplex, whose Gram matrix is 0 but for rounding once U-centred.
            self.undefined = "all items of a space are equally far from each other"

    def estimate(self, resamples: Resamples) -> Estimate:
        """See `Similarity.estimate`; half-samples."""
        # HSIC does not see a shift of either space: U-centred matrices stand for the plain ones.
        pairs = [(k, m, k * m) for k, m in self._pairs()]

        if self.undefined is not None:
            return Estimate(None, method=HALVES)

        def of_weights(weights: Tensor) -> Tensor:
            both, first, second = (_hsic(weights, *pair) for pair in pairs)
            return both / (first * second).sqrt()

        return resamples.of_half_weights(of_weights)

    def permuted(self, order: NDArray[np.int64]) -> float:
        """See `Similarity.permuted`."""
        # NumPy takes columns ten times as fast as torch.
        shuffled = torch.from_numpy(self._b.numpy().take(order, 0).take(order, 1))
        return float((self._a * shuffled).sum()) / self._norms

    def _pairs(self) -> tuple[tuple[Tensor, Tensor], ...]:
        return (self._a, self._b), (self._a, self._a), (self._b, self._b)


class NeighbourOverlap(Similarity):
    """Share of an item's k nearest neighbours that are its neighbours in both spaces, in [0, 1].

    Mean over items; Euclidean distances. Unrelated spaces share k / (n - 1) on average. Items
    equally far at the k-th place divide the places that are left among them: the share expected
    when such ties are broken by chance in each space on its own.

    Half-samples find neighbours among themselves, k of them again. Their spread is up to half as
    wide again as that from test set to test set; with neighbourhoods kept it would be too narrow.

    Source: Huh et al. (2024), https://arxiv.org/abs/2405.07987, who take directions of latents
    (cosine) where this takes distances
    """

    def __init__(self, a: Space, b: Space, k: int) -> None:
        self.k = k
        self._distances = _squared_distances(a.gram), _squared_distances(b.gram)
        self._a, self._b = (_neighbours(d, k) for d in self._distances)
        self._rows, self._columns = self._a.numpy().nonzero()

    def estimate(self, resamples: Resamples) -> Estimate:
        """See `Similarity.estimate`; half-samples, with the same k."""

        def of_places(places: Tensor) -> float:
            near = [self._a, self._b]
            if len(places) < len(self._a):
                near = [_neighbours(d[places][:, places], self.k) for d in self._distances]
            return float((near[0] * near[1]).sum()) / (self.k * len(places))

        return _of_halves(resamples, self.k, of_places)

    def permuted(self, order: NDArray[np.int64]) -> float:
        """See `Similarity.permuted`."""
        i, j = self._rows, self._columns
        shared = self._a.numpy()[i, j] * self._b.numpy()[order[i], order[j]]
        return float(shared.sum()) / (self.k * len(self._a))


class CanonicalCorrelation(Similarity):
    """Mean canonical correlation of the k leading principal components of each space, in [0, 1].

    1 where the two sets of components span one space of scores. With k near n it is 1 for any
    two spaces, so k has to be a small share of n.

    Half-samples find their own components, within the leading 4 k of all items': components that
    stay the same would leave out most of what changes from test set to test set.

    Source: Raghu et al. (2017), https://arxiv.org/abs/1706.05806
    """

    def __init__(self, a: Space, b: Space, k: int) -> None:
        self.k = k
        self._a, self._b = a.axes[:, :k], b.axes[:, :k]
        self._wider = a.scores[:, : _WIDER * k], b.scores[:, : _WIDER * k]

    def estimate(self, resamples: Resamples) -> Estimate:
        """See `Similarity.estimate`; half-samples."""

        def of_places(places: Tensor) -> float:
            if len(places) == len(self._a):
                return self._correlation(self._a, self._b)
            first, second = (_leading(scores[places], self.k) for scores in self._wider)
            if first is None or second is None:
                return float("nan")
            return self._correlation(first, second)

        return _of_halves(resamples, self.k, of_places)

    def permuted(self, order: NDArray[np.int64]) -> float:
        """See `Similarity.permuted`."""
        return self._correlation(self._a, self._b[torch.from_numpy(order)])

    def _correlation(self, first: Tensor, second: Tensor) -> float:
        values = torch.linalg.svdvals(first.T @ second)
        return min(1.0, float(values.sum()) / self.k)  # 1 up to rounding is 1


class Procrustes(Similarity):
    """Least distance |A - B R| over orthogonal R, in [0, sqrt 2].

    A and B are the centred latents at unit Frobenius norm, the narrower filled up with zeros. 0
    where the spaces are equal up to rotation and scale (1e-7 by rounding), sqrt 2 where no
    direction of one is correlated with any of the other. Two unrelated spaces of rank near n are
    close as well: read it beside its null.

    Draws are bootstrapped with the mean and the best rotation of all items: the distance is at
    its least there, so to first order other rotations change nothing.

    Source: Ding et al. (2021), https://arxiv.org/abs/2108.01661, who report its square
    """

    lower_is_closer = True

    def __init__(self, a: Space, b: Space) -> None:
        self._a, self._b = a.scores, b.scores

    def estimate(self, resamples: Resamples) -> Estimate:
        """See `Similarity.estimate`; bootstrap."""
        left, _, right = torch.linalg.svd(self._a.T @ self._b, full_matrices=False)
        turned = ((self._a @ left) * (self._b @ right.T)).sum(dim=1)
        lengths = self._a.square().sum(dim=1), self._b.square().sum(dim=1)

        def distance(means: Tensor) -> Tensor:
            alike = means[..., 0] / (means[..., 1] * means[..., 2]).sqrt()
            return (2 - 2 * alike).clamp(min=0).sqrt()

        return resamples.of_means(torch.stack((turned, *lengths), dim=1), distance)

    def permuted(self, order: NDArray[np.int64]) -> float:
        """See `Similarity.permuted`."""
        alike = _nuclear_norm(self._a.T @ self._b[torch.from_numpy(order)])
        return float(np.sqrt(max(0.0, 2 - 2 * alike)))


def _of_halves(resamples: Resamples, k: int, measure: Callable[[Tensor], float]) -> Estimate:
    """Estimate a measure of at least `MIN_ITEMS` and k + 1 places; NaN for smaller halves."""

    def of_places(places: Tensor) -> float:
        defined = len(places) == resamples.n_items or len(places) >= max(MIN_ITEMS, k + 1)
        return measure(places) if defined else float("nan")

    return resamples.of_halves(of_places)


def _u_centred(gram: Tensor) -> Tensor:
    """Return the matrix whose inner products are n (n - 3) times unbiased HSIC."""
    n = len(gram)
    gram = gram - gram.diag().diag()
    sums = gram.sum(dim=1)
    centred = gram - (sums[:, None] + sums) / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    return centred - centred.diag().diag()


def _hsic(weights: Tensor, first: Tensor, second: Tensor, product: Tensor) -> Tensor:
    """Return m (m - 3) times unbiased HSIC of each subset, NaN for fewer than 4 items.

    Args:
        weights: Shape (R, n), 1 for the m items of a subset and 0 for others.
        first: Inner products without diagonal, shape (n, n).
        second: The same of the other space.
        product: first * second.
    """
    m = weights.sum(dim=1)
    m = m.where(m >= MIN_ITEMS, torch.nan)
    sums = weights * (weights @ first), weights * (weights @ second)
    trace = (weights * (weights @ product)).sum(dim=1)
    totals = sums[0].sum(dim=1) * sums[1].sum(dim=1)
    crossed = (sums[0] * sums[1]).sum(dim=1)
    return trace + totals / ((m - 1) * (m - 2)) - 2 * crossed / (m - 2)


def _squared_distances(gram: Tensor) -> Tensor:
    """Return squared Euclidean distances, infinite from an item to itself, shape (n, n)."""
    squares = gram.diagonal()
    distances = squares[:, None] + squares - 2 * gram
    return distances.fill_diagonal_(torch.inf)


def _neighbours(distances: Tensor, k: int) -> Tensor:
    """Return each item's k nearest as weights, rows of sum k, shape (n, n)."""
    kth = torch.from_numpy(np.partition(distances.numpy(), k - 1, axis=1)[:, k - 1 : k].copy())
    # Distances are relative to a total of 1, so their rounding is that of 1 / n.
    rounding = _ROUNDING / len(distances)
    nearer = (distances < kth - rounding).double()
    tied = ((distances - kth).abs() <= rounding).double()
    left = k - nearer.sum(dim=1, keepdim=True)
    return nearer + tied * (left / tied.sum(dim=1, keepdim=True))


def _leading(scores: Tensor, k: int) -> Tensor | None:
    """Return the k leading principal components at unit length, (m, k); None where too few."""
    scores = scores - scores.mean(dim=0)
    values, vectors = torch.linalg.eigh(scores.T @ scores)
    if values[-k] <= _ROUNDING * values[-1]:
        return None
    leading: Tensor = scores @ vectors[:, -k:] / values[-k:].sqrt()
    return leading


def _nuclear_norm(matrix: Tensor) -> float:
    """Return the sum of singular values."""
    if min(matrix.shape) <= _FEW_COLUMNS:
        return float(torch.linalg.svdvals(matrix).sum())
    square = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return float(torch.linalg.eigvalsh(square).clamp(min=0).sqrt().sum())
