"""Cells with baselines: what a table's floors and ceilings rest on."""

import json
import math

import pytest
import torch

from stitching.data.faces import Faces
from stitching.maps import OLS, Ridge
from stitching.metrics.frechet import frechet_distance
from stitching.models.baseline import MeanEncoder, Pixels
from stitching.models.pca import PCA
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel, fit_frozen_model
from tests.small import probe_suite, small_cell, small_vae, small_vae_options

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
    pytest.mark.filterwarnings("ignore:probe penalty"),
]


def frozen(cls, **options):
    name = cls.__name__
    model = cls(name, 32, **options).freeze()
    return FrozenModel(model, {"_target_": name, "name": name, **options}, "float32")


def vae():
    return FrozenModel(small_vae(), small_vae_options(), "float32")


def cell(tmp_path, encoder, decoder, **options):
    data = options.pop("data", Faces("faces", 40, 9, 32, 0, 1))
    cache, latent_map = Cache(tmp_path), options.pop("map", Ridge())
    options = {"probe_suite": None} | options
    return small_cell(encoder, decoder, data, cache, latent_map, **options)


@pytest.mark.parametrize("fit", [Ridge(), Ridge(alpha_per_target=True), OLS()])
def test_mean_latents_map_to_the_mean_of_the_fit_latents(tmp_path, fit):
    target = vae()
    ran = cell(tmp_path, frozen(MeanEncoder), target, map=fit)
    result = ran.run()
    train, test = ran.data.split("train"), ran.data.split("test")
    mean = target.model.encode(train.images(slice(None))).double().mean(0).float()
    mapped = result.fitted.predict(torch.zeros(1, 1))[0]
    torch.testing.assert_close(mapped, mean, rtol=1e-6, atol=1e-9)
    x = test.images(slice(None))
    expected = (target.model.decode(mean[None]) - x).square().mean().sqrt()
    # Bytes are half of 1/255 off at most.
    assert result.metrics["image/rmse"] == pytest.approx(float(expected), rel=1e-3)
    assert result.metrics["alpha"] == 0
    # The test items' own mean, which no prediction beats, has 1 / n by the unbiased variance.
    assert result.metrics["latent/r2"] <= 1 / len(test)


def test_probes_take_mean_latents(tmp_path):
    suite = probe_suite(Cache(tmp_path))
    found = cell(tmp_path, frozen(MeanEncoder), vae(), probe_suite=suite).run().metrics
    json.dumps(found, allow_nan=False)
    assert math.isfinite(found["probe/consistency"])
    assert found["probe/n_constant"] == 2


def test_the_frechet_distance_of_equal_pictures_is_that_of_a_point():
    # One picture for all, as a map from mean latents gives: the mean shift and the whole spread.
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = float((x.mean(0) - 1).square().sum() + x.var(0).sum())
    assert frechet_distance(x, torch.ones(50, 4)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("cls", "rmse"), [(Pixels, 0.0), (PCA, 0.08)])
def test_an_autoencoders_diagonal_is_its_own_reconstruction(tmp_path, cls, rmse):
    result = cell(tmp_path, frozen(cls), frozen(cls)).run()
    assert result.metrics["map"] == "identity"
    assert result.metrics["image/rmse"] == pytest.approx(rmse, abs=0.04)


def test_principal_components_are_those_of_the_fit_images(tmp_path):
    ran = cell(tmp_path, frozen(PCA, width=6), vae())
    ran.run()
    oracle = PCA("pca", 32, 6).freeze()
    oracle.fit_images(ran.data.split("train").images(slice(None)))
    assert torch.equal(ran.encoder.model.components, oracle.components)
    assert ran.encoder.model.weights_hash == oracle.weights_hash


def test_one_model_in_both_roles_is_fitted_once_and_then_read(tmp_path, monkeypatch):
    calls = []
    plain = PCA.fit_images
    monkeypatch.setattr(PCA, "fit_images", lambda self, x: (calls.append(1), plain(self, x)))
    first = cell(tmp_path, frozen(PCA), frozen(PCA)).run()
    again = cell(tmp_path, frozen(PCA), frozen(PCA)).run()
    assert len(calls) == 1
    assert first.metrics == again.metrics
    assert first.metrics["weights/encoder"] == first.metrics["weights/decoder"]
    assert again.resources["count/images_encoded"] == 0


@pytest.mark.parametrize(
    ("other", "data"),
    [
        ({"width": 3}, Faces("faces", 40, 9, 32, 0, 1)),
        ({"width": 4}, Faces("faces", 30, 9, 32, 0, 1)),
    ],
)
def test_other_options_or_images_are_another_fit(tmp_path, other, data):
    first, second = frozen(PCA, width=4), frozen(PCA, **other)
    cell(tmp_path, first, first).run()
    cell(tmp_path, second, second, data=data).run()
    assert first.identity() != second.identity()
    assert first.model.weights_hash != second.model.weights_hash


def test_a_model_without_need_of_it_is_not_fitted(tmp_path):
    model = vae()
    before = model.identity()
    fit_frozen_model(model, Faces("faces", 4, 2, 32, 0, 1).split("train"), Cache(tmp_path), 4)
    assert model.identity() == before
    assert not list(tmp_path.iterdir())


def test_a_model_with_nothing_to_fit_refuses_images():
    with pytest.raises(TypeError, match="nothing to fit"):
        small_vae().fit_images(torch.zeros(2, 3, 32, 32))
