"""Models small enough to be made in every test."""

import torch

from stitching.fitting import Factorisations, Fitting
from stitching.models.base import GenerativeModel
from stitching.models.vae import VAE


class Pixels(GenerativeModel):
    """The latent is the image itself; `shift` is added while decoding."""

    decode_options = frozenset({"shift"})

    def __init__(self, name="pixels", image_size=32, shift=0.0):
        super().__init__(name, image_size, (3, image_size, image_size))
        self.shift = shift

    def _encode(self, x):
        return x

    def _decode(self, z):
        return z + self.shift


def small_vae_options(**options):
    defaults = {
        "name": "vae", "image_size": 32, "patch_size": 4, "latent_dim": 16,
        "channels": [8, 8], "value_range": [0.0, 1.0],
    }  # fmt: skip
    return {"_target_": "stitching.models.vae.VAE", **defaults, **options}


def small_vae(**options):
    torch.manual_seed(0)
    arguments = small_vae_options(**options)
    arguments.pop("_target_")
    return VAE(**arguments).freeze()


def fitting(latent_map, cache):
    return Fitting(latent_map, Factorisations(cache), torch.device("cpu"))
