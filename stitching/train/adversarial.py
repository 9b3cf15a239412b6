"""Adversarial training of StyleGAN2.

Non-saturating logistic loss, with a penalty on the discriminator's gradient on real images (R1)
in every few steps. Before that the generator alone learns to reconstruct training images from
their principal components. There is no path length regularisation and no style mixing, which
matter in longer trainings. Both networks are trained on the same generated images.

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

from stitching.compute.images import rescale
from stitching.models.gan import GAN
from stitching.models.stylegan2 import MAPPING_LR
from stitching.models.trainable import WARMUP_END
from stitching.train.discriminator import Discriminator
from stitching.train.trainer import Recipe, Trainer

#: Decay per step of the mean of w, as published.
_W_DECAY = 0.998
#: Images for principal components: eight for each of 512.
_COMPONENT_IMAGES = 4096
#: Momentum of the generator's optimiser before the adversarial training.
_MOMENTUM = 0.9


@dataclass(frozen=True, kw_only=True)
class AdversarialRecipe(Recipe):
    """Options of a training of a generator, beside those of `Recipe`.

    Attributes:
        r1_gamma: Weight of the gradient penalty.
        r1_every: Steps from one penalty to the next; multiplies its weight.
        noise: In the generator's layers during training: `random`, as published, for images with
            random detail such as hair, or `none`, for images that a latent determines.
        redraw: Weight of the squared error of training images that the generator reconstructs
            from their whitened principal components, in place of noise. Until `WARMUP_END` of
            the run it is the only loss, which prevents a collapse to one face on small data.
            0: never.
        discriminator: Options of `Discriminator`, without `image_size`.
    """

    r1_gamma: float
    r1_every: int
    noise: Literal["random", "none"]
    redraw: float
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
        if self.redraw < 0:
            raise ValueError(f"training.redraw must be >= 0, got {self.redraw}")
        if self.noise not in ("random", "none"):
            raise ValueError(f"training.noise={self.noise!r}: use random or none")


class AdversarialTrainer(Trainer):
    """Trainer of a generator against a discriminator.

    A run that starts from weights has those of the generator and a new discriminator; a training
    state contains both.
    """

    #: Without momentum, because each network's loss changes with the other network.
    betas = (0.0, 0.99)
    model: GAN
    recipe: AdversarialRecipe

    def __init__(self, model: GAN, recipe: AdversarialRecipe, seed: int, **settings: Any) -> None:
        super().__init__(model, recipe, seed, **settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)  # not the generator's
            network = Discriminator(model.image_size, **recipe.discriminator)
        self.discriminator = network.to(model.device)
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=recipe.lr, betas=self.betas
        )
        mapping = {id(p) for p in model.generator.mapping.parameters()}
        own: list[list[nn.Parameter]] = [[], []]
        for parameter in model.parameters():
            own[id(parameter) in mapping].append(parameter)
        groups = [{"params": own[0]}, {"params": own[1]}]
        self.optimizer = torch.optim.Adam(groups, lr=recipe.lr, betas=self.betas)
        self._penalty = 0.0
        self._components: Components | None = None

    def advance(self, pixels: Tensor) -> dict[str, float]:
        """Do one step, see `Trainer.advance`."""
        if self._components is None and self.recipe.redraw > 0:
            # They depend on the images alone: a resumed run has the same ones.
            self._components = Components.of(pixels[:_COMPONENT_IMAGES], self.model.z_dim)
        return super().advance(pixels)

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return super()._parts() | {
            "discriminator": self.discriminator,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def _update(self, x: Tensor, progress: float, rate: float) -> dict[str, float]:
        real = rescale(x, (0.0, 1.0), self.model.value_range)
        alone = self._components is not None and progress < WARMUP_END and not self.warm
        self._set_pace(alone)
        if alone:
            error, w = self._redraw_error(x, real)
            self._update_mean_of_w(w)
            self._descend(error, self.model.parameters(), self.optimizer, rate, math.inf)
            return {"redraw_mse": float(error.detach())}
        # Half the batch, to save time.
        some = slice(0, max(1, len(x) // 2))
        fake, figures = self._update_generator(len(x), x[some], real[some], rate)
        return {**figures, **self._update_discriminator(real, fake, rate)}

    def _set_pace(self, alone: bool) -> None:
        """Train the mapping at the rate of the synthesis, with momentum, in the first stage.

        The published rate, a hundredth, keeps a deep mapping stable against a discriminator.
        """
        for group in self.optimizer.param_groups:
            group["betas"] = (_MOMENTUM if alone else self.betas[0], self.betas[1])
        self.optimizer.param_groups[1]["pace"] = 1 / MAPPING_LR if alone else 1.0

    def _redraw_error(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return the squared error of reconstructed images, and their w."""
        assert self._components is not None  # made before the first step
        generator = self.model.generator
        with self._precision():
            ws = generator.mapping(self._components.codes(x))
            drawn: Tensor = generator.synthesis(ws, self.recipe.noise)
        return (drawn.float() - real).square().mean(), ws[:, 0].detach().float()

    def _update_generator(
        self, n: int, x: Tensor, real: Tensor, rate: float
    ) -> tuple[Tensor, dict[str, float]]:
        """Return n images generated before the update, and values to log."""
        generator = self.model.generator
        z = torch.randn(n, self.model.z_dim).to(self.model.device)
        # The discriminator's weights need no gradient here.
        self.discriminator.requires_grad_(False)
        with self._precision():
            ws = generator.mapping(z)
            fake = generator.synthesis(ws, self.recipe.noise)
            logits = self.discriminator(fake)
        loss = total = functional.softplus(-logits.float()).mean()
        figures = {"loss": float(loss.detach())}
        if self._components is not None:
            # These w do not enter the mean of w, which truncation uses.
            error, _ = self._redraw_error(x, real)
            figures["redraw_mse"] = float(error.detach())
            total = loss + self.recipe.redraw * error
        self._descend(total, self.model.parameters(), self.optimizer, rate, math.inf)
        self._update_mean_of_w(ws[:, 0].detach().float())
        return fake.detach(), figures

    def _update_discriminator(self, real: Tensor, fake: Tensor, rate: float) -> dict[str, float]:
        self.discriminator.requires_grad_(True)
        penalised = self.step % self.recipe.r1_every == 0 and self.recipe.r1_gamma > 0
        real.requires_grad_(penalised)
        with self._precision():
            # Separately, so that the minibatch deviation does not mix the two.
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


