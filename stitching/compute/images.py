"""Conversions between value ranges of images.

Between modules an image batch is float32, shape (N, 3, H, W), RGB, in [0, 1]. Models with another
range convert with `rescale`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

#: A float image may leave [0, 1] by this much (rounding of a range conversion) and is clamped.
RANGE_TOLERANCE = 1e-3


def to_unit(x: Tensor) -> Tensor:
    """Return images as float32 in [0, 1].

    Args:
        x: Shape (N, 3, H, W), uint8 in 0..255 or floating point in [0, 1].

    Returns:
        Float32 tensor of the same shape; float input is clamped to [0, 1].

    Raises:
        TypeError: Neither uint8 nor floating point.
        ValueError: Wrong shape, a value is not finite, or lies outside [0, 1] by more than
            `RANGE_TOLERANCE`, as in images in [-1, 1] or floats in 0..255.
    """
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"images must have shape (N, 3, H, W), got {tuple(x.shape)}")
    if x.dtype == torch.uint8:
        return x.to(torch.float32) / 255
    if not x.is_floating_point():
        raise TypeError(f"images must be uint8 or floating point, got {x.dtype}")
    x = x.to(torch.float32)
    if x.numel() == 0:
        return x
    low, high = float(x.amin()), float(x.amax())
    # NaN fails both comparisons, infinities one of them.
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):
        raise ValueError(
            f"float images must lie in [0, 1] and be finite, got values from {low:.4g} to "
            f"{high:.4g}: convert them with stitching.compute.images.rescale first"
        )
    return x.clamp(0, 1)


def to_uint8(x: Tensor) -> Tensor:
    """Return images as bytes: clamped to [0, 1], times 255, rounded half up.

    Args:
        x: Shape (N, 3, H, W), float in [0, 1], or uint8 (returned unchanged).

    Raises:
        TypeError, ValueError: As `to_unit`.
    """
    return (to_unit(x) * 255 + 0.5).floor().to(torch.uint8)


def quantise(x: Tensor) -> tuple[Tensor, float]:
    """Return images as bytes, and the share of values that were clamped.

    All measures, picture files and feature networks take a decoder's output in this form.

    Args:
        x: Shape (N, 3, H, W), float on the 0-1 scale, not limited to [0, 1], or uint8.

    Returns:
        uint8 of the same shape: clamped to [0, 1], times 255, rounded half up. And the share of
        values outside [0, 1] by more than `RANGE_TOLERANCE`.

    Raises:
        TypeError: As `to_unit`.
        ValueError: A value is not finite.
    """
    if x.dtype == torch.uint8:
        return x, 0.0
    if not bool(x.isfinite().all()):
        raise ValueError("images with values that are not finite cannot be turned into bytes")
    clamped = x.clamp(0, 1)
    outside = (x.float() - clamped).abs() > RANGE_TOLERANCE
    share = float(outside.double().mean()) if x.numel() else 0.0
    return to_uint8(clamped), share


def rescale(x: Tensor, source: tuple[float, float], target: tuple[float, float]) -> Tensor:
    """Map values linearly so that the range `source` becomes the range `target`.

    Args:
        x: Any shape, floating point.
        source: Lowest and highest value of the range of x.
        target: Lowest and highest value of the range of the result.

    Raises:
        ValueError: A range is empty or reversed.
    """
    for low, high in (source, target):
        if not low < high:
            raise ValueError(f"a value range needs low < high, got [{low}, {high}]")
    scale = (target[1] - target[0]) / (source[1] - source[0])
    return (x - source[0]) * scale + target[0]


def detail_weighted(x: Tensor, weights: Sequence[float]) -> Tensor:
    """Weigh the details of images by the resolution at which they appear.

    With k weights an image is the sum of its area average at 1 / 2^(k - 1) of its resolution and
    of what each doubling of the resolution adds to that; each part is multiplied by its weight.
    The result is linear in the pixels.

    Args:
        x: Shape (N, 3, S, S), floating point.
        weights: From the coarsest resolution to the full one.

    Returns:
        The same shape; x itself for weights that are all 1.
    """
    if all(weight == 1 for weight in weights):
        return x
    # The sum over parts, ordered by averages: an average has the weight of its own part less that
    # of the next finer one. Averages of equal weights are left out.
    size, last = x.shape[-1], len(weights) - 1
    out = weights[last] * x
    for place in range(last):
        step = weights[place] - weights[place + 1]
        if step:
            cells = max(1, size >> (last - place))
            mean = functional.adaptive_avg_pool2d(x, cells)
            out += step * functional.interpolate(mean, size=size, mode="nearest")
    return out
