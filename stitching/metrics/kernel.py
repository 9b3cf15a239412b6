"""Kernel distance between two sets of image features; with Inception features, KID.

Source: Bińkowski, Sutherland, Arbel, Gretton (2018), arXiv 1801.01401; the estimators are those
of Gretton et al. (2012), Journal of Machine Learning Research 13, 723-773.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from stitching.metrics.base import FeatureMetric, require_finite
from stitching.metrics.resampling import Resamples, Scores

#: Up to this many images are taken as one set; of more, subsets, to bound memory and time.
_WHOLE = 2000
#: Images of a subset, as in the KID paper.
_SUBSET = 1000


class KernelDistance(FeatureMetric):
    """Squared maximum mean discrepancy of the features, with KID's cubic polynomial kernel.

    Unbiased for any number of images, unlike a Fréchet distance; it may be negative. Up to
    2000 images it is `kernel_distance` of all; of more, the mean over seeded subsets of 1000 that
    together hold every image. Results: ``image/<name>``, with an interval by half-samples;
    ``image/<name>_n`` (images per side), ``image/<name>_dim``, ``image/<name>_subset`` (images per
    subset).

    Libraries assume that the two sides are independent. Here they are images of the same items,
    which lie closer together than those of different items, so that an image and its own
    reference must not be compared: otherwise good images get values below zero. The libraries'
    estimate is lower by ``image/<name>_pairing``.
    """

    minimum = 2

    def _score(self, reference: Tensor, stitched: Tensor, resamples: Resamples) -> Scores:
        x, y = (side.flatten(1).double() for side in (reference, stitched))
        n, dim = x.shape
        subsets = _subsets(n, resamples.seed)
        whole = _Kernels(x, y) if len(subsets) == 1 else None

        def kernels() -> Iterator[tuple[Tensor, _Kernels]]:
            # Kernels of many subsets are computed anew rather than kept: 24 MB each.
            for rows in subsets:
                yield rows, whole or _Kernels(x[rows], y[rows])

        def distances(weights: Tensor) -> Tensor:
            return torch.stack([k.distances(weights[:, rows]) for rows, k in kernels()]).mean(0)

        key = f"image/{self.name}"
        return {
            key: resamples.of_half_weights(distances),
            f"{key}_n": n,
            f"{key}_dim": dim,
            f"{key}_subset": len(subsets[0]),
            f"{key}_pairing": float(np.mean([k.pairing for _, k in kernels()])),
        }


def kernel_distance(reference_features: Tensor, features: Tensor, paired: bool = False) -> float:
    """Squared maximum mean discrepancy with the kernel (x . y / d + 1)^3.

    The mean kernel within each side, over different rows, less twice the mean kernel across.

    Args:
        reference_features: Shape (N, d).
        features: Shape (N, d).
        paired: Whether row i of both is of one item. The mean across is then over different
            items, which is unbiased, and exactly 0 for equal sides; otherwise it is over all
            rows, which is unbiased for independent sides, and what libraries compute as KID.

    Returns:
        The estimate, computed in float64.

    Raises:
        ValueError: Fewer than 2 rows on a side, shapes differ, or a value is not finite.
    """
    x, y = reference_features, features
    if x.ndim != 2 or len(x) < 2 or x.shape != y.shape:
        raise ValueError(
            f"the kernel distance needs two feature sets of one shape (N, d) with N >= 2, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    require_finite(x, "the reference features")
    require_finite(y, "the features")
    kernels = _Kernels(x.detach().cpu().double(), y.detach().cpu().double())
    distance = float(kernels.distances(torch.ones(1, len(x), dtype=torch.float64)))
    return distance if paired else distance - kernels.pairing


class _Kernels:
    """Kernels within and across two feature sets of n pairs."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._xx, self._yy, self._xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)

    def distances(self, weights: Tensor) -> Tensor:
        """Return the estimates for the pairs of weight 1; shapes (R, n) -> (R,)."""

        def mean(kernel: Tensor) -> Tensor:
            """Over different items."""
            total = ((weights @ kernel) * weights).sum(dim=1) - weights @ kernel.diagonal()
            return total / (count * (count - 1))

        count = weights.sum(dim=1)
        values = mean(self._xx) + mean(self._yy) - 2 * mean(self._xy)
        return torch.where(count > 1, values, torch.nan)

    @property
    def pairing(self) -> float:
        """Amount by which comparing each row with its own partner too lowers the estimate."""
        n, own = len(self._xy), self._xy.trace()
        others = (self._xy.sum() - own) / (n * (n - 1))
        return float(2 / n * (own / n - others))


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _subsets(n: int, seed: int) -> list[Tensor]:
    """Return the rows of each subset: all, or subsets of one size that hold every row."""
    if n <= _WHOLE:
        return [torch.arange(n)]
    order = np.random.Generator(np.random.PCG64([seed, n])).permutation(n)
    starts = range(0, n, _SUBSET)
    # The last one is filled up from the beginning of the order.
    return [torch.from_numpy(order[np.arange(s, s + _SUBSET) % n]) for s in starts]
