"""A GAN on both sides of a map, on images it drew."""

import pytest
import torch

from stitching.data.drawn import Drawn
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel
from stitching.probes import LogisticProbes
from tests.gans import small_gan, small_gan_options
from tests.small import probe_suite, small_cell, small_vae, small_vae_options

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]


def gan(**options):
    return FrozenModel(small_gan(**options), small_gan_options(**options), "float32")


def vae():
    return FrozenModel(small_vae(), small_vae_options(), "float32")


def run(tmp_path, encoder, decoder):
    data = Drawn("drawn", 60, 8, 32, 0, 1, small_gan())
    cache = Cache(tmp_path)
    suite = probe_suite(cache, attributes=LogisticProbes("auto"))
    return small_cell(encoder, decoder, data, cache, probe_suite=suite).run()


@pytest.mark.parametrize("space", ["z", "w"])
def test_a_gan_is_mapped_to_an_autoencoder(tmp_path, space):
    result = run(tmp_path, gan(space=space), vae())
    assert result.metrics["map"] == "ridge"
    assert result.metrics["d_source"] == {"z": 16, "w": 24}[space]
    assert 0 < result.metrics["image/rmse"] < 1
    assert result.resources["count/images_encoded"] == 68  # by the autoencoder alone


@pytest.mark.parametrize("space", ["z", "w", "w+", "style"])
def test_an_autoencoder_is_mapped_to_a_gan(tmp_path, space):
    result = run(tmp_path, vae(), gan(space=space))
    assert result.metrics["map"] == "ridge"
    assert 0 < result.metrics["image/rmse"] < 1


@pytest.mark.parametrize("space", ["z", "w", "w+", "style"])
def test_the_diagonal_gives_the_drawings_back(tmp_path, space):
    result = run(tmp_path, gan(space=space), gan(space=space))
    assert result.metrics["map"] == "identity"
    assert result.metrics["latent/r2"] == 1
    assert torch.equal(result.pictures.stitched, result.pictures.original)


def test_one_gans_spaces_are_mapped_onto_each_other(tmp_path):
    result = run(tmp_path, gan(space="w+"), gan(space="w"))
    assert result.metrics["map"] == "ridge"
    assert result.metrics["latent/r2"] > 0.99


def test_all_measures_are_taken_against_the_drawings(tmp_path):
    result = run(tmp_path, vae(), gan())
    drawn = small_gan().draw(0, range(10_000_000, 10_000_008))[1]
    assert torch.equal(result.pictures.original, drawn)


def test_images_without_attributes_leave_the_probes_out(tmp_path):
    result = run(tmp_path, gan(), vae())
    assert "probe/consistency" not in result.metrics or result.metrics["probe/consistency"] is None


def test_a_rerun_gives_the_same_results(tmp_path):
    first, second = (run(tmp_path / str(i), vae(), gan(space="w")) for i in range(2))
    assert first.metrics == second.metrics
    assert torch.equal(first.pictures.stitched, second.pictures.stitched)
