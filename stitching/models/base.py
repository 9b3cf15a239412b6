"""What every generative model offers to the pipeline.

A subclass implements `_encode` and `_decode` in its own value range and latent shape; the base
class owns range conversion, flattening, evaluation mode and precision, so that no family can get
them wrong alone.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from stitching.compute.batching import in_fixed_batches
from stitching.compute.images import rescale, to_unit
from stitching.compute.seeding import item_noise
from stitching.weights.containers import WeightFile

if TYPE_CHECKING:
    from stitching.models.prior import FittedPrior

#: Images per pass on the CPU, whatever the caller's batch size: results are then the same to the
#: bit. 16 is a third faster than 8 on processors without AVX-512, and larger passes hardly more
#: so. Other devices take what they are given.
CPU_BATCH = 16
#: What torch says where dtypes do not go together.
_ON_DTYPES = re.compile(r"dtype|scalar ?type|should be the same|not implemented for", re.I)
#: Share of a training by which every objective has its final form; runs that start from trained
#: weights begin there.
WARMUP_END = 0.3


class GenerativeModel(nn.Module, ABC):
    """A frozen generative image model, used as encoder, as decoder, or both.

    Args:
        name: Name of the option, for messages.
        image_size: Height and width of its images in pixels.
        latent_shape: Shape of one latent before flattening.
        value_range: Range its network expects and returns pixels in.
        size_multiple: `image_size` must be a multiple of this.

    Raises:
        ValueError: `image_size` is not a multiple of `size_multiple`.
    """

    #: Whether the model can play each role; `random` cannot decode.
    can_encode = True
    can_decode = True
    #: Options that change decoding alone, so that latents are shared between their values.
    decode_options: frozenset[str] = frozenset()
    #: Whether `_encode` and `_decode` may run in several threads at once: they keep nothing on
    #: the model. Off unless a family says so, for a model of a user may well keep something.
    thread_safe = False
    #: Whether the model is nothing before `fit_images`; its `weights_hash` is None until then.
    needs_fit = False
    #: Whether an image has a distribution of latents, which `encode` can draw from; see
    #: `_posterior`.
    has_posterior = False
    #: Whether its objective makes images, which `perceptual` can compare.
    learns_perceptually = False
    #: Training images that `fitted_prior` is fitted to.
    prior_images: int = 6400

    def __init__(
        self,
        name: str,
        image_size: int,
        latent_shape: Sequence[int],
        value_range: Sequence[float] = (0.0, 1.0),
        size_multiple: int = 1,
    ) -> None:
        super().__init__()
        if image_size < size_multiple or image_size % size_multiple:
            raise ValueError(
                f"model {name} needs images whose size is a multiple of {size_multiple}, got "
                f"{image_size}: set data.image_size accordingly (for example 64)"
            )
        self.name = name
        self.image_size = image_size
        self.latent_shape = tuple(latent_shape)
        self.value_range = (float(value_range[0]), float(value_range[1]))
        self.autocast_dtype: torch.dtype | None = None
        #: Density of the noise of samples; None: the standard normal distribution.
        self.fitted_prior: FittedPrior | None = None
        #: While training, a distance of images made from real ones, (N, 3, S, S) in [0, 1] both,
        #: to be minimised beside the objective; see `learns_perceptually`.
        self.perceptual: Callable[[Tensor, Tensor], Tensor] | None = None
        #: What it was built with, including what its weight file said; empty if built by hand.
        self.options: dict[str, Any] = {}
        #: SHA-256 of the weight file, or of the values of an untrained model; None without any.
        self.weights_hash: str | None = None
        #: Data set and size the weights were trained on, as their file says.
        self.card: dict[str, str] = {}

    @classmethod
    def complete_options(cls, options: dict[str, Any], file: WeightFile) -> dict[str, Any]:
        """Return the constructor's options, with what a published weight file says of itself.

        Called before the model is built. A family reads depth and widths from the tensors'
        names and shapes here: options that are null are filled in, others are compared.

        Args:
            options: As configured, with `_target_` and `name`.
            file: The weight file; not one of this project, which carries its options as a card.

        Raises:
            ValueError: An option contradicts the file; the message names option and values.
        """
        del file
        return options

    def state_from(self, file: WeightFile) -> dict[str, Tensor]:
        """Return the model's own state dict from a published file, names mapped.

        By default the file's tensors under their own names.
        """
        return file.state_dict()

    def check_fit(self, n_images: int) -> None:
        """Check before any long work that so many images are enough for `fit_images`.

        Raises:
            ValueError: They are too few for the options; never by default.
        """

    def fit_images(self, images: Tensor | Iterable[Tensor]) -> None:
        """Fit a model that `needs_fit` to images, and set its `weights_hash`.

        The pipeline fits it to the images that maps are fitted on, never to test images. What was
        fitted must lie in the state dict, for the cache.

        Args:
            images: Shape (N, 3, S, S), as `encode` takes them, or batches of such.

        Raises:
            TypeError: The model has nothing to fit.
            ValueError: Too few images, or of another size.
        """
        raise TypeError(f"model {self.name} has nothing to fit to images: use it as it is")

    @property
    def latent_dim(self) -> int:
        """Number of values in one latent."""
        return math.prod(self.latent_shape)

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @torch.inference_mode()
    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the latents of images: of a model with a posterior, its means.

        Args:
            x: Shape (N, 3, S, S), float in [0, 1] or uint8.
            noise: Standard normal, shape (N, *latent_shape): draws from the posterior instead,
                mean + deviation * noise.

        Returns:
            Shape (N, D), float32 (float64 for a model in float64), on the model's device.

        Raises:
            ValueError: The images have another size or leave [0, 1], the model `needs_fit`, or
                there is noise but no posterior.
        """
        self._require_fit()
        x = to_unit(x)
        if tuple(x.shape[-2:]) != (self.image_size, self.image_size):
            raise ValueError(
                f"model {self.name} takes {self.image_size} x {self.image_size} images, got "
                f"{x.shape[-2]} x {x.shape[-1]}: set data.image_size={self.image_size}"
            )
        x = rescale(x.to(self.device, self._dtype()), (0.0, 1.0), self.value_range)
        if noise is None:
            return self._batched(self._encode, x).flatten(1)
        if not self.has_posterior:
            raise ValueError(
                f"model {self.name} has one latent for an image, no distribution to draw from: "
                "use protocol.latents=mean"
            )
        both = self._batched(lambda part: torch.stack(self._posterior(part), 1), x)
        mean, deviation = both.flatten(2).unbind(1)  # (N, 2, D) -> (N, D) each
        return mean + deviation * noise.flatten(1).to(mean)

    @torch.inference_mode()
    def decode(self, z: Tensor) -> Tensor:
        """Return the images of latents.

        Args:
            z: Shape (N, D).

        Returns:
            Shape (N, 3, S, S), float32, clamped to [0, 1]; NaN where the network's output was not
            finite, which the caller must look for, and the pipeline does.

        Raises:
            ValueError: The latents have another width, or the model `needs_fit`.
        """
        return self.decode_unclamped(z).clamp(0, 1)

    @torch.inference_mode()
    def decode_unclamped(self, z: Tensor) -> Tensor:
        """As `decode`, but values that leave [0, 1] are left as the network gave them."""
        self._require_fit()
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(
                f"model {self.name} decodes latents of shape (N, {self.latent_dim}), got "
                f"{tuple(z.shape)}"
            )
        z = z.to(self.device, self._dtype()).unflatten(1, self.latent_shape)
        x = self._batched(self._decode, z)
        # Clamping would turn an infinity into a harmless white or black.
        x = torch.where(x.isfinite(), x, torch.nan).float()
        return rescale(x, self.value_range, (0.0, 1.0))

    @torch.inference_mode()
    def sample(
        self, n: int, seed: int = 0, temperature: float = 1.0, fitted: bool = True
    ) -> Tensor:
        """Draw new images.

        Args:
            n: Number of images.
            seed: Image i depends on (seed, i) alone.
            temperature: Factor on the prior's standard deviation.
            fitted: From the density that was fitted to latents after training, where the model
                has one (`fitted_prior`); if false, from the prior that it was trained with.

        Returns:
            Shape (n, 3, S, S), float32 in [0, 1].
        """
        noise = item_noise(seed, range(n), self.latent_shape).to(self.device, self._dtype())
        noise = noise * temperature
        if fitted and self.fitted_prior is not None:
            noise = self.fitted_prior(noise.flatten(1)).unflatten(1, self.latent_shape)
        return self.decode(self._prior(noise.to(self._network_dtype())).flatten(1))

    def diagnostics(self, true: Tensor, mapped: Tensor) -> dict[str, float | int]:
        """Return family-specific figures on mapped latents, keys `latent/...`; none by default."""
        del true, mapped
        return {}

    def training_loss(self, x: Tensor, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and figures to log.

        Args:
            x: Shape (N, 3, S, S), float32 in [0, 1].
            progress: Share of the training done, in [0, 1); from `WARMUP_END` on the objective
                does not change.

        Raises:
            TypeError: The model is not trained by this project.
        """
        raise TypeError(f"model {self.name} has no training objective in this project")

    def finish_training(self, batches: Iterable[Tensor]) -> None:
        """Estimate what is left once the weights are final: the `fitted_prior`, if there is one.

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
                own = rescale(x.to(self.device), (0.0, 1.0), self.value_range)
                found.append(self._batched(self._noise_of, own).flatten(1))
        self.fitted_prior.fit(torch.cat(found))

    def freeze(self) -> "GenerativeModel":
        """Switch to evaluation mode without gradients, and return self."""
        return self.eval().requires_grad_(False)

    @abstractmethod
    def _encode(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) in `value_range` to (N, *latent_shape)."""

    @abstractmethod
    def _decode(self, z: Tensor) -> Tensor:
        """(N, *latent_shape) to (N, 3, S, S) in `value_range`."""

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents, each as `_encode` returns."""
        raise TypeError(f"model {self.name} has_posterior, but its class defines no _posterior")

    def _prior(self, noise: Tensor) -> Tensor:
        """Standard normal noise (N, *latent_shape) to latents of the model's prior."""
        return noise

    def _perceived(self, made: Tensor, real: Tensor) -> Tensor:
        """The `perceptual` distance of images in own range; 0 without it, or without images."""
        if self.perceptual is None or len(made) == 0:
            return made.new_zeros(())
        unit = (0.0, 1.0)
        return self.perceptual(
            rescale(made, self.value_range, unit), rescale(real, self.value_range, unit)
        )

    def _noise_of(self, x: Tensor) -> Tensor:
        """The noise from which `_prior` makes the latents of images (N, 3, S, S) in own range."""
        return self._encode(x)

    def _require_fit(self) -> None:
        if self.needs_fit and self.weights_hash is None:
            raise ValueError(
                f"model {self.name} is not fitted yet: call .fit_images(x) first, with images "
                f"(N, 3, {self.image_size}, {self.image_size}) in [0, 1] such as "
                "stitching.load_images('faces', split='train'); launch.py does so by itself"
            )

    def _batched(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        def run(part: Tensor) -> Tensor:
            part = part.to(self._network_dtype())
            try:
                with torch.inference_mode(), self._precision():
                    return function(part).to(self._dtype())
            except (RuntimeError, TypeError) as error:
                self._explain_dtype(part.dtype, error)
                raise

        if x.device.type == "cpu" and len(x) > 0:
            return in_fixed_batches(run, x, CPU_BATCH, self.thread_safe)
        return run(x)

    def _dtype(self) -> torch.dtype:
        """Of images and latents outside the networks: float64 for a model in float64."""
        return torch.float64 if self._network_dtype() == torch.float64 else torch.float32

    def _network_dtype(self) -> torch.dtype:
        """Of what the networks are given: that of the first weights, of 16 bits or more."""
        found = (p.dtype for p in self.parameters() if p.is_floating_point() and p.itemsize > 1)
        return next(found, torch.float32)

    def _explain_dtype(self, given: torch.dtype, error: Exception) -> None:
        """Raise an error that says what to do where weights of low precision are the cause.

        Raises:
            ValueError: They are.
        """
        held = {v.dtype for v in self.parameters() if v.is_floating_point()} - {self._dtype()}
        if not held or not _ON_DTYPES.search(str(error)):
            return
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in held))
        raise ValueError(
            f"model {self.name} holds weights in {names} and fails on values in "
            f"{str(given).removeprefix('torch.')} ({error}): in _encode and _decode cast the "
            "network's input to the dtype of its weights and its output with .float(), or "
            "convert the network with .float() in the constructor and launch with "
            "dtype=bfloat16, which computes under autocast"
        ) from error

    def _precision(self) -> AbstractContextManager[object]:
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)
