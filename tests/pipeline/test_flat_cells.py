"""Cells whose penalty is not determined, and penalties chosen by decoded images."""

import numpy as np
import pytest

from stitching.compute.images import quantise
from stitching.config.compatibility import check_penalty
from stitching.data.faces import Faces
from stitching.maps import Ridge, ridge
from stitching.maps.flatness import OtherPenalty
from stitching.metrics.pixel import RMSE
from stitching.metrics.resampling import Estimate
from stitching.pipeline.cache import Cache
from stitching.pipeline.encoding import FrozenModel
from stitching.pipeline.flat import gains_at_other_penalty, warn_of_choice
from tests.small import Pixels, small_cell, small_vae, small_vae_options, strict

pytestmark = [
    pytest.mark.filterwarnings("ignore::stitching.maps.PenaltyEdgeWarning"),
    pytest.mark.filterwarnings("ignore::stitching.maps.InterpolationWarning"),
]

OTHER = 40.0


def cell(tmp_path, latent_map, **options):
    encoder = FrozenModel(Pixels().freeze(), {"name": "pixels"}, "float32")
    decoder = FrozenModel(small_vae(), small_vae_options(), "float32")
    data = Faces("faces", 40, 9, 32, 0, 1)
    options = {"metrics": {"rmse": RMSE()}, "geometry": False, "round_trip": False} | options
    return small_cell(encoder, decoder, data, Cache(tmp_path), latent_map, **options)


@pytest.fixture
def undetermined(monkeypatch):
    """Every chosen penalty has another that scores as well."""
    other = OtherPenalty(OTHER, 0.008, 0.2)
    monkeypatch.setattr(ridge, "other_penalty", lambda *_: other)


@pytest.mark.usefixtures("undetermined")
def test_a_flat_cell_is_measured_as_with_the_other_penalty(tmp_path, caplog):
    flat = cell(tmp_path, Ridge()).run()
    other = cell(tmp_path, Ridge(alpha=OTHER)).run()
    assert flat.metrics["map/flat"] == 1
    assert flat.metrics["map/flat_alpha"] == OTHER
    assert "pixels to vae: penalty not determined: 40 scores 0.8 % worse" in caplog.text
    keys = [k.removeprefix("flat/") for k in flat.metrics if k.startswith("flat/")]
    assert {"latent/r2", "image/rmse", "probe/kappa", "probe/consistency"} <= set(keys)
    of_attributes = [key for key in keys if key.count("/") > 1]
    assert all(key.startswith("probe/kappa_relative/") for key in of_attributes)
    for key in keys:
        assert flat.metrics[f"flat/{key}"] == other.metrics[key], key
    for key in ("latent/r2", "image/rmse", "probe/kappa"):
        np.testing.assert_array_equal(flat.draws[f"flat/{key}"], other.draws[key])
        assert flat.metrics[f"flat/{key}.low"] == other.metrics[f"{key}.low"]
    assert flat.metrics["latent/r2"] != flat.metrics["flat/latent/r2"]


def test_gains_over_a_control_move_as_the_measure_does_draw_by_draw():
    def estimate(value, *draws):
        return Estimate(value, np.array(draws))

    control = estimate(0.10, 0.11, 0.12)
    chosen, other = estimate(0.06, 0.05, 0.07), estimate(0.05, 0.06, 0.04)
    gain = estimate(0.04, *(control.draws - chosen.draws))
    scores = {"image/rmse": chosen, "image/rmse_gain_pca": gain, "image/ssim_gain": gain}
    found = gains_at_other_penalty(scores, {"image/rmse": other})
    assert list(found) == ["image/rmse_gain_pca"]
    assert found["image/rmse_gain_pca"].value == pytest.approx(0.10 - 0.05)
    np.testing.assert_allclose(found["image/rmse_gain_pca"].draws, control.draws - other.draws)


