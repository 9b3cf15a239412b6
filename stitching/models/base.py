"""Base class of all generative models.

A subclass implements `_encode` and `_decode` in its own value range and latent shape; the base
class converts ranges, flattens latents, and sets evaluation mode and precision.
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
#: In torch's messages about dtypes that do not go together.
_ON_DTYPES = re.compile(r"dtype|scalar ?type|should be the same|not implemented for", re.I)
_UNIT = (0.0, 1.0)


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
    #: Options that change decoding alone: latents are shared between their values.
    decode_options: frozenset[str] = frozenset()
    #: Whether `_encode` and `_decode` may run in several threads at once: they keep nothing on
    #: the model.
    thread_safe = False
    #: Whether the model needs `fit_images` before use; its `weights_hash` is None until then.
    needs_fit = False
    #: Whether its weights come from a training, so that there is an untrained version of it.
    learned = True
    #: Whether `_posterior` returns a distribution of latents, which `encode` can draw from.
    has_posterior = False

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
        #: Constructor options, completed from the weight file; empty if built by hand.
        self.options: dict[str, Any] = {}
        #: SHA-256 of the weight file, or of the values of an untrained model; None without any.
        self.weights_hash: str | None = None
        #: Metadata of the weight file, such as the training data.
        self.card: dict[str, str] = {}

    @classmethod
    def complete_options(cls, options: dict[str, Any], file: WeightFile) -> dict[str, Any]:
        """Return the constructor's options, completed from a published weight file.

        Called before the model is built. A family reads depth and widths from names and shapes
        of the tensors here: options that are null are filled in, others are compared.

        Args:
            options: As configured, with `_target_` and `name`.
            file: A weight file without a card of this project.

        Raises:
            ValueError: An option contradicts the file, or is in neither, or the file is of another
                family; the message names options and values.
        """
        del file
        return options

    def state_from(self, file: WeightFile) -> dict[str, Tensor]:
        """Return the state dict of a published file under the model's names; default: as it is."""
        return file.state_dict()

    def check_fit(self, n_images: int) -> None:
        """Check that so many images are enough for `fit_images`.

        Raises:
            ValueError: They are too few for the options; never by default.
        """

    def fit_images(self, images: Tensor | Iterable[Tensor]) -> None:
        """Fit a model that `needs_fit` to images, and set its `weights_hash`.

        The pipeline calls it with the images that maps are fitted on, never with test images.
        The result must be part of the state dict, for the cache.

        Args:
            images: Shape (N, 3, S, S), as for `encode`, or batches of such.

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
        """Device of the weights."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @torch.inference_mode()
    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the latents of images; of a model with a posterior, its means.

        Args:
            x: Shape (N, 3, S, S), float in [0, 1] or uint8.
            noise: Standard normal, shape (N, *latent_shape): the result is a draw from the
                posterior, mean + deviation * noise.

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
        x = self._to_own_range(x.to(self.device, self._dtype()))
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
            Shape (N, 3, S, S), float32, clamped to [0, 1]; NaN where the network's output is not
            finite, for which the caller must check.

        Raises:
            ValueError: The latents have another width, or the model `needs_fit`.
        """
        return self.decode_unclamped(z).clamp(0, 1)

    @torch.inference_mode()
    def decode_unclamped(self, z: Tensor) -> Tensor:
        """Return the images of latents without clamping to [0, 1]; else the same as `decode`."""
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
        return self._to_unit_range(x)

    @torch.inference_mode()
    def sample(
        self, n: int, seed: int = 0, temperature: float = 1.0, fitted: bool = True
    ) -> Tensor:
        """Draw new images.

        Args:
            n: Number of images.
            seed: Image i depends on (seed, i) alone.
            temperature: Factor on the prior's standard deviation.
            fitted: Whether to draw from the `fitted_prior`, where there is one, instead of the
                prior of the training.

        Returns:
            Shape (n, 3, S, S), float32 in [0, 1].
        """
        noise = item_noise(seed, range(n), self.latent_shape).to(self.device, self._dtype())
        noise = noise * temperature
        if fitted and self.fitted_prior is not None:
            noise = self.fitted_prior(noise.flatten(1)).unflatten(1, self.latent_shape)
        return self.decode(self._prior(noise.to(self._network_dtype())).flatten(1))

    def diagnostics(self, true: Tensor, mapped: Tensor) -> dict[str, float | int]:
        """Return family-specific measures of mapped latents, keys `latent/...`; default none."""
        del true, mapped
        return {}

    def freeze(self) -> "GenerativeModel":
        """Switch to evaluation mode, switch gradients off, and return self."""
        return self.eval().requires_grad_(False)

    @abstractmethod
    def _encode(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) in `value_range` to (N, *latent_shape)."""

    @abstractmethod
    def _decode(self, z: Tensor) -> Tensor:
        """(N, *latent_shape) to (N, 3, S, S) in `value_range`."""

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents, each of the shape of `_encode`."""
        raise TypeError(f"model {self.name} has_posterior, but its class defines no _posterior")

    def _prior(self, noise: Tensor) -> Tensor:
        """Standard normal noise (N, *latent_shape) to latents of the model's prior."""
        return noise

    def _to_own_range(self, x: Tensor) -> Tensor:
        return rescale(x, _UNIT, self.value_range)

    def _to_unit_range(self, x: Tensor) -> Tensor:
        return rescale(x, self.value_range, _UNIT)

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
        """Dtype of images and latents outside the networks: float64 for a model in float64."""
        return torch.float64 if self._network_dtype() == torch.float64 else torch.float32

    def _network_dtype(self) -> torch.dtype:
        """Dtype of the networks' input: that of the first weights of 16 bits or more."""
        found = (p.dtype for p in self.parameters() if p.is_floating_point() and p.itemsize > 1)
        return next(found, torch.float32)

    def _explain_dtype(self, given: torch.dtype, error: Exception) -> None:
        """Raise a ValueError with a remedy if weights of low precision are the cause."""
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
