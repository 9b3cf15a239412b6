import math

import pytest
import torch

from stitching.metrics.base import MetricUnavailable, sum_of_squares
from stitching.metrics.pixel import RMSE


def rmse(reference: torch.Tensor, stitched: torch.Tensor) -> float:
    metric = RMSE()
    return metric.compute(metric.features(reference), metric.features(stitched))["image/rmse"]


def test_constant_byte_difference_of_16_gives_16_of_255_in_both_orders():
    dark = torch.full((8, 3, 64, 64), 40, dtype=torch.uint8)
    light = torch.full((8, 3, 64, 64), 56, dtype=torch.uint8)
    assert rmse(dark, light) == pytest.approx(16 / 255, abs=1e-7)
    assert rmse(light, dark) == rmse(dark, light)


def test_images_of_one_set_have_distance_zero():
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert rmse(x, x.clone()) == 0


def test_root_is_taken_once_over_all_images():
    reference = torch.zeros(4, 3, 2, 2)
    stitched = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    # A mean of the four roots would give 0.25.
    assert rmse(reference, stitched) == pytest.approx(0.5, abs=1e-12)


def test_bytes_and_the_same_pixels_as_floats_agree():
    g = torch.Generator().manual_seed(1)
    a = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=g)
    b = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=g)
    assert rmse(a.float() / 255, b.float() / 255) == pytest.approx(rmse(a, b), abs=1e-7)


@pytest.mark.parametrize("batch", [1, 7, 32, 100])
def test_score_does_not_depend_on_the_batch_size(batch):
    metric = RMSE()
    reference = torch.zeros(100, 3, 4, 4)
    stitched = torch.zeros(100, 3, 4, 4)
    stitched[64:] = 1
    sides = [
        torch.cat([metric.features(part) for part in x.split(batch)])
        for x in (reference, stitched)
    ]
    # 36 of 100 images are off by 1; a mean of batch means would give 0.5 for batches of 32.
    assert metric.compute(*sides)["image/rmse"] ** 2 == pytest.approx(0.36, abs=1e-12)


def test_squares_are_summed_in_float64():
    a = torch.full((2, 3_000_000), 0.1)
    expected = 6_000_000 * float(a[0, 0].double().square())
    assert sum_of_squares(a, torch.zeros_like(a)) == pytest.approx(expected, rel=1e-12)


def test_squares_of_bytes_do_not_wrap_round():
    a = torch.tensor([[0, 255]], dtype=torch.uint8)
    b = torch.tensor([[255, 0]], dtype=torch.uint8)
    assert sum_of_squares(a, b) == 2 * 255**2


@pytest.mark.parametrize("scale", [2.0, 255.0])
def test_floats_outside_the_unit_range_are_refused(scale):
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        RMSE().features(torch.ones(2, 3, 4, 4) * scale)


def test_rows_with_values_that_are_not_finite_are_named():
    x = torch.zeros(8, 3, 4, 4)
    x[2, 0, 0, 0] = math.nan
    x[5, 1, 1, 1] = math.inf
    with pytest.raises(ValueError, match="2 of 8 rows are not: rows 2, 5"):
        RMSE().features(x)


def test_sets_of_different_counts_are_refused():
    with pytest.raises(ValueError, match=r"one shape .*\(3, 4\).*\(2, 4\)"):
        RMSE().compute(torch.zeros(3, 4), torch.zeros(2, 4))


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"stitched features must be finite.*rows 1"):
        RMSE().compute(torch.zeros(2, 4), torch.tensor([[0.0] * 4, [math.nan] * 4]))


def test_empty_sets_are_unavailable_with_name_count_and_minimum():
    with pytest.raises(MetricUnavailable, match=r"image/rmse needs at least 1 images.*got 0"):
        RMSE().compute(torch.zeros(0, 4), torch.zeros(0, 4))


def test_features_of_no_image_are_refused():
    with pytest.raises(ValueError, match="image/rmse needs at least 1 image, got 0"):
        RMSE().features(torch.zeros(0, 3, 4, 4))


def test_features_stay_float32_under_autocast():
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = RMSE().features(x)
    assert features.dtype == torch.float32
    assert torch.equal(features, x.flatten(1))
