"""Baselines: models that bound the measures of others from below and above."""

import hashlib

from torch import Tensor

from stitching.compute.images import to_uint8
from stitching.compute.seeding import item_noise
from stitching.models.base import GenerativeModel


class EncoderOnly(GenerativeModel):
    """A model that cannot decode."""

    can_decode = False
    thread_safe = True

    def _decode(self, z: Tensor) -> Tensor:
        raise TypeError(f"model {self.name} is an encoder only: choose another decoder")


class RandomEncoder(EncoderOnly):
    """Standard normal latents, drawn by a hash of the image's bytes.

    The same image has the same latent in every batch, split and process; similar images have
    independent ones.
    """

    def __init__(self, name: str, image_size: int, latent_dim: int, seed: int) -> None:
        super().__init__(name, image_size, (latent_dim,))
        self.seed = seed

    def _encode(self, x: Tensor) -> Tensor:
        pixels = to_uint8(x).cpu().numpy()
        items = [
            int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big") for image in pixels
        ]
        return item_noise(self.seed, items, self.latent_shape).to(x.device)


class MeanEncoder(EncoderOnly):
    """The same latent for every image, so that every map predicts the mean target latent.

    Unlike `RandomEncoder` it leaves no noise to overfit.
    """

    def __init__(self, name: str, image_size: int) -> None:
        super().__init__(name, image_size, (1,))

    def _encode(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 1)


class Pixels(GenerativeModel):
    """The latent is the image itself."""

    thread_safe = True

    def __init__(self, name: str, image_size: int) -> None:
        super().__init__(name, image_size, (3, image_size, image_size))

    def _encode(self, x: Tensor) -> Tensor:
        return x

    def _decode(self, z: Tensor) -> Tensor:
        return z

    def _prior(self, noise: Tensor) -> Tensor:
        raise TypeError(f"model {self.name} has no prior to draw images from")
