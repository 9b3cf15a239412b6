"""The discriminator of StyleGAN2: residual blocks and minibatch standard deviation.

Unlike the published network, for speed on a CPU, it folds images into patches first and halves
resolutions by averages of 2 x 2 in place of a wider filter.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from stitching.models.stylegan2 import GAIN, Dense

#: Added under the root of the minibatch standard deviation, for a finite gradient at zero.
_EPSILON = 1e-8


class Conv(nn.Module):
    """A convolution of odd kernel size whose weights are scaled when used, not initialised."""

    def __init__(self, n_in: int, n_out: int, kernel: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        self.scale = 1 / math.sqrt(n_in * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, n_in, H, W) to (N, n_out, H, W)."""
        padding = self.weight.shape[-1] // 2
        return functional.conv2d(x, self.weight * self.scale, self.bias, padding=padding)


class ResidualBlock(nn.Module):
    """Two convolutions and a linear skip, which both halve the resolution."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv0 = Conv(n_in, n_in, 3)
        self.conv1 = Conv(n_in, n_out, 3)
        self.skip = Conv(n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, n_in, H, W) to (N, n_out, H / 2, W / 2)."""
        y = functional.avg_pool2d(_activate(self.conv0(x)), 2)
        y = _activate(self.conv1(y))
        skip: Tensor = self.skip(functional.avg_pool2d(x, 2))
        return (y + skip) / math.sqrt(2)


class Discriminator(nn.Module):
    """Classifies images as real or generated.

    Args:
        image_size: A power of two, at least 8.
        channel_base: A block at r pixels has min(channel_base / r, channel_max) channels.
        channel_max: Largest number of channels.
        patch_size: Side of the patches that are folded into channels, a power of two.
        group_size: Images that share one minibatch standard deviation.

    Raises:
        ValueError: An option is out of range.

    Source: Karras et al. (2020), arXiv 1912.04958; minibatch standard deviation: Karras et al.
    (2018), arXiv 1710.10196.
    """

    def __init__(
        self,
        image_size: int,
        channel_base: int,
        channel_max: int,
        patch_size: int,
        group_size: int,
    ) -> None:
        super().__init__()
        size = image_size // patch_size if patch_size > 0 else 0
        if size < 4 or size & (size - 1) or size * patch_size != image_size:
            raise ValueError(
                f"discriminator.patch_size must divide the image of {image_size} pixels into a "
                f"power of two of patches, at least 4, got {patch_size}"
            )
        if min(channel_base // size, channel_max) < 1 or group_size < 1:
            raise ValueError(
                f"a discriminator needs channel_base >= {size}, channel_max >= 1 and group_size "
                f">= 1, got {channel_base}, {channel_max} and {group_size}"
            )
        self.patch_size, self.group_size = patch_size, group_size
        sizes = [2**power for power in range(size.bit_length() - 1, 1, -1)]  # size, ..., 8, 4
        widths = [min(channel_base // side, channel_max) for side in sizes]
        self.from_rgb = Conv(3 * patch_size**2, widths[0], 1)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in pairwise(widths)))
        self.conv = Conv(widths[-1] + 1, widths[-1], 3)
        self.dense = Dense(widths[-1] * 4 * 4, widths[-1])
        self.out = Dense(widths[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit (N,) per image (N, 3, S, S) in about [-1, 1]; positive for real."""
        x = _activate(self.from_rgb(functional.pixel_unshuffle(x, self.patch_size)))
        x = self.blocks(x)
        x = torch.cat([x, minibatch_deviation(x, self.group_size)], dim=1)
        x = _activate(self.conv(x))
        x = _activate(self.dense(x.flatten(1)))
        logits: Tensor = self.out(x)
        return logits.squeeze(1)


def minibatch_deviation(x: Tensor, group_size: int) -> Tensor:
    """Return the standard deviation within groups of images, averaged over features.

    It reveals a generator that always draws the same image. Shape (N, C, H, W) to (N, 1, H, W),
    constant over space and over a group of neighbours; the last group may be smaller.
    """
    parts = []
    for group in x.float().split(group_size):
        variance = group.var(0, unbiased=False)
        value = (variance + _EPSILON).sqrt().mean()
        parts.append(value.expand(len(group)))
    deviation = torch.cat(parts)[:, None, None, None].to(x.dtype)
    return deviation.expand(-1, 1, *x.shape[2:])


def _activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2) * GAIN
