"""Baselines: the floors and the ceiling that the numbers of a table are read against."""

import hashlib

from torch import Tensor

from stitching.compute.images import to_uint8
from stitching.compute.seeding import item_noise
from stitching.models.base import GenerativeModel


class RandomEncoder(GenerativeModel):
    """Standard normal latents that know nothing of the image but which one it is.

    The noise of an image is keyed by a hash of its pixels as bytes, so the same image has the
    same latent in every batch, split and process, while similar images have unrelated ones.

    Args:
        name: See `GenerativeModel`.
        image_size: See `GenerativeModel`.
        latent_dim: Width of the latent.
        seed: Which noise.
    """

    can_decode = False
    thread_safe = True

    def __init__(self, name: str, image_size: int, latent_dim: int, seed: int) -> None:
        super().__init__(name, image_size, (latent_dim,))
        self.seed = seed

    def _encode(self, x: Tensor) -> Tensor:
        pixels = to_uint8(x).cpu().numpy()
        items = [
            int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big") for image in pixels
        ]
        return item_noise(self.seed, items, self.latent_shape).to(x.device)

    def _decode(self, z: Tensor) -> Tensor:
        raise TypeError(f"model {self.name} is an encoder only: choose another decoder")


class MeanEncoder(GenerativeModel):
    """The same latent for every image: any fitted map predicts the mean target latent.

    Where `random` lets a map fit noise, this one leaves it nothing but the intercept, so it is
    the floor without the cost of overfitting.

    Args:
        name: See `GenerativeModel`.
        image_size: See `GenerativeModel`.
    """

    can_decode = False
    thread_safe = True

    def __init__(self, name: str, image_size: int) -> None:
        super().__init__(name, image_size, (1,))

    def _encode(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 1)

    def _decode(self, z: Tensor) -> Tensor:
        raise TypeError(f"model {self.name} is an encoder only: choose another decoder")


class Pixels(GenerativeModel):
    """The latent is the image itself: what a linear map does to pixels, without any model.

    Args:
        name: See `GenerativeModel`.
        image_size: See `GenerativeModel`.
    """

    thread_safe = True

    def __init__(self, name: str, image_size: int) -> None:
        super().__init__(name, image_size, (3, image_size, image_size))

    def _encode(self, x: Tensor) -> Tensor:
        return x

    def _decode(self, z: Tensor) -> Tensor:
        return z

    def _prior(self, noise: Tensor) -> Tensor:
        raise TypeError(f"model {self.name} has no prior to draw images from")
