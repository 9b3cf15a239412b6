"""Cells beside maps from pixels: what latents explain beyond them, and gains of images."""

import dataclasses

import numpy as np
import pytest

from stitching.data.faces import Faces
from stitching.maps import Ridge
from stitching.metrics.lpips import LPIPS
from stitching.metrics.pixel import RMSE
from stitching.models.baseline import MeanEncoder, Pixels, RandomEncoder
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel
from tests.small import small_cell, small_vae, small_vae_options

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
]

BEYOND, GAIN = "latent/r2_beyond_pixels", "image/rmse_gain"


def frozen(cls, name, **options):
    model = cls(name, 32, **options).freeze()
    return FrozenModel(model, {"_target_": name, "name": name, **options}, "float32")


def pixels():
    return frozen(Pixels, "pixels")


def vae():
    return FrozenModel(small_vae(), small_vae_options(), "float32")


def run(cache, encoder, decoder, **options):
    defaults = {"pixels": pixels(), "probe_suite": None, "round_trip": False, "geometry": False}
    data = options.pop("data", Faces("faces", 40, 9, 32, 0, 1))
    return small_cell(encoder, decoder, data, Cache(cache), **(defaults | options)).run()


def test_pixels_explain_nothing_beyond_themselves(tmp_path):
    found = run(tmp_path, pixels(), vae()).metrics
    assert found[BEYOND] == 0
    assert (found[GAIN], found[f"{GAIN}.low"], found[f"{GAIN}.high"]) == (0, 0, 0)


def test_a_model_explains_all_of_itself(tmp_path):
    found = run(tmp_path, vae(), vae()).metrics
    assert found[BEYOND] == 1


class Constant(MeanEncoder):
    """One latent for all images."""

    can_decode = True

    def _decode(self, z):
        return z.new_zeros(len(z), 3, self.image_size, self.image_size)


def test_of_a_target_that_does_not_vary_nothing_is_left(tmp_path):
    found = run(tmp_path, vae(), frozen(Constant, "constant")).metrics
    assert found[BEYOND] is None
    assert "leaves nothing" in found[f"{BEYOND}_missing"]


def test_latents_of_no_image_explain_nothing(tmp_path):
    random = frozen(RandomEncoder, "random", latent_dim=30, seed=0)
    found = run(tmp_path, random, vae()).metrics
    assert (found[BEYOND], found[f"{BEYOND}_share"]) == (0, 0)
    assert found[f"{BEYOND}.low"] < 0 < found[f"{BEYOND}.high"]  # left out, but not known exactly


@pytest.mark.parametrize("metric", ["rmse", "lpips"])
def test_a_gain_is_the_difference_to_the_cell_of_pixels(tmp_path, metric):
    random = frozen(RandomEncoder, "random", latent_dim=30, seed=0)
    metrics = {metric: RMSE() if metric == "rmse" else LPIPS("alex", None)}
    ours, theirs = (run(tmp_path, x, vae(), metrics=metrics) for x in (random, pixels()))
    key, gain = f"image/{metric}", f"image/{metric}_gain"
    assert ours.metrics[gain] == pytest.approx(theirs.metrics[key] - ours.metrics[key], abs=1e-12)
    np.testing.assert_allclose(ours.draws[gain], theirs.draws[key] - ours.draws[key], atol=1e-7)


def test_controls_choose_their_penalty_by_images_where_the_cell_does(tmp_path):
    ours, theirs = (
        run(tmp_path, x, frozen(Pixels, "other"), latent_map=Ridge(selection="images")).metrics
        for x in (vae(), pixels())
    )
    expected = theirs["image/rmse"] - ours["image/rmse"]
    assert ours[GAIN] == pytest.approx(expected, abs=1e-12)


def test_a_gain_over_components_is_the_difference_to_the_cell_of_so_many(tmp_path):
    vaes = [vae(), dataclasses.replace(pixels(), width=16)]
    decoder = frozen(Pixels, "other")
    ours, theirs = (run(tmp_path, x, decoder).metrics for x in vaes)
    expected = theirs["image/rmse"] - ours["image/rmse"]
    assert ours["image/rmse_gain_pca"] == pytest.approx(expected, abs=1e-12)
    assert ours["image/rmse_gain_pca"] != ours["image/rmse_gain"]


def test_streamed_latents_have_nearly_the_same_measures(tmp_path):
    size, data = {"image_size": 16}, Faces("faces", 40, 9, 16, 0, 1)
    encoder = FrozenModel(small_vae(**size), small_vae_options(**size), "float32")
    images, target = (
        FrozenModel(Pixels(name, 16).freeze(), {"_target_": name, "name": name}, "float32")
        for name in ("pixels", "other")
    )
    plain, streamed = (
        run(tmp_path, encoder, target, latent_map=fit, data=data, pixels=images)
        for fit in (Ridge(), Ridge(chunk=16))
    )
    assert plain.metrics[f"{BEYOND}_view"] == 0
    assert plain.metrics[BEYOND] == pytest.approx(streamed.metrics[BEYOND], abs=1e-6)


def test_without_controls_there_are_no_such_measures(tmp_path):
    found = run(tmp_path, vae(), frozen(Pixels, "other"), pixels=None).metrics
    assert not [key for key in found if "beyond" in key or "gain" in key]
