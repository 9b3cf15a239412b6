"""Improved precision and recall: the share of one set within the balls of the other.

Source: Kynkäänniemi, Karras, Laine, Lehtinen, Aila (2019), arXiv 1904.06991
"""

import torch
from torch import Tensor

from stitching.metrics.base import FeatureMetric, FeatureSpace
from stitching.metrics.resampling import Resamples, Scores

#: Distances between features are squared sums in float32's precision: a millionth of the largest
#: norm apart (squared: this) is no distance. It matters where features are repeated, radius 0.
_TIE = 1e-12

#: Elements of a block of distances (32 MiB in float64).
_ELEMENTS = 2**22


class PrecisionRecall(FeatureMetric):
    """Improved precision and recall of stitched images.

    The reach of a set is the union of balls around its features, each as large as the distance
    to the k-th nearest other one. ``image/precision`` is the share of stitched images in the
    reach of the references (do they look real?), ``image/recall`` the share of references in the
    reach of the stitched images (are all kinds there?). Both depend on the number of images,
    ``image/precision_recall_n``, and on k, ``image/precision_recall_k``.

    The intervals are by bootstrap of the images for fixed balls: they leave out that another
    sample would have other balls.
    """

    def __init__(self, space: FeatureSpace, k: int) -> None:
        """Store features and number of neighbours.

        Args:
            space: Features; the paper's are of VGG.
            k: Neighbours, at least 1; the paper's is 3. A side needs at least k + 1 images.

        Raises:
            ValueError: `k` is below 1.
        """
        if k < 1:
            raise ValueError(f"metric.precision_recall.k must be >= 1, got {k}")
        super().__init__(space, "precision_recall")
        self.k = k
        self.minimum = k + 1

    def _score(self, reference: Tensor, stitched: Tensor, resamples: Resamples) -> Scores:
        x, y = (side.flatten(1).double() for side in (reference, stitched))
        centre = x.mean(dim=0)  # distances stay, and lose fewer digits
        x, y = x - centre, y - centre
        return {
            "image/precision": resamples.mean(within_reach(x, y, self.k)),
            "image/recall": resamples.mean(within_reach(y, x, self.k)),
            "image/precision_recall_n": len(x),
            "image/precision_recall_k": self.k,
        }


def within_reach(x: Tensor, points: Tensor, k: int) -> Tensor:
    """Return which points lie in the reach of a set.

    Args:
        x: Shape (n, d), float64, n > k: the set.
        points: Shape (m, d), float64.
        k: A row of x reaches as far as its k-th nearest other row.

    Returns:
        1.0 or 0.0 for each point, (m,) float64.
    """
    largest = torch.cat((x, points)).square().sum(dim=1).max()
    radii = []
    for places in torch.arange(len(x)).split(_rows(x)):
        squares = _squared_distances(x[places], x)
        squares[torch.arange(len(places)), places] = torch.inf  # a row is no neighbour of itself
        radii.append(squares.kthvalue(k, dim=1).values)
    reach = torch.cat(radii) + _TIE * largest
    parts = [_squared_distances(part, x) <= reach for part in points.split(_rows(x))]
    return torch.cat([part.any(dim=1) for part in parts]).double()


def _rows(x: Tensor) -> int:
    return max(1, _ELEMENTS // len(x))


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    squares = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    return squares - 2 * a @ b.T
