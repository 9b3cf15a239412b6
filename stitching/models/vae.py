"""A convolutional variational autoencoder with a flat Gaussian latent."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from stitching.models.prior import FittedPrior
from stitching.models.trainable import WARMUP_END, Trainable


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with group normalisation and a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape (N, C, H, W) in and out."""
        out: Tensor = x + self.net(x)
        return out


class Refinement(nn.Module):
    """Adds a correction computed on patches of 2 x 2 pixels; it starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, 12, 3, padding=1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(12, channels, 3, padding=1)]
        for _ in range(2):
            layers += [nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)]
        self.net = nn.Sequential(*layers, nn.SiLU(), last, nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, S, S) in and out."""
        out: Tensor = x + self.net(x)
        return out


class LinearPath(nn.Module):
    """Linear maps from images to latents and back, beside the networks; both start at zero.

    They carry what principal components of the same number would, so that the networks only
    learn the rest. Patches of 8 x 8 pixels are reduced to a few channels, to save weights.
    """

    #: Side of the patches; the image size is a multiple of it.
    size_multiple = 8

    def __init__(self, image_size: int, channels: int, latent_dim: int) -> None:
        super().__init__()
        patch = self.size_multiple
        side, values = image_size // patch, 3 * patch**2
        grid = (channels, side, side)
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(patch),
            nn.Conv2d(values, channels, 1),
            nn.Flatten(),
            nn.Linear(math.prod(grid), latent_dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, math.prod(grid)),
            nn.Unflatten(1, grid),
            nn.Conv2d(channels, values, 1),
            nn.PixelShuffle(patch),
        )
        for layer in (self.encoder[3], self.decoder[2]):
            assert isinstance(layer, nn.Linear | nn.Conv2d)
            assert layer.bias is not None
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


class VAE(Trainable):
    """Gaussian VAE; its latent is the posterior mean, or a draw from the posterior.

    Trained with the optimal decoder variance in closed form (sigma-VAE), which balances
    reconstruction and KL term without a hand-picked beta. `perceptual`, if set, is minimised
    beside it on half of each batch.

    Args:
        name: Name of the option.
        image_size: A multiple of `patch_size` times 2 to the number of levels less one, and of 8
            with a linear path.
        patch_size: The network works on patches of this side, folded into channels.
        latent_dim: Width of the latent.
        channels: Widths of the levels, from image_size / patch_size downwards.
        value_range: Range of pixels in the networks.
        refine_channels: Width of the `Refinement` after the decoder; None: without one.
        linear_channels: Width of the `LinearPath`; None: without one.
        prior_rank: Rank of the density that samples are drawn from, fitted to latents of training
            images; None: the prior of the training, of which these latents fill a small part.

    Source: Kingma and Welling (2014), arXiv 1312.6114; Rybkin et al. (2021), arXiv 2006.13202.
    """

    thread_safe = True
    has_posterior = True
    learns_perceptually = True

    def __init__(
        self,
        name: str,
        image_size: int,
        patch_size: int,
        latent_dim: int,
        channels: Sequence[int],
        value_range: Sequence[float],
        refine_channels: int | None = None,
        linear_channels: int | None = None,
        prior_rank: int | None = None,
    ) -> None:
        factor = patch_size * 2 ** (len(channels) - 1)
        multiple = math.lcm(factor, 1 if linear_channels is None else LinearPath.size_multiple)
        super().__init__(name, image_size, (latent_dim,), value_range, multiple)
        bottom = (channels[-1], image_size // factor, image_size // factor)
        self.encoder = _encoder(patch_size, channels, math.prod(bottom), latent_dim)
        self.decoder = _decoder(patch_size, channels, bottom, latent_dim)
        if refine_channels is not None:
            self.decoder.append(Refinement(refine_channels))
        self.linear: LinearPath | None = None
        if linear_channels is not None:
            self.linear = LinearPath(image_size, linear_channels, latent_dim)
        if prior_rank is not None:
            self.fitted_prior = FittedPrior(latent_dim, prior_rank)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, each (N, D), of images (N, 3, S, S) in own range."""
        mean, log_variance = self._moments(x)
        return mean.float(), log_variance.float().clamp(-20, 10)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean if self.linear is None else mean + self.linear.encoder(x), log_variance

    def _encode(self, x: Tensor) -> Tensor:
        return self._moments(x)[0]

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(x)
        return mean, torch.exp(log_variance / 2)

    def _decode(self, z: Tensor) -> Tensor:
        out: Tensor = self.decoder(z)
        return out if self.linear is None else out + self.linear.decoder(z)

    def training_loss(self, x: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Negative evidence lower bound in nats per pixel value, KL term warmed up."""
        x = self._to_own_range(x)
        mean, log_variance = self.posterior(x)
        z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        made = self._decode(z).float()
        mse = (made - x).square().mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        weight = min(1.0, progress / WARMUP_END)
        loss = 0.5 * torch.log(mse + 1e-6) + weight * kl / x[0].numel()
        half = slice(0, (len(x) + 1) // 2)
        perceived = self._perceived(made[half], x[half])
        return loss + perceived, {
            "rmse": math.sqrt(float(mse.detach())) / (self.value_range[1] - self.value_range[0]),
            "kl_nats": float(kl.detach()),
            "perceived": float(perceived.detach()),
        }


def _encoder(patch: int, channels: Sequence[int], flat: int, latent_dim: int) -> nn.Sequential:
    """Images to mean and log variance, (N, 2 * latent_dim)."""
    layers: list[nn.Module] = [nn.PixelUnshuffle(patch)]
    layers += [nn.Conv2d(3 * patch**2, channels[0], 3, padding=1), ResidualBlock(channels[0])]
    for before, width in pairwise(channels):
        layers += [nn.Conv2d(before, width, 4, stride=2, padding=1), ResidualBlock(width)]
    head = nn.Linear(flat, 2 * latent_dim)
    # Start close to a plain autoencoder: unit noise on all latents would drown the signal for
    # most of a short training.
    nn.init.constant_(head.bias[latent_dim:], -6.0)
    return nn.Sequential(*layers, nn.GroupNorm(8, channels[-1]), nn.SiLU(), nn.Flatten(), head)


def _decoder(
    patch: int, channels: Sequence[int], bottom: tuple[int, int, int], latent_dim: int
) -> nn.Sequential:
    """Latents (N, latent_dim) to images."""
    up = channels[::-1]
    layers: list[nn.Module] = [nn.Linear(latent_dim, math.prod(bottom)), nn.Unflatten(1, bottom)]
    layers += [ResidualBlock(up[0])]
    for before, width in pairwise(up):
        layers += [nn.Conv2d(before, 4 * width, 3, padding=1), nn.PixelShuffle(2)]
        layers += [ResidualBlock(width)]
    layers += [nn.GroupNorm(8, up[-1]), nn.SiLU()]
    layers += [nn.Conv2d(up[-1], 3 * patch**2, 3, padding=1), nn.PixelShuffle(patch)]
    return nn.Sequential(*layers)