@pytest.mark.usefixtures("undetermined")
def test_images_of_the_other_penalty_that_are_not_finite_are_counted(tmp_path, monkeypatch):
    flat = cell(tmp_path, Ridge())
    decode, calls = flat._decode, []

    def broken(latents):
        calls.append(1)
        images = decode(latents)
        if len(calls) == 2:
            images[3, 0, 0, 0] = float("nan")
        return images

    monkeypatch.setattr(flat, "_decode", broken)
    metrics = flat.run().metrics
    assert metrics["invalid/flat_stitched"] == 1
    assert not any(key.startswith("flat/") for key in metrics)


@pytest.mark.parametrize("latent_map", [Ridge(flat_tolerance=0), Ridge(alpha=3.0)])
def test_where_nothing_is_looked_for_nothing_is_measured(tmp_path, latent_map):
    metrics = cell(tmp_path, latent_map, probe_suite=None).run().metrics
    assert metrics["map/flat"] is None
    assert not any(key.startswith("flat/") for key in metrics)


def test_the_penalty_by_images_is_that_of_a_loop_over_cells_fit_images(tmp_path):
    chosen = cell(tmp_path, Ridge(selection="images"), probe_suite=None)
    result = chosen.run()
    source, target = (
        chosen._encode(frozen, chosen._test_images())[0]
        for frozen in (chosen.encoder, chosen.decoder)
    )
    images = chosen.data.split("train")
    held_out = np.arange(len(images)) % 5 == 0
    truth = quantise(images.images(slice(None)))[0][held_out].double()
    errors = {}
    for row in result.curves["penalty_curve"]:
        fitted = Ridge(alpha=row["alpha"]).fit(source.train[~held_out], target.train[~held_out])
        mapped = fitted.predict(source.train[held_out])
        decoded = quantise(chosen.decoder.model.decode_unclamped(mapped))[0].double()
        errors[row["alpha"]] = float(((decoded - truth) / 255).square().mean().sqrt())
        assert row["image_rmse"] == pytest.approx(errors[row["alpha"]], rel=1e-3)
    assert result.metrics["alpha"] == min(errors, key=errors.get)
    assert result.metrics["map/selection"] == "images"
    assert result.metrics["map/flat"] is None


def test_maps_that_are_not_decoded_choose_their_penalty_by_latents(tmp_path):
    options = {"round_trip": True, "probe_suite": None}
    by_images = cell(tmp_path, Ridge(selection="images"), **options).run().metrics
    by_latents = cell(tmp_path, Ridge(), **options).run().metrics
    assert by_images["alpha"] != by_latents["alpha"]
    assert by_images["map/reverse_alpha"] == by_latents["map/reverse_alpha"]
    assert by_images["latent/reverse_r2"] == by_latents["latent/reverse_r2"]


def test_the_penalty_by_images_does_not_depend_on_the_batch_size(tmp_path):
    found = [
        cell(
            tmp_path / str(size), Ridge(selection="images"), batch_size=size, probe_suite=None
        ).run()
        for size in (3, 32)
    ]
    assert found[0].curves == found[1].curves


def test_a_validation_split_keeps_its_images_together(tmp_path):
    options = {"validation": 0.3, "probe_suite": None}
    metrics = cell(tmp_path, Ridge(selection="images"), **options).run().metrics
    assert metrics["latent/validation_r2"] < 1


def test_penalties_by_hand_and_by_images_exclude_each_other():
    with pytest.raises(ValueError, match=r"leaves nothing for map\.selection=images to choose"):
        check_penalty(strict(penalty="by_hand"), Ridge(selection="images"))


def test_a_choice_that_failed_on_test_images_is_logged(caplog):
    values = {"latent/mse": 2.0, "map/cv_mse": 0.1, "alpha": 3e-8}
    warn_of_choice(values, "a", "b")
    assert "a to b: squared error 2 on test images, 0.1 by cross-validation" in caplog.text
    caplog.clear()
    for usual in ({"latent/mse": 0.9}, {"map/cv_mse": None}, {"latent/mse": None}):
        warn_of_choice(values | usual, "a", "b")
    assert caplog.text == ""
