"""Pixel errors: root mean squared error and peak signal-to-noise ratio."""

import torch
from torch import Tensor

from stitching.metrics.base import FeatureMetric, FeatureSpace, squared_distances
from stitching.metrics.resampling import Resamples, Scores


class Pixels(FeatureSpace):
    """The pixels themselves, bytes of shape (n, 3, H, W)."""

    name = "pixels"
    dtype = torch.uint8

    @property
    def identity(self) -> str:
        """Cache key."""
        return "pixels uint8"

    def _extract(self, x: Tensor) -> Tensor:
        return x


class RMSE(FeatureMetric):
    """Root of the mean squared difference over all images, channels and pixels, on the 0-1 scale.

    One root over everything, so that ``image/rmse`` squared is the mean squared error and does
    not depend on how images were batched. The interval is by bootstrap of the images.
    """

    def __init__(self) -> None:
        super().__init__(Pixels(), "rmse")

    def _score(self, reference: Tensor, stitched: Tensor, resamples: Resamples) -> Scores:
        errors = squared_errors(reference, stitched)
        return {"image/rmse": resamples.of_means(errors, lambda means: means[..., 0].sqrt())}


class PSNR(FeatureMetric):
    """Peak signal-to-noise ratio in dB, -10 log10 of the mean squared error on the 0-1 scale.

    Pooled: one mean over all images, channels and pixels, as torchmetrics' default; a mean of
    the images' own ratios would be larger. Where all images are equal it is undefined:
    ``image/psnr`` is None, the reason in ``image/psnr_missing``. The interval is by bootstrap of
    the images.
    """

    def __init__(self) -> None:
        super().__init__(Pixels(), "psnr")

    def _score(self, reference: Tensor, stitched: Tensor, resamples: Resamples) -> Scores:
        errors = squared_errors(reference, stitched)

        def decibels(means: Tensor) -> Tensor:
            mse = means[..., 0]
            return torch.where(mse > 0, -10 * mse.log10(), torch.nan)

        estimate = resamples.of_means(errors, decibels)
        if estimate.value is not None:
            return {"image/psnr": estimate}
        reason = "stitched and reference images are equal, so the ratio is infinite"
        return {"image/psnr": estimate, "image/psnr_missing": reason}


def squared_errors(reference: Tensor, stitched: Tensor) -> Tensor:
    """Return each image's mean squared error on the 0-1 scale, (N, 1) float64, of bytes."""
    sums = squared_distances(reference, stitched)
    return sums[:, None] / (255**2 * reference[0].numel())
