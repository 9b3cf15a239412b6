"""Adversarial training of StyleGAN2: two networks, each the other's loss.

Non-saturating logistic loss; the discriminator's gradient on real images is penalised (R1), in
every few steps only. Path length regularisation and style mixing are left out: both shape the
space of styles, which short trainings of small networks do not get to. The images that train the
generator train the discriminator too, which spares drawing others.

Source: Karras et al. (2020), arXiv 1912.04958; Goodfellow et al. (2014), arXiv 1406.2661; R1:
Mescheder et al. (2018), arXiv 1801.04406.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from stitching.images import rescale
from stitching.models.discriminator import Discriminator
from stitching.models.gan import GAN
from stitching.trainer import Recipe, Trainer

#: Decay per step of the mean of w, as published.
_W_DECAY = 0.998


@dataclass(frozen=True, kw_only=True)
class AdversarialRecipe(Recipe):
    """How to train a generator; see `Recipe`.

    Attributes:
        r1_gamma: Weight of the gradient penalty.
        r1_every: Steps from one penalty to the next; it weighs so many times more.
        noise: In the generator's layers while it trains: `random`, as published, for images with
            detail of chance such as hair, or `none`, for images that a latent determines.
        discriminator: Options of `Discriminator`, without `image_size`.
    """

    r1_gamma: float
    r1_every: int
    noise: Literal["random", "none"]
    discriminator: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of range.
        """
        super().__post_init__()
        if self.r1_gamma < 0:
            raise ValueError(f"training.r1_gamma must be >= 0, got {self.r1_gamma}")
        if self.r1_every < 1:
            raise ValueError(f"training.r1_every must be >= 1, got {self.r1_every}")
        if self.noise not in ("random", "none"):
            raise ValueError(f"training.noise={self.noise!r}: use random or none")


class AdversarialTrainer(Trainer):
    """A generator and the discriminator it is trained against.

    A run that starts from weights starts from those of the generator: the discriminator is new,
    unlike in a run that goes on from a training state.

    Args:
        model: See `Trainer`; likewise the others.
        recipe: See `Trainer`.
        seed: See `Trainer`.
        dtype: See `Trainer`.
        minutes: See `Trainer`.
        options: See `Trainer`.
        warm: See `Trainer`; of no effect, since the objective is not warmed up.
    """

    #: Without momentum: each network's loss changes with the other network.
    betas = (0.0, 0.99)
    model: GAN
    recipe: AdversarialRecipe

    def __init__(
        self,
        model: GAN,
        recipe: AdversarialRecipe,
        seed: int,
        dtype: str = "float32",
        minutes: float | None = None,
        options: Mapping[str, Any] | None = None,
        warm: bool = False,
    ) -> None:
        super().__init__(model, recipe, seed, dtype, minutes, options, warm)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)  # not the numbers that the generator started from
            network = Discriminator(model.image_size, **recipe.discriminator)
        self.discriminator = network.to(model.device)
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=recipe.lr, betas=self.betas
        )
        self._penalty = 0.0

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return super()._parts() | {
            "discriminator": self.discriminator,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def _update(self, x: Tensor, progress: float, rate: float) -> dict[str, float]:
        del progress  # the objective is the same from beginning to end
        real = rescale(x, (0.0, 1.0), self.model.value_range)
        fake, loss = self._update_generator(len(x), rate)
        return {"loss": loss, **self._update_discriminator(real, fake, rate)}

    def _update_generator(self, n: int, rate: float) -> tuple[Tensor, float]:
        """Return n images it drew before the update, and its loss on them."""
        generator = self.model.generator
        z = torch.randn(n, self.model.z_dim).to(self.model.device)
        # Weights of the discriminator get no gradient here, which spares a third of its work.
        self.discriminator.requires_grad_(False)
        with self._precision():
            ws = generator.mapping(z)
            fake = generator.synthesis(ws, self.recipe.noise)
            logits = self.discriminator(fake)
        loss = functional.softplus(-logits.float()).mean()
        self._descend(loss, self.model.parameters(), self.optimizer, rate, math.inf)
        self._update_mean_of_w(ws[:, 0].detach().float())
        return fake.detach(), float(loss.detach())

    def _update_discriminator(self, real: Tensor, fake: Tensor, rate: float) -> dict[str, float]:
        self.discriminator.requires_grad_(True)
        penalised = self.step % self.recipe.r1_every == 0 and self.recipe.r1_gamma > 0
        real.requires_grad_(penalised)
        with self._precision():
            # Apart, so that the deviation within a minibatch does not mix the two.
            on_fake, on_real = self.discriminator(fake).float(), self.discriminator(real).float()
        loss = functional.softplus(on_fake).mean() + functional.softplus(-on_real).mean()
        total = loss
        if penalised:
            penalty = gradient_penalty(on_real, real)
            total = loss + penalty * (self.recipe.r1_gamma / 2 * self.recipe.r1_every)
            self._penalty = float(penalty.detach())
        parameters = self.discriminator.parameters()
        self._descend(total, parameters, self.discriminator_optimizer, rate, math.inf)
        return {
            "loss_d": float(loss.detach()),
            "on_real": float(on_real.detach().mean()),
            "on_fake": float(on_fake.detach().mean()),
            "r1": self._penalty,
        }

    @torch.no_grad()
    def _update_mean_of_w(self, w: Tensor) -> None:
        # A short memory at first, as in the average of the weights.
        decay = min(_W_DECAY, (1 + self.step) / (10 + self.step))
        self.model.generator.mapping.w_avg.lerp_(w.mean(0), 1 - decay)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.model.device.type, dtype=torch.bfloat16, enabled=self.autocast)


def gradient_penalty(logits: Tensor, x: Tensor) -> Tensor:
    """Return R1, the squared norm of the logits' gradient in the images, averaged over images.

    Args:
        logits: Shape (N,), computed from x.
        x: Shape (N, 3, S, S), requires a gradient.

    Returns:
        A scalar that can itself be differentiated.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
