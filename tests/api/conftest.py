"""Data and a grid that the tests of the Python interface share."""

import pytest
import torch

import stitching as st

QUICK = {"metric": ["rmse"], "probe": "none", "map.alpha": 1e-3, "protocol.n_bootstrap": 100}


def pixels_as_functions(name="mine", **options):
    """The images as latents, by functions of a user's on another range."""
    return st.wrap(
        lambda x: x * 0.5, lambda z: z * 2, name=name, latent_shape=(3, 32, 32),
        value_range=(-1, 1), **options,
    )  # fmt: skip


def fails_on_many(x):
    """Latents that are not finite for more images than functions are tried on."""
    return x.mean((2, 3)) if len(x) < 16 else x.mean((2, 3)) * torch.inf


@pytest.fixture(scope="package")
def data():
    return st.load_data("faces", n_train=24, n_test=8, image_size=32)


@pytest.fixture(scope="package")
def grid(data, tmp_path_factory):
    """Two packaged models, functions that work, and an encoder that fails."""
    broken = st.wrap(fails_on_many, name="broken", latent_shape=(3,))
    models = ["thumbnail", pixels_as_functions(), broken]
    folder = tmp_path_factory.mktemp("grid")
    return st.grid(models, data, decoders=["thumbnail", "pixels"], folder=folder, **QUICK)
