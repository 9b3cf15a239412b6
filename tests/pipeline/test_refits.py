"""Cells whose intervals contain the choice of their fit images."""

import numpy as np
import pytest
import torch

from stitching.data.faces import Faces
from stitching.maps import OLS, Procrustes, ReducedRank, Ridge
from stitching.metrics.jackknife import deviations, groups_of, multipliers
from stitching.metrics.latent import latent_scores
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel
from tests.small import Pixels, small_cell, small_vae, small_vae_options, strict

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]
GROUPS = 4
LATENT = ("latent/mse", "latent/rmse", "latent/r2", "latent/nmse", "latent/cosine")


def pixels():
    return FrozenModel(Pixels().freeze(), {"name": "pixels"}, "float32")


def vae():
    return FrozenModel(small_vae(), small_vae_options(), "float32")


def run(tmp_path, latent_map=None, encoder=None, decoder=None, **switches):
    encoder, decoder = encoder or pixels(), decoder or vae()
    data = Faces("faces", 40, 60, 32, 0, 1)
    return small_cell(
        encoder,
        decoder,
        data,
        Cache(tmp_path),
        latent_map or Ridge(alpha=5.0),
        probe_suite=None,
        geometry=False,
        round_trip=False,
        protocol=strict(n_bootstrap=400, **switches),
    ), data


def test_the_variance_by_fit_images_is_that_of_maps_fitted_again(tmp_path):
    cell, data = run(tmp_path)
    result, plain = cell.run(), run(tmp_path, fit_groups=0)[0].run()
    fit, test = (
        {
            model: frozen.model.encode(data.split(split).images(slice(None)))
            for model, frozen in (("source", cell.encoder), ("target", cell.decoder))
        }
        for split in ("train", "test")
    )
    groups = groups_of(data.split("train").ids, GROUPS)
    sizes = dict(zip(*(x.tolist() for x in np.unique(groups, return_counts=True)), strict=True))
    without = {}
    for group in sizes:
        kept = torch.from_numpy(groups != group)
        fitted = Ridge(alpha=5.0).fit(fit["source"][kept], fit["target"][kept])
        without[group] = latent_scores(test["target"], fitted.predict(test["source"]))
    for key in LATENT:
        values = {group: scores[key].value for group, scores in without.items()}
        parts = deviations(result.metrics[key], values, sizes)
        # Both cells have the same draws of the test images.
        added = result.draws[key].astype(float) - plain.draws[key]
        expected = multipliers(400, GROUPS)[:, list(parts)] @ np.array(list(parts.values()))
        # Less what is chance of the test images, which is in their draws.
        scale = float(added @ expected / (expected @ expected))
        assert 0 <= scale < 1
        assert added == pytest.approx(scale * expected, rel=1e-2, abs=2e-3 * expected.std())
        assert result.metrics[key] == plain.metrics[key]
    assert result.metrics["map/refits"] == GROUPS
    assert 0 < result.metrics["latent/r2_fit_share"] < 1
    assert "image/rmse_fit_share" not in result.metrics


def test_without_groups_intervals_are_of_the_test_images(tmp_path):
    metrics = run(tmp_path, fit_groups=0)[0].run().metrics
    assert metrics["map/refits"] == 0
    assert metrics["map/refits_missing"] == "protocol.fit_groups=0"
    assert "latent/r2_fit_share" not in metrics


def test_refits_of_images_vary_image_measures_too(tmp_path):
    images, latents = (run(tmp_path, refits=kind)[0].run() for kind in ("images", "latents"))
    assert 0 < images.metrics["image/rmse_fit_share"] < 1
    assert (images.draws["image/rmse"] != latents.draws["image/rmse"]).any()
    assert images.metrics["image/rmse"] == latents.metrics["image/rmse"]
    assert (images.draws["latent/r2"] == latents.draws["latent/r2"]).all()


@pytest.mark.parametrize(
    ("latent_map", "why"),
    [
        (Procrustes(), "map=procrustes has no closed form of a refit"),
        (ReducedRank(2, alpha=1.0), "map=reduced_rank has no closed form of a refit"),
    ],
)
def test_other_maps_give_the_reason(tmp_path, latent_map, why):
    metrics = run(tmp_path, latent_map)[0].run().metrics
    assert metrics["map/refits"] == 0
    assert metrics["map/refits_missing"] == why
    assert metrics["latent/r2.low"] is not None


def test_streamed_latents_are_not_refitted(tmp_path):
    streamed = Ridge(alpha=5.0, chunk=7)
    metrics = run(tmp_path, streamed, encoder=vae(), decoder=pixels())[0].run().metrics
    assert metrics["map/refits_missing"] == "latents are streamed (map.chunk=7)"


def test_an_interpolating_map_is_refitted_too(tmp_path):
    assert run(tmp_path, OLS())[0].run().metrics["map/refits"] == GROUPS


def test_the_diagonal_has_no_map_to_refit(tmp_path):
    metrics = run(tmp_path, encoder=vae())[0].run().metrics
    assert metrics["map/refits_missing"] == "no map was fitted"
