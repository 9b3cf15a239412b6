"""Structural similarity of images.

Source: Wang, Bovik, Sheikh, Simoncelli (2004), doi:10.1109/TIP.2003.819861
"""

import torch
from torch import Tensor

from stitching.compute.batching import in_fixed_batches
from stitching.metrics.base import CHUNK, FeatureMetric
from stitching.metrics.pixel import Pixels
from stitching.metrics.resampling import Resamples, Scores

#: The paper's window: a Gaussian of 1.5 pixels on 11 x 11.
SIGMA = 1.5
RADIUS = 5

#: The paper's constants K_1 and K_2, squared, for values in [0, 1].
_C1 = 0.01**2
_C2 = 0.03**2


class SSIM(FeatureMetric):
    """Mean structural similarity of each stitched image and its reference, 1 for equal images.

    As in the paper: a Gaussian window of 1.5 pixels, weighted (biased) variances, and only
    windows that lie inside the image; the channels' similarities are averaged. The interval is
    by bootstrap of the images.
    """

    smallest_image = 2 * RADIUS + 1

    def __init__(self) -> None:
        super().__init__(Pixels(), "ssim")

    def _score(self, reference: Tensor, stitched: Tensor, resamples: Resamples) -> Scores:
        pairs = torch.stack((reference, stitched), dim=1)  # (N, 2, 3, H, W)
        scores = in_fixed_batches(_of_pairs, pairs, CHUNK, parallel=True)
        return {"image/ssim": resamples.mean(scores)}


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return the structural similarity of each pair of images.

    In float64: in float32 the variances of flat, bright areas are rounding, and an image is as
    little as 0.997 similar to itself.

    Args:
        a: Shape (n, C, H, W), values in [0, 1].
        b: Same shape and range.

    Returns:
        Shape (n,), float64.

    Raises:
        ValueError: Shapes differ, or a side has fewer than 11 pixels.
    """
    if a.ndim != 4 or a.shape != b.shape:
        raise ValueError(
            f"structural similarity needs two sets of one shape (n, C, H, W), got "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    side = SSIM.smallest_image
    if min(a.shape[2:]) < side:
        raise ValueError(
            f"image/ssim needs images of at least {side} x {side} pixels, got {a.shape[2]} x "
            f"{a.shape[3]}: use larger images or leave this metric out"
        )
    a, b = a.double(), b.double()
    stacked = torch.cat((a, b, a * a, b * b, a * b))
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = _blurred(stacked).split(len(a))
    product, squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    likeness = (2 * product + _C1) * (2 * (mean_ab - product) + _C2)
    places: Tensor = likeness / ((squares + _C1) * (mean_aa + mean_bb - squares + _C2))
    return places.mean(dim=(1, 2, 3))


def _of_pairs(pairs: Tensor) -> Tensor:
    a, b = (pairs.double() / 255).unbind(1)
    return structural_similarity(a, b)


def _blurred(x: Tensor) -> Tensor:
    """Average over the windows inside each image: (..., H, W) -> (..., W - 10, H - 10).

    As matrix products, which take a sixth of the time of convolutions in float64. The result lies
    transposed, which makes no difference to a mean over places.
    """
    rows = (x @ _window_matrix(x.shape[-1])).transpose(-1, -2)
    return rows @ _window_matrix(rows.shape[-1])


def _window_matrix(n: int) -> Tensor:
    """Return the matrix (n, n - 10) whose column i averages around place i + 5."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    window /= window.sum()
    matrix = torch.zeros(n, n - 2 * RADIUS, dtype=torch.float64)
    for place in range(n - 2 * RADIUS):
        matrix[place : place + len(window), place] = window
    return matrix
