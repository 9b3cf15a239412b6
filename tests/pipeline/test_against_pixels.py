"""Cells beside maps from pixels: what latents explain beyond them, and gains of images."""


import numpy as np
import pytest

from stitching.data.faces import Faces
from stitching.models.baseline import Pixels, RandomEncoder
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


def test_of_a_target_that_is_pixels_nothing_is_left(tmp_path):
    found = run(tmp_path, vae(), frozen(Pixels, "other")).metrics
    assert found[BEYOND] is None
    assert "leaves nothing" in found[f"{BEYOND}_missing"]


def test_latents_of_no_image_explain_nothing(tmp_path):
    random = frozen(RandomEncoder, "random", latent_dim=30, seed=0)
    found = run(tmp_path, random, vae()).metrics
    assert abs(found[BEYOND]) < 0.02


def test_a_gain_is_the_difference_to_the_cell_of_pixels(tmp_path):
    ours, theirs = (run(tmp_path, encoder, vae()) for encoder in (small_nf_frozen(), pixels()))
    gain = theirs.metrics["image/rmse"] - ours.metrics["image/rmse"]
    assert ours.metrics[GAIN] == pytest.approx(gain, abs=1e-12)
    draws = theirs.draws["image/rmse"] - ours.draws["image/rmse"]
    np.testing.assert_allclose(ours.draws[GAIN], draws, atol=1e-7)
