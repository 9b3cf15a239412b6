"""A model made of functions, for use from Python."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from stitching.compute.transient import new_mark
from stitching.models.base import GenerativeModel

Function = Callable[[Tensor], Tensor]

#: Largest differences of a repeat, and of an item alone and in a batch, in units of the spread of
#: the values. Rounding of other kernels stays below, that of networks in half precision included.
_REPEAT, _BATCH = 1e-3, 1e-2


class Wrapped(GenerativeModel):
    """A model whose encoder and decoder are functions of a user's.

    Its identity is a mark: two instances share no cached latents, even of the same functions.

    Args:
        name: Name in rows, columns and messages.
        image_size: Height and width of its images in pixels.
        latent_shape: Shape of one latent.
        value_range: Range of the pixels that the functions take and return.
        encode: Takes (N, 3, S, S) and returns (N, *latent_shape).
        decode: Takes (N, *latent_shape) and returns (N, 3, S, S); None for an encoder alone.
        place: Device of the functions.
    """

    def __init__(
        self,
        name: str,
        image_size: int,
        latent_shape: Sequence[int],
        value_range: Sequence[float],
        encode: Function,
        decode: Function | None,
        place: torch.device,
    ) -> None:
        super().__init__(name, image_size, latent_shape, value_range)
        # In a tuple, torch does not take networks for submodules, which the user would share.
        self._functions = (encode, decode)
        self._place = place
        self.can_decode = decode is not None
        self.options: dict[str, Any] = {
            "name": name,
            "image_size": image_size,
            "latent_shape": list(self.latent_shape),
            "value_range": list(self.value_range),
            "call": new_mark(),
        }

    @property
    def device(self) -> torch.device:
        """Device of the functions."""
        return self._place

    def require_sound(self, x: Tensor) -> None:
        """Check the functions on a few images, before long work.

        Args:
            x: Shape (N, 3, S, S), float in [0, 1].

        Raises:
            TypeError: A function returns something else than a tensor of floats.
            ValueError: A result has another shape than declared, is not finite, differs in a
                repeat, or depends on the other items of its batch.
        """
        x = self._to_own_range(x.to(self._place))
        with torch.inference_mode():
            z = self._checked("encode", self._encode, x, "image")
            if self.can_decode:
                self._checked("decode", self._decode, z, "latent")

    def _checked(self, what: str, function: Function, items: Tensor, item: str) -> Tensor:
        first, second = function(items), function(items)
        if not bool(first.isfinite().all()):
            raise ValueError(f"{self.name}: {what} returned values that are not finite")
        if _apart(first, second) > _REPEAT:
            raise ValueError(
                f"{self.name}: {what} returned other values for the same {item} the second time: "
                "call .eval() on the network, and return the mean of a posterior, not a draw"
            )
        alone = torch.cat([function(part) for part in items[:2].split(1)])
        if _apart(first[:2], alone, float(first.float().std())) > _BATCH:
            raise ValueError(
                f"{self.name}: what {what} returns for an {item} depends on the others of its "
                "batch, as of batch-norm in training mode: call .eval() on the network"
            )
        return first

    def _encode(self, x: Tensor) -> Tensor:
        return self._called("encode", self._functions[0], x, self.latent_shape)

    def _decode(self, z: Tensor) -> Tensor:
        function = self._functions[1]
        if function is None:
            raise TypeError(f"model {self.name} is an encoder only: choose another decoder")
        return self._called("decode", function, z, (3, self.image_size, self.image_size))

    def _called(
        self, what: str, function: Function, items: Tensor, shape: tuple[int, ...]
    ) -> Tensor:
        found = function(items)
        if not isinstance(found, Tensor) or not found.is_floating_point():
            kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise TypeError(
                f"{self.name}: {what} must return a tensor of floats, got {kind}: wrap a function "
                "that takes it out, such as lambda x: net.encode(x).latent_dist.mean"
            )
        if tuple(found.shape) != (len(items), *shape):
            declared = " (latent_shape)" if what == "encode" else ""
            raise ValueError(
                f"{self.name}: {what} must return {(len(items), *shape)}{declared} for items of "
                f"shape {tuple(items.shape)}, got {tuple(found.shape)}"
            )
        return found


def _apart(one: Tensor, other: Tensor, spread: float | None = None) -> float:
    """Return the largest difference of two results, in units of their spread."""
    largest = float((one.float() - other.float()).abs().max())
    spread = float(one.float().std()) if spread is None else spread
    return largest / spread if spread > 0 else largest
