"""Fréchet distance between two sets of image features.

Source: Dowson and Landau (1982), doi:10.1016/0047-259X(82)90077-X; as FID, Heusel et al. (2017),
arXiv 1706.08500; extrapolation: Chong and Forsyth (2020), arXiv 1911.07023.
"""

import warnings

import numpy as np
import torch
from torch import Tensor

from stitching.compute.batching import in_fixed_batches
from stitching.metrics.base import FeatureMetric, require_finite
from stitching.metrics.resampling import HALVES, Estimate, Resamples, Scores, undefined

#: Random splits of the reference images that the floor is the mean of.
_FLOOR_SPLITS = 5

#: Images per feature from which on the distance is linear in 1 / n. With fewer it is not: the
#: extrapolated value then stays far too large.
_LINEAR_FROM = 2

#: Images of which a quarter has a covariance.
_FEWEST = 8


class SmallSampleWarning(UserWarning):
    """A Fréchet distance rests on no more images than it has feature dimensions."""


class FrechetDistance(FeatureMetric):
    """Fréchet distance between the features of reference and stitched images.

    With `Inception` features it is FID. An estimate from n images is too large by an amount that
    falls with n and grows with the features' dimension, so it is the distance at this n, and
    values of equal counts alone can be compared. Results: ``image/<name>``, with an interval of
    the distance at n by half-samples; ``image/<name>_n`` (images per side);
    ``image/<name>_dim``; and ``image/<name>_floor``, the mean distance between two disjoint
    random halves of the reference images, which is what estimation alone makes of n / 2 images
    of one distribution.

    ``image/<name>_extrapolated`` estimates the distance at infinite n, on the line in 1 / n
    through n images and its half-samples, 2 F(n) - F(n / 2), with an interval by half-samples of
    the same for n / 2 and n / 4. With fewer than two images per feature the distance is not
    linear in 1 / n, and this is None, with the reason in ``image/<name>_extrapolated_missing``.
    """

    minimum = 2

    def _score(self, reference: Tensor, stitched: Tensor, resamples: Resamples) -> Scores:
        x, y = (side.flatten(1).double() for side in (reference, stitched))
        n, dim = x.shape
        if n <= dim:
            warnings.warn(
                f"image/{self.name} rests on {n} images per side in {dim} dimensions: most of it "
                f"may be estimation bias, so compare values of equal counts only",
                SmallSampleWarning,
                stacklevel=3,
            )
        pairs = _Pairs(x, y)

        def distances(weights: Tensor) -> Tensor:
            # One decomposition is too small for two threads: they would wait for each other.
            return in_fixed_batches(pairs.distance, weights, 1, parallel=True)

        key = f"image/{self.name}"
        value = float(distances(torch.ones(1, n, dtype=torch.float64)))
        halves = resamples.halves.double()
        at_half = distances(halves).numpy() if len(halves) else None
        scores: Scores = {
            key: Estimate(value, None, HALVES)
            if at_half is None
            else resamples.around(value, at_half),
            f"{key}_n": n,
            f"{key}_dim": dim,
        }
        if n < (fewest := max(_FEWEST, _LINEAR_FROM * dim)):
            reason = (
                f"{n} images are fewer than {fewest}, {_LINEAR_FROM} for each of {dim} features: "
                "the distance is not linear in 1 / n"
            )
            scores |= undefined(f"{key}_extrapolated", reason)
        elif at_half is not None:
            parts = [distances(part).numpy() for part in _parted(halves, resamples.seed)]
            slopes = 2 * at_half - (parts[0] + parts[1]) / 2
            whole = 2 * value - float(np.nanmean(at_half))
            scores[f"{key}_extrapolated"] = resamples.around(whole, slopes)
        if n >= 4:
            return scores | {f"{key}_floor": _floor(x, resamples.seed)}
        reason = f"two halves of at least 2 images need at least 4 images, got {n}"
        return scores | undefined(f"{key}_floor", reason)


