"""Ridge regression on two blocks of features with a penalty for each: banded ridge.

With features P and Z, each scaled to a total variance of 1, the penalised fit is

    min |T - P A - Z B|^2 + alpha (|A|^2 / (1 - share) + |B|^2 / share)

For one share this is ridge regression on the columns [sqrt(1 - share) P, sqrt(share) Z], so one
factorisation serves all penalties and targets.

Latents in memory are given by their principal components (`Features.of`): at most N - 1 columns
with the same inner products, whatever the width of a latent.

Source: Nunez-Elizalde, Huth and Gallant (2019), doi:10.1016/j.neuroimage.2019.04.012
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from stitching.maps.factorisation import Factorisation, factorise
from stitching.maps.matrix import Rows, centred, column_moments
from stitching.maps.ridge import Ridge
from stitching.maps.selection import Problem, gcv_scores

#: Shares of the second block to try. Scores change little between two of them.
SHARES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, eq=False)
class Features:
    """Features of the fit items and of the test items.

    Attributes:
        train: Shape (N, K), in memory or read by rows.
        test: Shape (n, K).
        left_out: Squared length of the part of each test item that is orthogonal to all K
            directions, shape (n,); None where the features are the latents themselves.
        chunk: Rows read at a time; None for features in memory.
    """

    train: Rows
    test: Tensor
    left_out: Tensor | None = None
    chunk: int | None = None

    @classmethod
    def of(cls, basis: Factorisation, train: Rows, test: Tensor) -> Self:
        """Return latents in their principal components; streamed latents as they are.

        Args:
            basis: Factorisation of the fit latents.
            train: Fit latents, shape (N, D).
            test: Test latents, shape (n, D).
        """
        if basis.chunk is not None:
            return cls(train, test, chunk=basis.chunk)
        assert isinstance(train, Tensor)
        present = basis.eigenvalues > 0
        root = basis.eigenvalues[present].sqrt()
        left = [rows[:, present] * root for _, rows in basis.left_rows(train)]
        inside = basis.coordinates(test, train)[:, present]
        lengths = torch.stack([centred(x[None], basis.mean).square().sum() for x in test])
        return cls(torch.cat(left), inside, (lengths - inside.square().sum(1)).clamp(0))


@dataclass(frozen=True, eq=False)
class Banded:
    """Features of the source side, factorised.

    Attributes:
        basis: Factorisation of the features, without a copy of them.
        features: The features.
        coordinates: Of the test items in the basis, shape (n, K), float64.
    """

    basis: Factorisation
    features: Features
    coordinates: Tensor

    @classmethod
    def of(cls, features: Features) -> Self:
        """Factorise one block, or two that were `joined`."""
        basis = factorise(features.train, features.chunk)
        source = features.train if isinstance(features.train, Tensor) else None
        coordinates = basis.coordinates(features.test, source)
        slim = Factorisation.from_tensors(basis.to_tensors(), basis.chunk)
        return cls(slim, features, coordinates)


@dataclass(frozen=True, eq=False)
class BandedFit:
    """The best of some candidates with its penalty, for one target.

    Attributes:
        place: Of the candidate.
        alpha: The penalty, in units of the features.
        score: Cross-validation score per element.
        errors: Squared error of each test item, summed over the target's dimensions, (n,).
    """

    place: int
    alpha: float
    score: float
    errors: Tensor


def fit_banded(candidates: Iterable[Banded], target: Features) -> BandedFit:
    """Choose candidate and penalty by generalised cross-validation, pooled over the target.

    Args:
        candidates: Factorised features; of equal scores the first wins.
        target: Of the same items.

    Raises:
        ValueError: There is no candidate.

    Example:
        >>> pixels, latents, target = (Features.of(*x) for x in (first, second, third))
        >>> alone = fit_banded([Banded.of(pixels)], target)
        >>> both = (Banded.of(joined(pixels, latents, share)) for share in SHARES)
        >>> joint = min(alone, fit_banded(both, target), key=lambda fit: fit.score)
        >>> 1 - joint.errors.sum() / alone.errors.sum()  # share of what pixels leave
    """
    fits = (_fit(place, banded, target) for place, banded in enumerate(candidates))
    best = min(fits, key=lambda fit: fit.score, default=None)
    if best is None:
        raise ValueError("banded ridge needs at least one block of features")
    return best


def _fit(place: int, banded: Banded, target: Features) -> BandedFit:
    basis = banded.basis
    problem = Problem.of(basis, banded.features.train, target.train)
    alphas = Ridge().grid(basis)
    scored = gcv_scores(problem, alphas, pooled=True)[:, 0]
    best = len(alphas) - 1 - int(scored.flip(0).argmin())  # of equals the largest, as `Ridge`
    weights = problem.rotated.double() * basis.shrinkage(alphas[[best]])
    predicted = banded.coordinates @ weights + problem.mean
    errors = (target.test.to(predicted) - predicted).square().sum(1)
    if target.left_out is not None:
        errors += target.left_out
    return BandedFit(place, float(alphas[best]), float(scored[best]), errors)


def joined(first: Features, second: Features, share: float) -> Features:
    """Put two blocks side by side, of which the second has a share of the total variance.

    Raises:
        ValueError: `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share}: give one between 0 and 1, without its ends")
    weights = (math.sqrt(1 - share) / _spread(first), math.sqrt(share) / _spread(second))
    train: Rows = _Columns((first.train, second.train), weights)
    if first.chunk is None:
        train = train[:]
    test = torch.cat([x.test * w for x, w in zip((first, second), weights, strict=True)], 1)
    return Features(train, test, chunk=first.chunk)


@dataclass(frozen=True, eq=False)
class _Columns:
    """Two matrices side by side, each times a weight, read by rows."""

    parts: tuple[Rows, Rows]
    weights: tuple[float, float]

    @property
    def shape(self) -> torch.Size:
        return torch.Size([self.parts[0].shape[0], sum(part.shape[1] for part in self.parts)])

    @property
    def dtype(self) -> torch.dtype:
        return torch.promote_types(*(part.dtype for part in self.parts))

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    def __getitem__(self, rows: slice, /) -> Tensor:
        found = zip(self.parts, self.weights, strict=True)
        return torch.cat([(part[rows] * weight).to(self.dtype) for part, weight in found], 1)


def _spread(features: Features) -> float:
    """Return the root of the total variance; 1 for features that do not vary."""
    squares = column_moments(features.train, features.chunk)[1]
    return math.sqrt(float(squares.sum()) / features.train.shape[0]) or 1.0
