"""Models small enough to be made in every test."""

import torch

from stitching.maps import Ridge
from stitching.metrics.pixel import RMSE
from stitching.models.base import GenerativeModel
from stitching.models.vae import VAE
from stitching.pipeline.cell import Cell
from stitching.pipeline.fitting import Factorisations, Fitting
from stitching.pipeline.probing import ProbeSuite
from stitching.pipeline.protocol import Protocol
from stitching.probes import FactorProbes, LogisticProbes, SoftmaxProbes


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


def strict(**changes):
    """The strict protocol with few resamples."""
    switches = {
        "name": "strict",
        "probe_ids": "held_out",
        "penalty": "chosen",
        "latents": "mean",
        "test_images": None,
        "measures": ("latent/r2", "image/rmse"),
        "invalid": "fail",
        "n_bootstrap": 20,
        "n_halves": 10,
        "fit_groups": 4,
        "refits": "latents",
        "map_alphas": {},
        "probe_alphas": {},
    }
    return Protocol(**(switches | changes))


def probe_suite(cache, protocol=None, attributes=None, seed=0):
    """Probes of a cell: of attributes by default logistic ones of Male and Smiling."""
    attributes = attributes or LogisticProbes(["Male", "Smiling"], min_per_class=5, n_folds=3)
    return ProbeSuite(
        attributes, SoftmaxProbes(n_folds=3), FactorProbes(), protocol or strict(), cache, seed
    )


def small_cell(encoder, decoder, data, cache, latent_map=None, **options):
    """A cell with small defaults."""
    protocol = options.pop("protocol", None) or strict()
    fit = fitting(latent_map or Ridge(), cache)
    if protocol.penalty == "by_hand":
        fit = Fitting(fit.template, fit.factorisations, fit.device, protocol.map_alpha)
    defaults = {
        "metrics": {"rmse": RMSE()},
        "probe_suite": probe_suite(cache, protocol),
        "batch_size": 16,
        "seed": 0,
    }
    return Cell(
        encoder=encoder,
        decoder=decoder,
        data=data,
        fitting=fit,
        protocol=protocol,
        cache=cache,
        **(defaults | options),
    )