def frechet_distance(reference_features: Tensor, features: Tensor) -> float:
    """Fréchet distance between the Gaussians fitted to two feature sets.

    |mu_1 - mu_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^(1/2), with unbiased covariances. The last
    trace is the nuclear norm of X Y^T / sqrt((N_1 - 1)(N_2 - 1)) for centred X (N_1, d) and
    Y (N_2, d), so neither a d x d covariance nor a matrix root is formed, and any number of
    samples above one will do. The estimate is biased upwards, strongly when N <= d.

    Args:
        reference_features: Shape (N_1, d).
        features: Shape (N_2, d).

    Returns:
        The distance in squared feature units, computed in float64; never negative.

    Raises:
        ValueError: Fewer than 2 rows on a side, widths differ, or a value is not finite.
    """
    for side in (reference_features, features):
        if side.ndim != 2 or len(side) < 2 or side.shape[1] != reference_features.shape[1]:
            raise ValueError(
                f"the Fréchet distance needs at least 2 rows per side and equal widths, got "
                f"feature sets of shape {tuple(reference_features.shape)} and "
                f"{tuple(features.shape)}"
            )
    require_finite(reference_features, "the reference features")
    require_finite(features, "the features")
    x = reference_features.detach().cpu().double()
    y = features.detach().cpu().double()
    shift = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    x, y = _centred_factor(x), _centred_factor(y)
    return _distance(shift, x, y)


class _Pairs:
    """Features of pairs of images, prepared for distances between the sides of some pairs."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        means = x.mean(dim=0), y.mean(dim=0)
        self._x, self._y = x - means[0], y - means[1]
        self._shift = means[0] - means[1]
        # Where a half has no more rows than columns, its own product is a part of this one.
        small = len(x) // 2 <= x.shape[1]
        self._products = self._x @ self._y.T if small else None

    def distance(self, weights: Tensor) -> Tensor:
        """Return the distance between the pairs of weight 1; shapes (1, n) -> (1,)."""
        rows = weights[0].nonzero().flatten()
        if len(rows) < 2:
            return weights.new_tensor([torch.nan])
        x, y = self._x[rows], self._y[rows]
        shift = (self._shift + x.mean(dim=0) - y.mean(dim=0)).square().sum()
        if self._products is None or len(rows) > x.shape[1]:
            value = _distance(shift, _centred_factor(x), _centred_factor(y))
        else:
            product = self._products[rows][:, rows]
            product = product - product.mean(dim=0)
            product = (product - product.mean(dim=1, keepdim=True)) / (len(rows) - 1)
            value = _distance(shift, _centred(x), _centred(y), product)
        return weights.new_tensor([value])


def _parted(halves: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return two disjoint random halves of the items of each row of weights 0 and 1."""
    generator = np.random.Generator(np.random.PCG64([seed, halves.shape[1], 3]))
    first = torch.zeros_like(halves)
    for row, held in zip(first, halves, strict=True):
        places = held.nonzero().flatten().numpy()
        row[torch.from_numpy(generator.permutation(places)[: len(places) // 2])] = 1
    return first, halves - first


def _floor(x: Tensor, seed: int) -> float:
    """Return the mean distance between two random halves of x, over a few splits."""
    generator = np.random.Generator(np.random.PCG64([seed, len(x)]))
    half = len(x) // 2
    orders = [generator.permutation(len(x)) for _ in range(_FLOOR_SPLITS)]

    def distance(order: Tensor) -> Tensor:
        first, second = x[order[0, :half]], x[order[0, half : 2 * half]]
        return x.new_tensor([frechet_distance(first, second)])

    return float(in_fixed_batches(distance, torch.from_numpy(np.array(orders)), 1, True).mean())


def _centred(x: Tensor) -> Tensor:
    """Return F with F^T F the unbiased covariance of x, of the same shape."""
    centred: Tensor = (x - x.mean(dim=0)) / (len(x) - 1) ** 0.5
    return centred


def _centred_factor(x: Tensor) -> Tensor:
    """Return F with F^T F the unbiased covariance of x, with at most d rows."""
    centred = _centred(x)
    if len(centred) > centred.shape[1]:
        # An orthogonal factor changes no singular value of the product below.
        triangle: Tensor = torch.linalg.qr(centred, mode="r").R
        return triangle
    return centred


def _distance(shift: Tensor, x: Tensor, y: Tensor, product: Tensor | None = None) -> float:
    """Return the distance from |mu_1 - mu_2|^2 and the factors of the covariances, S = F^T F.

    `product` is x y^T or any other matrix with its singular values.
    """
    cross = torch.linalg.svdvals(x @ y.T if product is None else product).sum()
    # Not negative in exact arithmetic; equal sides leave rounding noise of either sign.
    return max(0.0, float(shift + x.square().sum() + y.square().sum() - 2 * cross))
