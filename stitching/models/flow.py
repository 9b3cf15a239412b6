"""Glow: an exactly invertible model, in the parameter layout of rosinality/glow-pytorch.

Names and semantics follow that public layout, so that its checkpoints load strictly.
Source: Kingma and Dhariwal (2018), arXiv 1807.03039.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from stitching.models.prior import FittedPrior
from stitching.models.trainable import Trainable
from stitching.weights.containers import WeightFile
from stitching.weights.loading import merge_options

#: Standard deviation of the noise on latents that `inverse_gain` adds: about the error of linear
#: maps to them.
_INVERSE_STEP = 0.6


class ActNorm(nn.Module):
    """Per-channel affine map y = scale * (x + loc), set from the first training batch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.initialized: Tensor
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the log determinant of one sample."""
        # Never in eval mode: an untrained model must not adapt to the images it encodes.
        if self.training and not self.initialized:
            with torch.no_grad():
                self.loc.copy_(-x.mean((0, 2, 3), keepdim=True))
                self.scale.copy_(1 / (x.std((0, 2, 3), keepdim=True) + 1e-6))
                self.initialized.fill_(1)
        log_det = x.shape[2] * x.shape[3] * self.scale.abs().log().sum()
        return self.scale * (x + self.loc), log_det

    def inverse(self, y: Tensor) -> Tensor:
        """Return x from y."""
        return y / self.scale - self.loc


class InvConv2dLU(nn.Module):
    """Invertible 1 x 1 convolution, its matrix kept as P L (U + diag(s))."""

    w_p: Tensor
    u_mask: Tensor
    l_mask: Tensor
    s_sign: Tensor
    l_eye: Tensor

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        noise = torch.randn(channels, channels, generator=generator, device=generator.device)
        rotation = torch.linalg.qr(noise)[0]
        p, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        ones = torch.ones(channels, channels)
        self.register_buffer("w_p", p.contiguous())
        self.register_buffer("u_mask", ones.triu(1))
        self.register_buffer("l_mask", ones.tril(-1))
        self.register_buffer("s_sign", diagonal.sign())
        self.register_buffer("l_eye", torch.eye(channels))
        self.w_l = nn.Parameter(lower.contiguous())
        self.w_s = nn.Parameter(diagonal.abs().log())
        self.w_u = nn.Parameter(upper.triu(1).contiguous())

    def weight(self) -> Tensor:
        """Return the matrix, shape (C, C)."""
        lower = self.w_l * self.l_mask + self.l_eye
        upper = self.w_u * self.u_mask + torch.diag(self.s_sign * self.w_s.exp())
        return self.w_p @ lower @ upper

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the log determinant of one sample."""
        log_det = x.shape[2] * x.shape[3] * self.w_s.sum()
        return functional.conv2d(x, self.weight()[:, :, None, None]), log_det

    def inverse(self, y: Tensor) -> Tensor:
        """Return x from y; the matrix is inverted in float64."""
        inverse = self.weight().double().inverse().to(y.dtype)
        return functional.conv2d(y, inverse[:, :, None, None])


class ZeroConv2d(nn.Module):
    """A 3 x 3 convolution initialised to zero, padded with ones, with a learned log scale."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3)
        nn.init.zeros_(self.conv.weight)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)
        self.scale = nn.Parameter(torch.zeros(1, out_channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, H, W) to (N, C_out, H, W)."""
        out: Tensor = self.conv(functional.pad(x, (1, 1, 1, 1), value=1.0))
        return out * torch.exp(self.scale * 3)


