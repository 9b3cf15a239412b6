"""Pixel root mean squared error."""

import math

from torch import Tensor

from stitching.metrics.base import ImageMetric, sum_of_squares


class RMSE(ImageMetric):
    """Root of the mean squared difference over all images, channels and pixels, on the 0-1 scale.

    One root over everything, so that ``image/rmse`` squared is the mean squared error and does
    not depend on how images were batched. Features are the pixels themselves.
    """

    name = "rmse"

    @property
    def identity(self) -> str:
        """See `ImageMetric.identity`."""
        return "rmse pixels float32 [0, 1]"

    def _extract(self, x: Tensor) -> Tensor:
        return x.flatten(1)  # (n, 3, H, W) -> (n, 3 H W)

    def _score(self, reference: Tensor, stitched: Tensor) -> dict[str, float | int]:
        mean = sum_of_squares(reference, stitched) / reference.numel()
        return {"image/rmse": math.sqrt(mean)}
