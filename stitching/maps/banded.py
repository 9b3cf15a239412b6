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
import warnings
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from stitching.maps.factorisation import Factorisation
from stitching.maps.matrix import Rows, centred, column_moments
from stitching.maps.ridge import PenaltyEdgeWarning, Ridge
from stitching.maps.spectral import InterpolationWarning

#: Shares of the second block to try. Scores change little between two of them, and .9 was the best
#: of no pair of the packaged models.
SHARES = (0.1, 0.5)


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
    def of(cls, basis: Factorisation, train: Tensor, test: Tensor) -> Self:
        """Return latents in memory in their principal components.

        Args:
            basis: Factorisation of the fit latents.
            train: Fit latents, shape (N, D).
            test: Test latents, shape (n, D).
        """
        present = basis.eigenvalues > 0
        root = basis.eigenvalues[present].sqrt()
        left = [rows[:, present] * root for _, rows in basis.left_rows(train)]
        inside = basis.coordinates(test, train)[:, present]
        lengths = torch.stack([centred(x[None], basis.mean).square().sum() for x in test])
        return cls(torch.cat(left), inside, (lengths - inside.square().sum(1)).clamp(0))

    def factorisation(self, basis: Factorisation) -> Factorisation:
        """Return the factorisation of the components of `of`, without another decomposition."""
        values, width = basis.eigenvalues, self.test.shape[1]
        mean, vectors = values.new_zeros(width), basis.eigenvectors
        if not basis.dual:
            values, vectors = values[values > 0], torch.eye(width).to(vectors)
        return Factorisation(mean, values, vectors, basis.n_train)

    def errors(self, predicted: Tensor) -> Tensor:
        """Return the squared error of each test item, (n,), of predictions (n, K)."""
        found = (self.test.double() - predicted.double()).square().sum(1)
        return found if self.left_out is None else found + self.left_out


@dataclass(frozen=True, eq=False)
class BandedFit:
    """A ridge map from features, with the penalty of the best score, for one target.

    Attributes:
        fitted: The map.
        features: The features.
        target: The target.
        errors: Squared error of each test item, summed over the target's dimensions, (n,).
    """

    fitted: Ridge
    features: Features
    target: Features
    errors: Tensor

    @property
    def score(self) -> float:
        """Generalised cross-validation score per element."""
        return float(self.fitted.summary()["cv_mse"] or 0.0)

    def errors_without(self, groups: Tensor) -> Tensor:
        """Return `errors` of the map refitted without each group of fit items, shape (G, n).

        Args:
            groups: Group of each fit item, shape (N,), see `SpectralMap.without_groups`.
        """
        source, target = self.features.train, self.target.train
        assert isinstance(source, Tensor)  # not streamed
        assert isinstance(target, Tensor)
        predicted = self.fitted.predict(self.features.test)
        changes = self.fitted.without_groups(source, target, self.features.test, groups)
        return torch.stack([self.target.errors(predicted + change) for _, change in changes])


def fit_banded(basis: Factorisation, features: Features, target: Features) -> BandedFit:
    """Fit ridge regression, its penalty chosen over all of the target's dimensions together.

    Args:
        basis: Factorisation of `features.train`: one block, or two that were `joined`.
        features: The source side.
        target: Of the same items.

    Example:
        >>> pixels, latents, target = (Features.of(*x) for x in (first, second, third))
        >>> both = [pixels, *(joined(pixels, latents, share) for share in SHARES)]
        >>> fits = [fit_banded(factorise(x.train), x, target) for x in both]
        >>> best = min(fits, key=lambda fit: fit.score)
        >>> 1 - best.errors.sum() / fits[0].errors.sum()  # share of what pixels leave
    """
    with warnings.catch_warnings():  # a candidate, of which no measure is shown
        warnings.simplefilter("ignore", InterpolationWarning)
        warnings.simplefilter("ignore", PenaltyEdgeWarning)
        fitted = Ridge(flat_tolerance=0, chunk=features.chunk).fit(
            features.train, target.train, basis
        )
    return BandedFit(fitted, features, target, target.errors(fitted.predict(features.test)))


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