class Coupling(nn.Module):
    """Additive or affine coupling: the first half of the channels moves the second."""

    def __init__(self, channels: int, width: int, affine: bool) -> None:
        super().__init__()
        self.affine = affine
        half = channels // 2
        self.net = nn.Sequential(
            nn.Conv2d(half, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            ZeroConv2d(width, channels if affine else half),
        )
        for layer in (self.net[0], self.net[2]):
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.normal_(layer.weight, 0, 0.05)
                nn.init.zeros_(layer.bias)

    def _shift_and_scale(self, a: Tensor, like: Tensor) -> tuple[Tensor, Tensor | None]:
        out = self.net(a).to(like.dtype)
        if not self.affine:
            return out, None
        log_scale, shift = out.chunk(2, 1)
        return shift, torch.sigmoid(log_scale + 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the log determinant, of one sample or per sample."""
        a, b = x.chunk(2, 1)
        shift, scale = self._shift_and_scale(a, b)
        if scale is None:
            return torch.cat([a, b + shift], 1), x.new_zeros(())
        return torch.cat([a, (b + shift) * scale], 1), scale.log().flatten(1).sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """Return x from y."""
        a, b = y.chunk(2, 1)
        shift, scale = self._shift_and_scale(a, b)
        return torch.cat([a, b - shift if scale is None else b / scale - shift], 1)


class Flow(nn.Module):
    """One step: activation normalisation, 1 x 1 convolution, coupling."""

    def __init__(
        self, channels: int, width: int, affine: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.actnorm = ActNorm(channels)
        self.invconv = InvConv2dLU(channels, generator)
        self.coupling = Coupling(channels, width, affine)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and the log determinant."""
        # The linear parts stay in full precision under autocast: rounding there is not undone
        # by the inverse, while the coupling net only has to give the same shift twice.
        with torch.autocast(x.device.type, enabled=False):
            x, first = self.actnorm(x)
            x, second = self.invconv(x)
        x, third = self.coupling(x)
        return x, first + second + third

    def inverse(self, y: Tensor) -> Tensor:
        """Return x from y."""
        y = self.coupling.inverse(y)
        with torch.autocast(y.device.type, enabled=False):
            x: Tensor = self.actnorm.inverse(self.invconv.inverse(y))
        return x


class Block(nn.Module):
    """One scale: squeeze, flow steps, and a split of half the channels except at the last."""

    def __init__(
        self,
        channels: int,
        n_flow: int,
        width: int,
        affine: bool,
        split: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.split = split
        squeezed = channels * 4
        self.flows = nn.ModuleList(Flow(squeezed, width, affine, generator) for _ in range(n_flow))
        half = channels * 2
        self.prior = (
            ZeroConv2d(half, channels * 4) if split else ZeroConv2d(squeezed, channels * 8)
        )

    def _prior_moments(self, kept: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        condition = torch.zeros_like(like) if kept is None else kept
        mean, log_sd = self.prior(condition).to(like.dtype).chunk(2, 1)
        return mean, log_sd

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        """Return the next scale's input, this scale's latent, its log density, log determinant."""
        x = functional.pixel_unshuffle(x, 2)
        log_det = x.new_zeros(())
        for flow in self.flows:
            x, more = flow(x)
            log_det = log_det + more
        kept, z = x.chunk(2, 1) if self.split else (None, x)
        standard, log_sd = self.standardise(kept, z)
        log_p = -0.5 * math.log(2 * math.pi) - log_sd - 0.5 * standard.square()
        return kept, z, log_p.flatten(1).sum(1), log_det

    def standardise(self, kept: Tensor | None, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise that the prior makes a latent from, and its log standard deviation."""
        mean, log_sd = self._prior_moments(kept, z)
        return (z - mean) * torch.exp(-log_sd), log_sd

    def inverse(self, kept: Tensor | None, z: Tensor, noise: bool) -> Tensor:
        """Return the input of this scale from z, with `noise` the prior's noise in place of z."""
        if noise:
            mean, log_sd = self._prior_moments(kept, z)
            z = mean + torch.exp(log_sd) * z
        x = z if kept is None else torch.cat([kept, z], 1)
        for flow in reversed(cast("list[Flow]", list(self.flows))):
            x = flow.inverse(x)
        return functional.pixel_shuffle(x, 2)


class Glow(Trainable):
    """Glow as encoder and decoder; the latent is the raw output of all scales, concatenated.

    Args:
        name: Name of the option.
        image_size: A multiple of 2 to the number of blocks.
        n_flow: Flow steps per block.
        n_block: Scales.
        affine: Affine coupling; additive if false, as in the paper's checkpoint.
        hidden_channels: Of the coupling nets.
        value_range: Range of pixels in the network, [-0.5, 0.5] as published.
        noise: Width of the uniform noise added to training pixels, in the model's range
            (1/32 for 5-bit pixels).
        prior_rank: Rank of the density that samples are drawn from, fitted to the noise of
            training images; None: the prior of the training.
    """

    thread_safe = True

    def __init__(
        self,
        name: str,
        image_size: int,
        n_flow: int,
        n_block: int,
        affine: bool,
        hidden_channels: int,
        value_range: tuple[float, float],
        noise: float = 1 / 32,
        prior_rank: int | None = None,
    ) -> None:
        pixels = 3 * image_size * image_size
        super().__init__(name, image_size, (pixels,), value_range, 2**n_block)
        self.noise = noise
        #: Weight of `inverse_gain` beside the objective; set by the trainer.
        self.inverse_weight = 0.0
        if prior_rank is not None:
            self.fitted_prior = FittedPrior(pixels, prior_rank)
        # Rotations of the seed alone: an untrained model is the same in every process.
        generator = torch.Generator("cpu").manual_seed(torch.initial_seed())
        self.blocks = nn.ModuleList(
            Block(3 * 2**i, n_flow, hidden_channels, affine, i < n_block - 1, generator)
            for i in range(n_block)
        )
        self.shapes = [
            (3 * 2 ** (i + 1 + (i == n_block - 1)), image_size >> (i + 1), image_size >> (i + 1))
            for i in range(n_block)
        ]

    @classmethod
    def complete_options(cls, options: dict[str, Any], file: WeightFile) -> dict[str, Any]:
        """Return the options with depth, width and kind of coupling from the file."""
        state = file.state_dict()
        first = "blocks.0.flows.0.coupling.net"
        try:
            into, out = state[f"{first}.0.weight"], state[f"{first}.4.conv.weight"]
        except KeyError as error:
            raise ValueError(
                f"{file.path} has no tensor {error}, so it is no Glow in the layout of "
                "rosinality/glow-pytorch: give another file as weights"
            ) from None
        parts = [name.split(".") for name in state if name.startswith("blocks.")]
        found = {
            "n_block": len({part[1] for part in parts}),
            "n_flow": len({part[3] for part in parts if part[1:3] == ["0", "flows"]}),
            # An affine coupling's net returns a scale beside each shift.
            "affine": len(out) == 2 * into.shape[1],
            "hidden_channels": len(into),
        }
        return merge_options(options, found, file.path)

    def transform(self, x: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the latents of all scales, their log density (N,), and the log determinant."""
        latents, log_p, log_det = [], x.new_zeros(()), x.new_zeros(())
        for block in self.blocks:
            x, z, density, more = block(x)
            latents.append(z)
            log_p, log_det = log_p + density, log_det + more
        return latents, log_p, log_det

    def invert(self, latents: list[Tensor], noise: bool = False) -> Tensor:
        """Return images in the model's range.

        Args:
            latents: One tensor per scale, shapes (N, *shapes[i]).
            noise: If true, latents are standard normal noise that the prior scales (sampling);
                if false, what `transform` returns (exact inversion).
        """
        x: Tensor | None = None
        blocks = cast("list[Block]", list(self.blocks))
        for block, z in zip(reversed(blocks), reversed(latents), strict=True):
            x = block.inverse(x, z, noise)
        assert x is not None
        return x

    def _split(self, z: Tensor) -> list[Tensor]:
        parts = z.split([math.prod(shape) for shape in self.shapes], 1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def _encode(self, x: Tensor) -> Tensor:
        return torch.cat([z.flatten(1) for z in self.transform(x)[0]], 1)

    def _decode(self, z: Tensor) -> Tensor:
        return self.invert(self._split(z))

    def _prior(self, noise: Tensor) -> Tensor:
        with torch.inference_mode():
            return self._encode(self.invert(self._split(noise), noise=True))

    def _noise_of(self, x: Tensor) -> Tensor:
        parts = []
        rest: Tensor | None = x
        for block in cast("list[Block]", list(self.blocks)):
            assert rest is not None
            rest, z, _, _ = block(rest)
            parts.append(block.standardise(rest, z)[0].flatten(1))
        return torch.cat(parts, 1)

    def inverse_gain(self, x: Tensor, latents: list[Tensor]) -> Tensor:
        """Return the mean squared change of images by noise on latents, per mean square of noise.

        The likelihood does not limit how steep the inverse is at latents that no image has, such
        as those that a map returns; minimising this does.

        Args:
            x: Images in own range, (N, 3, S, S).
            latents: Their `transform`.

        Source: Behrmann et al. (2021), arXiv 2006.09347.
        """
        noisy = [z + _INVERSE_STEP * torch.randn_like(z) for z in latents]
        return (self.invert(noisy) - x).square().mean() / _INVERSE_STEP**2

    def training_loss(self, x: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Negative log likelihood in bits per dimension, under uniform pixel noise."""
        del progress
        x = self._to_own_range(x)
        x = x + (torch.rand_like(x) - 0.5) * self.noise
        latents, log_p, log_det = self.transform(x)
        dims = x[0].numel()
        bits = -((log_p + log_det).mean() / dims + math.log(self.noise)) / math.log(2)
        figures = {"bits_per_dim": float(bits.detach())}
        if self.inverse_weight == 0:
            return bits, figures
        gain = self.inverse_gain(x, latents)
        return bits + self.inverse_weight * gain, {**figures, "inverse_gain": float(gain.detach())}
