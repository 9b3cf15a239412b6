"""DDIM in both directions, and the base class of diffusion models of pixels.

Source: Song et al. (2021), arXiv 2010.02502; v-prediction: Salimans and Ho (2022),
arXiv 2202.00512.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stitching.models.prior import FittedPrior
from stitching.models.trainable import Trainable

#: Cumulative alpha (share of the image's power) above which predicted clean images enter the
#: perceptual distance.
_PERCEPTUAL_LEVEL = 0.2

#: A network: noisy images (N, C, H, W) and their time steps (N,) to a prediction.
Network = Callable[[Tensor, Tensor], Tensor]


class DDIM:
    """Deterministic DDIM (eta 0) in both directions on one schedule.

    Time steps have "leading" spacing, 0, T/n, ..., (n-1) T/n; below the first lies the clean
    image (cumulative alpha 1). Inversion and decoding use the same steps.

    Args:
        n_train_steps: T.
        beta_start: First beta of the linear schedule.
        beta_end: Last beta.
        n_steps: Number of steps, 1..T.
        prediction: `epsilon` or `v`, what the network returns.
        inversion_iterations: Evaluations per inversion step, each at the time step moved to. The
            first is at the current point (plain DDIM inversion); more are fixed-point iterations
            towards the exact inverse of the decoding step.

    Raises:
        ValueError: A value is out of range.
    """

    def __init__(
        self,
        n_train_steps: int,
        beta_start: float,
        beta_end: float,
        n_steps: int,
        prediction: str,
        inversion_iterations: int = 1,
    ) -> None:
        if not 1 <= n_steps <= n_train_steps:
            raise ValueError(f"n_steps must be in 1..{n_train_steps}, got {n_steps}")
        if prediction not in ("epsilon", "v"):
            raise ValueError(f"prediction must be epsilon or v, got {prediction!r}")
        if inversion_iterations < 1:
            raise ValueError(f"inversion_iterations must be >= 1, got {inversion_iterations}")
        # Real numbers also in a model on the meta device.
        betas = torch.linspace(
            beta_start, beta_end, n_train_steps, dtype=torch.float64, device="cpu"
        )
        self.alphas_cumprod = torch.cumprod(1 - betas, 0)
        self.prediction = prediction
        self.inversion_iterations = inversion_iterations
        stride = n_train_steps // n_steps
        self.steps = [i * stride for i in range(n_steps)]
        self.levels = [1.0, *(float(self.alphas_cumprod[t]) for t in self.steps)]

    def invert(self, network: Network, x: Tensor) -> Tensor:
        """Move clean images to the last step: shape (N, C, H, W) in and out."""
        for i, t in enumerate(self.steps):
            low, high = self.levels[i], self.levels[i + 1]
            point = x
            for _ in range(self.inversion_iterations):
                clean, noise = self._split(network(point, self._time(x, t)), point, x, low, high)
                point = high**0.5 * clean + (1 - high) ** 0.5 * noise
            x = point
        return x

    def clean(self, out: Tensor, x: Tensor, level: float | Tensor) -> Tensor:
        """Return the clean image that a prediction for x at a level (cumulative alpha) implies."""
        if self.prediction == "v":
            return level**0.5 * x - (1 - level) ** 0.5 * out
        return (x - (1 - level) ** 0.5 * out) / level**0.5

    def generate(self, network: Network, x: Tensor, clip_x0: bool = False) -> Tensor:
        """Move latents at the last step to clean images.

        Args:
            network: Returns the prediction.
            x: Shape (N, C, H, W).
            clip_x0: Clamp each predicted clean image to [-1, 1].
        """
        for i in reversed(range(len(self.steps))):
            low, high = self.levels[i], self.levels[i + 1]
            out = network(x, self._time(x, self.steps[i]))
            clean = self.clean(out, x, high)
            if clip_x0:
                clean = clean.clamp(-1, 1)
                noise = (x - high**0.5 * clean) / (1 - high) ** 0.5
            elif self.prediction == "v":
                noise = high**0.5 * out + (1 - high) ** 0.5 * x
            else:
                noise = out
            x = low**0.5 * clean + (1 - low) ** 0.5 * noise
        return x

    def _split(
        self, out: Tensor, point: Tensor, x: Tensor, low: float, high: float
    ) -> tuple[Tensor, Tensor]:
        """Clean image and noise such that x lies at `low`, the noise being the prediction."""
        if self.prediction == "v":
            noise = high**0.5 * out + (1 - high) ** 0.5 * point
        else:
            noise = out
        return (x - (1 - low) ** 0.5 * noise) / low**0.5, noise

    @staticmethod
    def _time(x: Tensor, t: int) -> Tensor:
        return torch.full((len(x),), t, device=x.device)


class PixelDiffusion(Trainable):
    """A diffusion model whose latent is the noisy image that DDIM inversion ends at.

    A subclass has the network. This class lies beside `DDIM` because keys of cached latents
    contain the source files of a model's classes.

    Args:
        name: Name of the option.
        image_size: Height and width of its images.
        value_range: Range of pixels in the network.
        size_multiple: `image_size` must be a multiple of this.
        ddim: Schedule and steps.
        clip_x0: Whether predicted clean images are clamped while decoding.
        prior_rank: Rank of the density that samples are drawn from, fitted to latents of training
            images; None: the standard normal distribution.
    """

    learns_perceptually = True
    #: Fewer than by default: inversion is slow.
    prior_images = 1000
    decode_options = frozenset({"clip_x0"})

    def __init__(
        self,
        name: str,
        image_size: int,
        value_range: Sequence[float],
        size_multiple: int,
        ddim: DDIM,
        clip_x0: bool,
        prior_rank: int | None = None,
    ) -> None:
        shape = (3, image_size, image_size)
        super().__init__(name, image_size, shape, value_range, size_multiple)
        self.ddim = ddim
        self.clip_x0 = clip_x0
        if prior_rank is not None:
            self.fitted_prior = FittedPrior(self.latent_dim, prior_rank)

    @abstractmethod
    def network(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the prediction of epsilon or v, shape (N, 3, S, S), in x's dtype."""

    def _encode(self, x: Tensor) -> Tensor:
        return self.ddim.invert(self.network, x)

    def _decode(self, z: Tensor) -> Tensor:
        return self.ddim.generate(self.network, z, self.clip_x0)

    def training_loss(self, x: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of the prediction at uniformly drawn time steps.

        `perceptual`, if set, compares the predicted clean images at low levels of noise.
        """
        del progress
        x = self._to_own_range(x)
        levels = self.ddim.alphas_cumprod.to(x.device, torch.float32)
        # Stratified steps: the same distribution, less noise in the gradient.
        u = (torch.arange(len(x), device=x.device) + torch.rand(len(x), device=x.device)) / len(x)
        t = (u * len(levels)).long().clamp(max=len(levels) - 1)
        level = levels[t][:, None, None, None]
        noise = torch.randn_like(x)
        noisy = level.sqrt() * x + (1 - level).sqrt() * noise
        target = noise
        if self.ddim.prediction == "v":
            target = level.sqrt() * noise - (1 - level).sqrt() * x
        out = self.network(noisy, t).float()
        loss = (out - target).square().mean()
        seen = level.flatten() > _PERCEPTUAL_LEVEL
        clean = self.ddim.clean(out, noisy, level)
        perceived = self._perceived(clean[seen], x[seen]) * seen.float().mean()
        return loss + perceived, {
            "mse": float(loss.detach()),
            "perceived": float(perceived.detach()),
        }
