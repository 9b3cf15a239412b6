"""The generator of StyleGAN2, in plain torch and under the parameter names NVIDIA publishes.

Weight modulation is carried out on the activations: scaling the input by the style, convolving
with the shared kernel and scaling the output is the same linear map as a kernel per image, and
needs no grouped convolution, which is slow on a CPU.

Source: Karras et al. (2020), arXiv 1912.04958 and, for the names, arXiv 2006.06676.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Noise = Literal["const", "none", "random"]
NOISES: tuple[Noise, ...] = ("const", "none", "random")

#: Added under the roots of the normalisations of latent and kernel.
_EPSILON = 1e-8
#: Factor after a leaky rectifier that keeps the variance.
GAIN = math.sqrt(2)
#: Learning rate of the mapping relative to the synthesis, as published.
MAPPING_LR = 0.01


class Dense(nn.Module):
    """A fully connected layer whose weights are scaled when used, not when initialised.

    Args:
        bias: Initial value of the bias.
        lr: Learning rate relative to that of other layers; stored values are 1 / lr larger.
    """

    def __init__(self, n_in: int, n_out: int, bias: float = 0.0, lr: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / lr)
        self.bias = nn.Parameter(torch.full((n_out,), bias / lr))
        self.lr = lr

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, n_in) to (N, n_out)."""
        weight = self.weight * (self.lr / math.sqrt(self.weight.shape[1]))
        bias = self.bias * self.lr if self.lr != 1 else self.bias
        return functional.linear(x, weight, bias)


class Mapping(nn.Module):
    """Latents z to w, repeated for each of `num_ws` layers of the synthesis network."""

    w_avg: Tensor

    def __init__(self, z_dim: int, w_dim: int, n_layers: int, num_ws: int) -> None:
        super().__init__()
        self.num_ws, self.n_layers = num_ws, n_layers
        for index in range(n_layers):
            layer = Dense(w_dim if index else z_dim, w_dim, lr=MAPPING_LR)
            self.add_module(f"fc{index}", layer)
        #: Mean of w, towards which truncation pulls.
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, truncation: float = 1.0, cutoff: int | None = None) -> Tensor:
        """Return w, shape (N, num_ws, w_dim).

        Args:
            z: Shape (N, z_dim).
            truncation: w becomes w_avg + truncation (w - w_avg).
            cutoff: Number of layers, from the coarsest, that are truncated; None: all.
        """
        w = z * (z.square().mean(1, keepdim=True) + _EPSILON).rsqrt()
        for index in range(self.n_layers):
            w = functional.leaky_relu(self.get_submodule(f"fc{index}")(w), 0.2) * GAIN
        ws = w.unsqueeze(1).expand(-1, self.num_ws, -1)  # (N, w_dim) -> (N, num_ws, w_dim)
        if truncation == 1:
            return ws
        pulled = self.w_avg + truncation * (ws - self.w_avg)
        if cutoff is None:
            return pulled
        return torch.cat([pulled[:, :cutoff], ws[:, cutoff:]], dim=1)


class StyledConv(nn.Module):
    """A modulated and demodulated 3 x 3 convolution with noise, bias and activation.

    Args:
        n_in: Channels of the input, width of the style.
        n_out: Channels of the output.
        w_dim: Width of w.
        size: Height and width of the output.
        up: Whether it doubles the size.
        clamp: Outputs are limited to [-clamp, clamp]; None: no limit.
    """

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self, n_in: int, n_out: int, w_dim: int, size: int, up: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.up, self.clamp = up, clamp
        self.affine = Dense(w_dim, n_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(n_out, n_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(n_out))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(size, size))
        self.register_buffer("resample_filter", _resample_filter())

    def forward(self, x: Tensor, style: Tensor, noise: Noise) -> Tensor:
        """Shape (N, n_in, H, H) and style (N, n_in) to (N, n_out, size, size)."""
        x = x * style[:, :, None, None]
        if self.up:
            x = functional.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2)
            x = _smooth(x, self.resample_filter)
        else:
            x = functional.conv2d(x, self.weight, padding=1)
        # Norm of the modulated kernel: sum over inputs and taps of (W s)^2.
        power = style.square() @ self.weight.square().sum((2, 3)).T
        x = x * (power + _EPSILON).rsqrt()[:, :, None, None]
        if noise == "const":
            x = x + self.noise_const * self.noise_strength
        elif noise == "random":
            x = x + torch.randn_like(x[:, :1]) * self.noise_strength
        x = functional.leaky_relu(x + self.bias[:, None, None], 0.2) * GAIN
        return _limit(x, self.clamp)


