import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stitching.metrics.base import MetricUnavailable
from stitching.metrics.pixel import PSNR, RMSE
from stitching.metrics.resampling import Resamples
from tests.metrics.sets import byte_images, no_resamples, noisy


def rmse(reference: torch.Tensor, stitched: torch.Tensor) -> float:
    metric = RMSE()
    sides = metric.space.features(reference), metric.space.features(stitched)
    return metric.compute(*sides, no_resamples(len(reference)))["image/rmse"].value


def psnr(reference: torch.Tensor, stitched: torch.Tensor, resamples: Resamples | None = None):
    metric = PSNR()
    resamples = resamples or no_resamples(len(reference))
    sides = (metric.space.features(x) for x in (reference, stitched))
    return metric.compute(*sides, resamples)


def test_constant_byte_difference_of_16_gives_16_of_255_in_both_orders():
    dark = torch.full((8, 3, 64, 64), 40, dtype=torch.uint8)
    light = torch.full((8, 3, 64, 64), 56, dtype=torch.uint8)
    assert rmse(dark, light) == pytest.approx(16 / 255, abs=1e-12)
    assert rmse(light, dark) == rmse(dark, light)


def test_images_of_one_set_have_distance_zero():
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert rmse(x, x.clone()) == 0


def test_images_that_differ_by_rounding_to_bytes_have_distance_zero():
    x = torch.full((2, 3, 8, 8), 0.25)
    x[:, :, 4:] = 0.75
    assert rmse(x, (x * 255 + 0.5).floor() / 255) == 0


def test_root_is_taken_once_over_all_images():
    reference = torch.zeros(4, 3, 2, 2)
    stitched = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    # A mean of the four roots would give 0.25.
    assert rmse(reference, stitched) == pytest.approx(0.5, abs=1e-12)


def test_bytes_and_the_same_pixels_as_floats_agree():
    a, b = byte_images(5, 0), byte_images(5, 1)
    assert rmse(a.float() / 255, b.float() / 255) == rmse(a, b)


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 5))
def test_rmse_equals_numpys_root_of_the_mean_square(seed, n, side):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 256, (n, 3, side, side), dtype=np.uint8) for _ in range(2))
    expected = math.sqrt(np.mean((a.astype(float) / 255 - b.astype(float) / 255) ** 2))
    assert rmse(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, abs=1e-12)


def test_each_draw_is_the_rmse_of_the_images_that_were_drawn():
    a, b = byte_images(6, 0), byte_images(6, 1)
    resamples = Resamples(6, 5, 0)
    metric = RMSE()
    draws = metric.compute(a, b, resamples)["image/rmse"].draws
    for draw, counts in zip(draws, resamples.counts.long(), strict=True):
        chosen = torch.repeat_interleave(torch.arange(6), counts)
        assert draw == pytest.approx(rmse(a[chosen], b[chosen]), rel=1e-12)


def test_the_difference_of_two_stitched_sets_is_known_better_than_either():
    # What makes an image hard is the same for both; the second set is a little worse in all.
    x = byte_images(60, 0, low=60, high=190)
    hardness = torch.linspace(0.02, 0.2, 60).view(-1, 1, 1, 1)
    sets = [noisy(x, scale * hardness, seed=4) for scale in (1.0, 1.1)]
    one, other = (RMSE().compute(x, y, Resamples(60))["image/rmse"].draws for y in sets)
    unpaired = math.hypot(one.std(), other.std())
    assert (one - other).std() < unpaired / 5


def test_empty_sets_are_unavailable_with_name_count_and_minimum():
    empty = torch.zeros(0, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(MetricUnavailable, match=r"image/rmse needs at least 1 images.*got 0"):
        RMSE().compute(empty, empty, no_resamples(1))


def test_psnr_of_a_constant_difference_follows_the_closed_form():
    x = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8)
    expected = 20 * math.log10(255 / 16)
    assert psnr(x, x + 16)["image/psnr"].value == pytest.approx(expected, rel=1e-12)


def test_psnr_agrees_with_torchmetrics_default_over_several_images():
    from torchmetrics.image import PeakSignalNoiseRatio

    x = byte_images(5, 0)
    y = torch.cat([noisy(x[:2], 0.02), noisy(x[2:], 0.2)])
    theirs = PeakSignalNoiseRatio(data_range=1.0)
    theirs.update(y.float() / 255, x.float() / 255)
    assert psnr(x, y)["image/psnr"].value == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_psnr_of_one_image_agrees_with_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio

    x, y = byte_images(1, 0), byte_images(1, 1)
    theirs = peak_signal_noise_ratio(x.numpy(), y.numpy())
    assert psnr(x, y)["image/psnr"].value == pytest.approx(theirs, rel=1e-12)


def test_psnr_of_equal_images_is_missing_with_the_reason():
    x = byte_images(3, 0)
    result = psnr(x, x, Resamples(3))
    assert result["image/psnr"].value is None
    assert result["image/psnr"].interval == (None, None)
    assert "are equal, so the ratio is infinite" in result["image/psnr_missing"]


def test_psnr_is_undefined_on_draws_of_equal_images_alone():
    x = byte_images(3, 0)
    y = x.clone()
    y[0] = 255 - y[0]
    resamples = Resamples(3, 200)
    estimate = psnr(x, y, resamples)["image/psnr"]
    without = (resamples.counts[:, 0] == 0).numpy()
    assert without.any()
    np.testing.assert_array_equal(np.isnan(estimate.draws), without)


@pytest.mark.parametrize("metric", [RMSE(), PSNR()])
def test_pixels_as_floats_are_refused_where_bytes_are_compared(metric):
    floats = torch.zeros(2, 3, 4, 4)
    with pytest.raises(TypeError, match=r"pixels features of type torch\.uint8"):
        metric.compute(floats, floats, no_resamples(2))
