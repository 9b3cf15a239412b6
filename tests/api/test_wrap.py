"""Functions as models: ranges, shapes, and that nothing stale is used."""

import pytest
import torch
from torch import nn

import stitching as st
from stitching import config
from tests.api.conftest import QUICK, pixels_as_functions


def files_in_cache():
    return {path for path in config.cache_root(None).rglob("*") if path.is_file()}


def test_functions_on_another_range_measure_as_the_packaged_model(data):
    """The images times a half, on [-1, 1], are an affine function of those on [0, 1]."""
    mine = st.stitch("thumbnail", pixels_as_functions(), data, **QUICK).scores.value
    packaged = st.stitch("thumbnail", "pixels", data, **QUICK).scores.value
    for key in ("image/rmse", "latent/r2", "geometry/cka"):
        assert mine[key] == pytest.approx(packaged[key], rel=1e-3)


def test_a_function_that_changes_between_calls_is_encoded_again(data):
    net = nn.Conv2d(3, 2, 8, stride=8).requires_grad_(False).eval()
    mine = st.wrap(net, name="mine", latent_shape=(2, 4, 4))
    first = st.stitch(mine, "thumbnail", data, **QUICK)
    before = files_in_cache()
    again = st.stitch(mine, "thumbnail", data, **QUICK)
    assert again.metrics == first.metrics
    assert files_in_cache() == before
    net.weight.zero_()
    net.weight[:, 0, 0, 0] = 1.0
    changed = st.stitch(mine, "thumbnail", data, **QUICK)
    assert changed.metrics["latent/r2"] != first.metrics["latent/r2"]


def test_an_encoder_alone_is_a_row_and_no_column(data):
    mine = st.wrap(lambda x: x.mean((2, 3)), name="mine", latent_shape=(3,))
    with pytest.raises(ValueError, match="decoder=mine: this model cannot decode"):
        st.stitch("thumbnail", mine, data, **QUICK)


@pytest.mark.parametrize(
    ("encode", "error", "message"),
    [
        (lambda x: x.mean((2, 3))[:, :2], ValueError, r"must return \(4, 3\) \(latent_shape\)"),
        (lambda x: (x.mean((2, 3)),), TypeError, "got tuple: wrap a function that takes it out"),
        (lambda x: x.mean((2, 3)).log().log(), ValueError, "not finite"),
        (lambda x: nn.functional.dropout(x, 0.5).mean((2, 3)), ValueError, "second time"),
        (lambda x: (x - x.mean()).mean((2, 3)), ValueError, "depends on the others"),
    ],
    ids=["shape", "tuple", "not finite", "random", "batch"],
)
def test_functions_are_tried_before_long_work(data, encode, error, message):
    mine = st.wrap(encode, name="mine", latent_shape=(3,))
    with pytest.raises(error, match=message):
        st.stitch(mine, "thumbnail", data, **QUICK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(name="vae"), "packaged model vae"),
        (dict(name="pca-of-mine"), "packaged model pca"),
        (dict(name="a b"), "is no name"),
        (dict(latent_shape=()), "latent_shape"),
        (dict(value_range=(1, -1)), "the lower first"),
        (dict(encode=3), "must be a function"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        st.wrap(**({"encode": torch.abs, "name": "mine", "latent_shape": (3,)} | change))


def test_the_device_is_that_of_the_networks_behind_the_functions():
    class Model:
        def __init__(self):
            self.net = nn.Linear(1, 1, device="meta")

        def encode(self, x):
            return self.net(x)

    model, net = Model(), nn.Linear(1, 1, device="meta")
    for function in (model.encode, net, lambda x: net(x), lambda x: model.encode(x)):
        assert st.wrap(function, name="mine", latent_shape=(1,)).device.type == "meta"
    assert st.wrap(torch.abs, name="mine", latent_shape=(1,)).device.type == "cpu"