@dataclass(frozen=True)
class Components:
    """Principal components of images.

    Attributes:
        mean: Shape (1, P) for images of P values.
        axes: Shape (P, K), each divided by the standard deviation along it.
    """

    mean: Tensor
    axes: Tensor

    @classmethod
    def of(cls, pixels: Tensor, width: int) -> "Components":
        """Return the first `width` components of images (N, 3, S, S) uint8, padded with 0."""
        x = pixels.flatten(1).float() / 255
        mean = x.mean(0, keepdim=True)
        q = min(width, len(x) - 1, x.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of the random directions that the method starts from
            _, singular, axes = torch.pca_lowrank(x - mean, q=q, center=False, niter=2)
        scale = (singular / math.sqrt(len(x))).clamp(min=1e-4 * float(singular[0]))
        return cls(mean, functional.pad(axes / scale, (0, width - q)))

    def codes(self, x: Tensor) -> Tensor:
        """Return codes (n, K) of images (n, 3, S, S) in [0, 1], of variance one."""
        mean, axes = self.mean.to(x.device), self.axes.to(x.device)
        return (x.flatten(1) - mean) @ axes


def gradient_penalty(logits: Tensor, x: Tensor) -> Tensor:
    """Return R1, the mean squared norm of the logits' gradient in the images, differentiable.

    Args:
        logits: Shape (N,), computed from x.
        x: Shape (N, 3, S, S), requires a gradient.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
