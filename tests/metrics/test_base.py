import math

import pytest
import torch

from stitching.metrics import base
from stitching.metrics.base import (
    FeatureSpace,
    ImageMetric,
    MetricUnavailable,
    squared_distances,
)
from stitching.metrics.resampling import Resamples
from tests.metrics.sets import Given, byte_images, no_resamples, normal


class MeanDistance(ImageMetric):
    name = "mean_distance"
    space = Given()

    def _score(self, reference, stitched, resamples):
        return {"image/mean_distance": resamples.mean(squared_distances(reference, stitched))}


class Bytes(FeatureSpace):
    """Features that show what reaches a space, and how many images at once."""

    name = "bytes"
    identity = "bytes"
    dtype = torch.uint8

    def __init__(self):
        self.batches = []

    def _extract(self, x):
        self.batches.append(len(x))
        return x


def test_squares_are_summed_in_float64():
    a = torch.full((2, 3_000_000), 0.1)
    expected = 6_000_000 * float(a[0, 0].double().square())
    assert squared_distances(a, torch.zeros_like(a)).sum() == pytest.approx(expected, rel=1e-12)


def test_squares_of_bytes_do_not_wrap_round():
    a = torch.tensor([[0, 255]], dtype=torch.uint8)
    b = torch.tensor([[255, 0]], dtype=torch.uint8)
    assert squared_distances(a, b) == 2 * 255**2


@pytest.mark.parametrize("elements", [1, 50, 10_000])
def test_squared_distances_of_rows_do_not_depend_on_the_size_of_chunks(monkeypatch, elements):
    a, b = normal(11, 12).view(11, 3, 4), normal(11, 12, seed=1).view(11, 3, 4)
    expected = ((a - b) ** 2).sum(dim=(1, 2))
    monkeypatch.setattr(base, "_SUM_ELEMENTS", elements)
    torch.testing.assert_close(squared_distances(a, b), expected, rtol=1e-14, atol=0)


def test_a_space_gets_floats_and_bytes_of_the_same_pixels_as_the_same_bytes():
    x = byte_images(3, 0)
    assert torch.equal(Bytes().features(x.float() / 255), x)
    assert torch.equal(Bytes().features(x), x)


def test_a_space_gets_floats_rounded_half_up_where_a_cast_would_truncate():
    almost = torch.full((1, 3, 4, 4), 99.6 / 255)
    assert Bytes().features(almost).unique().tolist() == [100]


@pytest.mark.parametrize("x", [2 * torch.ones(2, 3, 4, 4), -torch.ones(2, 3, 4, 4)])
def test_floats_outside_the_unit_range_are_refused(x):
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        Bytes().features(x)


def test_rows_with_values_that_are_not_finite_are_named():
    x = torch.zeros(8, 3, 4, 4)
    x[2, 0, 0, 0] = math.nan
    x[5, 1, 1, 1] = math.inf
    with pytest.raises(ValueError, match="2 of 8 rows are not: rows 2, 5"):
        Bytes().features(x)


def test_features_of_no_image_are_refused():
    with pytest.raises(ValueError, match="bytes features need at least 1 image, got 0"):
        Bytes().features(torch.zeros(0, 3, 4, 4))


def test_images_below_the_smallest_size_are_refused_with_both_sizes():
    space = Bytes()
    space.smallest_image = 8
    with pytest.raises(ValueError, match="at least 8 x 8 pixels, got 4 x 16"):
        space.features(torch.zeros(1, 3, 4, 16))


@pytest.mark.parametrize("n", [1, 31, 32, 33])
def test_a_network_meets_batches_of_one_size_whatever_the_callers(n):
    space = Bytes()
    assert len(space.features(byte_images(n, 0, side=4))) == n
    assert set(space.batches) == {base.CHUNK}


def test_features_stay_in_float32_under_autocast():
    class Products(Given):
        def _extract(self, x):
            flat = x.float().flatten(1)
            return flat @ flat[0]

    x = byte_images(3, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = Products().features(x)
    assert features.dtype == torch.float32
    assert torch.equal(features, Products().features(x))


@pytest.mark.parametrize("batch", [1, 7, 32, 100])
def test_a_mean_over_images_does_not_depend_on_the_batch_size(batch):
    reference = torch.zeros(100, 3, 4, 4, dtype=torch.uint8)
    stitched = reference.clone()
    stitched[64:, 0] = 1
    metric = MeanDistance()
    sides = [
        torch.cat([metric.space.features(part) for part in x.split(batch)])
        for x in (reference, stitched)
    ]
    # 36 of 100 images are off by 1; a mean of batch means would give 0.5 for batches of 32.
    score = metric.compute(*sides, no_resamples(100))["image/mean_distance"]
    assert score.value == pytest.approx(0.36, abs=1e-12)


def test_sets_of_different_counts_are_refused():
    with pytest.raises(ValueError, match=r"one shape .*\(3, 4\).*\(2, 4\)"):
        MeanDistance().compute(torch.zeros(3, 4), torch.zeros(2, 4), no_resamples(3))


def test_resamples_of_another_number_of_items_are_refused():
    with pytest.raises(ValueError, match="features of 3 items but resamples of 4"):
        MeanDistance().compute(torch.zeros(3, 4), torch.zeros(3, 4), no_resamples(4))


def test_resamples_of_some_of_the_items_fit_the_features_of_these():
    kept = Resamples(4).only(torch.tensor([True, False, True, True]).numpy())
    result = MeanDistance().compute(torch.zeros(3, 4), torch.ones(3, 4), kept)
    assert result["image/mean_distance"].value == 4


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"stitched features must be finite.*rows 1"):
        MeanDistance().compute(
            torch.zeros(2, 4), torch.tensor([[0.0] * 4, [math.nan] * 4]), no_resamples(2)
        )


def test_features_of_another_kind_are_refused():
    pixels = torch.zeros(2, 4, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"given features of type torch.float32, got torch.uint8"):
        MeanDistance().compute(torch.zeros(2, 4), pixels, no_resamples(2))


def test_fewer_images_than_define_a_score_make_it_unavailable_with_both_counts():
    metric = MeanDistance()
    metric.minimum = 3
    with pytest.raises(MetricUnavailable, match=r"mean_distance needs at least 3 images.*got 2"):
        metric.compute(torch.zeros(2, 4), torch.zeros(2, 4), no_resamples(2))


def test_a_metric_whose_space_is_unavailable_raises_the_reason_on_use():
    metric = MeanDistance()
    metric.space = Given()
    metric.space.unavailable = "no weights here"
    assert metric.unavailable == "no weights here"
    for use in (
        lambda: metric.space.features(byte_images(1, 0)),
        lambda: metric.compute(torch.zeros(2, 4), torch.zeros(2, 4), no_resamples(2)),
    ):
        with pytest.raises(MetricUnavailable, match="no weights here"):
            use()