class ToRGB(nn.Module):
    """A modulated 1 x 1 convolution to colours, without demodulation."""

    def __init__(self, n_in: int, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = Dense(w_dim, n_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, n_in, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Shape (N, n_in, H, H) and style (N, n_in) to (N, 3, H, H)."""
        style = style / math.sqrt(self.weight.shape[1])
        # One matrix product per image.
        kernel = self.weight[:, :, 0, 0] * style[:, None]  # (N, 3, n_in)
        image = (kernel @ x.flatten(2)).unflatten(2, x.shape[2:])
        return _limit(image + self.bias[:, None, None], self.clamp)


class Block(nn.Module):
    """The layers of one resolution; the first block (n_in = 0) starts from a learned constant."""

    resample_filter: Tensor

    def __init__(self, n_in: int, n_out: int, w_dim: int, size: int, clamp: float | None) -> None:
        super().__init__()
        self.first = n_in == 0
        self.register_buffer("resample_filter", _resample_filter())
        if self.first:
            self.const = nn.Parameter(torch.randn(n_out, size, size))
        else:
            self.conv0 = StyledConv(n_in, n_out, w_dim, size, True, clamp)
        self.conv1 = StyledConv(n_out, n_out, w_dim, size, False, clamp)
        self.torgb = ToRGB(n_out, w_dim, clamp)

    def affines(self) -> list[Dense]:
        """Return the layers that compute the styles, in order."""
        convs = [self.conv1] if self.first else [self.conv0, self.conv1]
        return [*(conv.affine for conv in convs), self.torgb.affine]

    def forward(
        self, x: Tensor | None, image: Tensor | None, styles: list[Tensor], noise: Noise
    ) -> tuple[Tensor, Tensor]:
        """Return activations (N, n_out, size, size) and image (N, 3, size, size).

        x and image are those of the block before, None for the first block; styles are the
        outputs of `affines`.
        """
        if x is None:
            x = self.const.expand(len(styles[0]), -1, -1, -1)
        else:
            x = self.conv0(x, styles[0], noise)
        x = self.conv1(x, styles[-2], noise)
        colours: Tensor = self.torgb(x, styles[-1])
        if image is not None:
            colours = _double(image, self.resample_filter) + colours
        return x, colours


class Synthesis(nn.Module):
    """Styles to images by blocks of doubling resolution, whose images are summed.

    Noise of the layers is "const" (stored), "none", or "random" (drawn in every call from torch's
    global generator; for training).

    Args:
        w_dim: Width of w.
        image_size: A power of two, at least 8.
        channel_base: A block of resolution r has min(channel_base / r, channel_max) channels.
        channel_max: Largest number of channels.
        conv_clamp: Outputs of layers are limited to [-conv_clamp, conv_clamp]; None: no limit.

    Raises:
        ValueError: The size is no power of two, or a block would have no channels.
    """

    def __init__(
        self,
        w_dim: int,
        image_size: int,
        channel_base: int,
        channel_max: int,
        conv_clamp: float | None,
    ) -> None:
        super().__init__()
        if image_size < 8 or image_size & (image_size - 1):
            raise ValueError(
                f"StyleGAN2 makes images whose size is a power of 2 from 8 on, got {image_size}: "
                "set data.image_size accordingly (for example 64)"
            )
        if min(channel_base // image_size, channel_max) < 1:
            raise ValueError(
                f"channel_base={channel_base} and channel_max={channel_max} leave no channels at "
                f"{image_size} pixels: use channel_base >= {image_size} and channel_max >= 1"
            )
        self.sizes = [2**power for power in range(2, image_size.bit_length())]
        channels = [0, *(min(channel_base // size, channel_max) for size in self.sizes)]
        for size, (before, width) in zip(self.sizes, pairwise(channels), strict=True):
            self.add_module(f"b{size}", Block(before, width, w_dim, size, conv_clamp))
        #: Number of latents w of an image: one per convolution, and one for the last ToRGB.
        self.num_ws = 2 * len(self.sizes)
        self.style_sizes = [
            len(affine.bias) for block in self._blocks() for affine in block.affines()
        ]

    def forward(self, ws: Tensor, noise_mode: Noise = "const") -> Tensor:
        """Return images (N, 3, S, S), about [-1, 1], of ws (N, num_ws, w_dim)."""
        return self.from_styles(self.styles(ws), noise_mode)

    def styles(self, ws: Tensor) -> Tensor:
        """Return the outputs of all affine layers in order, (N, sum of `style_sizes`), of ws."""
        found, start = [], 0
        for block in self._blocks():
            affines = block.affines()
            found += [affine(ws[:, start + i]) for i, affine in enumerate(affines)]
            # A block's ToRGB shares its w with the first convolution of the next block.
            start += len(affines) - 1
        return torch.cat(found, dim=1)

    def from_styles(self, styles: Tensor, noise_mode: Noise = "const") -> Tensor:
        """Return images (N, 3, S, S) of `styles`.

        Raises:
            ValueError: Unknown noise.
        """
        if noise_mode not in NOISES:
            raise ValueError(f"noise={noise_mode!r}: use one of {', '.join(NOISES)}")
        parts = list(styles.split(self.style_sizes, dim=1))
        x: Tensor | None = None
        image: Tensor | None = None
        for block in self._blocks():
            n = len(block.affines())
            x, image = block(x, image, parts[:n], noise_mode)
            parts = parts[n:]
        assert image is not None
        return image

    def _blocks(self) -> Iterator[Block]:
        for size in self.sizes:
            block = self.get_submodule(f"b{size}")
            assert isinstance(block, Block)
            yield block


class Generator(nn.Module):
    """Latents z to images: `Mapping`, then `Synthesis`.

    Raises:
        ValueError: An option is out of range.
    """

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        image_size: int,
        mapping_layers: int,
        channel_base: int,
        channel_max: int,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        counts = {"z_dim": z_dim, "w_dim": w_dim, "mapping_layers": mapping_layers}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        self.synthesis = Synthesis(w_dim, image_size, channel_base, channel_max, conv_clamp)
        self.mapping = Mapping(z_dim, w_dim, mapping_layers, self.synthesis.num_ws)

    def forward(self, z: Tensor, truncation: float = 1.0, noise_mode: Noise = "const") -> Tensor:
        """Return images (N, 3, S, S), about [-1, 1], of z (N, z_dim)."""
        images: Tensor = self.synthesis(self.mapping(z, truncation), noise_mode)
        return images


def _resample_filter() -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps)
    return kernel / kernel.sum()


def _smooth(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter after a transposed convolution: (N, C, 2H + 1, 2H + 1) to (N, C, 2H, 2H)."""
    channels = x.shape[1]
    # Times 4, because three quarters of the samples are inserted zeros.
    weight = (kernel.flip(0, 1) * 4).to(x.dtype).expand(channels, 1, 4, 4)
    return functional.conv2d(x, weight, padding=1, groups=channels)


def _double(image: Tensor, kernel: Tensor) -> Tensor:
    """Double the size of images (N, 3, H, H): zeros after every sample, then the filter."""
    weight = (kernel * 4).to(image.dtype).expand(image.shape[1], 1, 4, 4)
    return functional.conv_transpose2d(image, weight, stride=2, padding=1, groups=image.shape[1])


def _limit(x: Tensor, clamp: float | None) -> Tensor:
    return x if clamp is None else x.clamp(-clamp, clamp)
