"""A convolutional variational autoencoder with a flat Gaussian latent."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stitching.models.base import GenerativeModel


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


class VAE(GenerativeModel):
    """Gaussian VAE; its latent is the posterior mean, never a draw.

    Trained with the optimal decoder variance in closed form (sigma-VAE), which balances
    reconstruction and KL term without a hand-picked beta.

    Args:
        name: See `GenerativeModel`.
        image_size: A multiple of 2 to the number of entries in `channels`.
        latent_dim: Width of the latent.
        channels: Widths of the levels, from full resolution / 2 downwards.
        value_range: See `GenerativeModel`.

    Source: Kingma and Welling (2014), arXiv 1312.6114; Rybkin et al. (2021), arXiv 2006.13202.
    """

    def __init__(
        self,
        name: str,
        image_size: int,
        latent_dim: int,
        channels: Sequence[int],
        value_range: Sequence[float],
    ) -> None:
        levels = len(channels)
        super().__init__(name, image_size, (latent_dim,), value_range, 2**levels)
        self.bottom = (channels[-1], image_size >> levels, image_size >> levels)
        encoder: list[nn.Module] = []
        before = 3
        for width in channels:
            encoder += [nn.Conv2d(before, width, 4, stride=2, padding=1), ResidualBlock(width)]
            before = width
        encoder += [nn.GroupNorm(8, before), nn.SiLU(), nn.Flatten()]
        head = nn.Linear(math.prod(self.bottom), 2 * latent_dim)
        # Start close to a plain autoencoder: unit noise on all latents would drown the signal
        # for most of a short training.
        nn.init.constant_(head.bias[latent_dim:], -6.0)
        self.encoder = nn.Sequential(*encoder, head)
        decoder: list[nn.Module] = [
            nn.Linear(latent_dim, math.prod(self.bottom)),
            nn.Unflatten(1, self.bottom),
        ]
        for width, after in zip(reversed(channels), [*reversed(channels[:-1]), 3], strict=True):
            decoder += [ResidualBlock(width), nn.GroupNorm(8, width), nn.SiLU()]
            decoder += [nn.Conv2d(width, 4 * after, 3, padding=1), nn.PixelShuffle(2)]
        self.decoder = nn.Sequential(*decoder)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, each (N, D), of images (N, 3, S, S) in own range."""
        mean, log_variance = self.encoder(x).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def _encode(self, x: Tensor) -> Tensor:
        mean: Tensor = self.encoder(x)[:, : self.latent_dim]
        return mean

    def _decode(self, z: Tensor) -> Tensor:
        out: Tensor = self.decoder(z)
        return out

    def training_loss(self, x: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Negative evidence lower bound in nats per pixel value, KL term warmed up."""
        low, high = self.value_range
        x = x * (high - low) + low
        mean, log_variance = self.posterior(x)
        z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        mse = (self.decoder(z).float() - x).square().mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        weight = min(1.0, progress / 0.3)
        loss = 0.5 * torch.log(mse + 1e-6) + weight * kl / x[0].numel()
        return loss, {
            "rmse": math.sqrt(float(mse.detach())) / (high - low),
            "kl_nats": float(kl.detach()),
        }
