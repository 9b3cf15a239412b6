"""Base class of the packaged families that this project trains: `python -m stitching.train`."""

from abc import abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from stitching.models.base import GenerativeModel

#: Share of a training after which no objective changes; runs that start from trained weights
#: start at this share.
WARMUP_END = 0.3


class Trainable(GenerativeModel):
    """A generative model with a training objective."""

    #: Whether the objective makes images, which `perceptual` can compare.
    learns_perceptually = False
    #: Training images that `fitted_prior` is fitted to.
    prior_images = 6400
    #: Distance of generated from real images, (N, 3, S, S) in [0, 1] both, minimised beside the
    #: objective; set by the trainer.
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None

    @abstractmethod
    def training_loss(self, x: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and values to log.

        Args:
            x: Shape (N, 3, S, S), float32 in [0, 1].
            progress: Share of the training done, in [0, 1); from `WARMUP_END` on the objective
                does not change.
        """

    def finish_training(self, batches: Iterable[Tensor]) -> None:
        """Fit the `fitted_prior`, if there is one, once the weights are final.

        Args:
            batches: Training images, each (N, 3, S, S) float32 in [0, 1].
        """
        if self.fitted_prior is None:
            return
        self.eval()
        found: list[Tensor] = []
        for x in batches:
            if sum(map(len, found)) >= self.prior_images:
                break
            with torch.inference_mode():
                own = self._to_own_range(x.to(self.device))
                found.append(self._batched(self._noise_of, own).flatten(1))
        self.fitted_prior.fit(torch.cat(found))

    def _perceived(self, made: Tensor, real: Tensor) -> Tensor:
        """The `perceptual` distance of images in own range; 0 without it, or without images."""
        if self.perceptual is None or len(made) == 0:
            return made.new_zeros(())
        return self.perceptual(self._to_unit_range(made), self._to_unit_range(real))

    def _noise_of(self, x: Tensor) -> Tensor:
        """The noise from which `_prior` makes the latents of images (N, 3, S, S) in own range."""
        return self._encode(x)
