import numpy as np
import pytest
import torch

from stitching.metrics import kernel as module
from stitching.metrics.base import MetricUnavailable
from stitching.metrics.kernel import KernelDistance, kernel_distance
from stitching.metrics.resampling import Resamples, t_factor
from tests.metrics.sets import Given, correlated, no_resamples, normal

METRIC = KernelDistance(Given(), "kd")


def by_definition(x: torch.Tensor, y: torch.Tensor) -> float:
    """The paired estimate, one pair of items at a time."""

    def k(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    n = len(x)
    terms = [
        k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i])
        for i in range(n)
        for j in range(n)
        if i != j
    ]
    return float(np.mean(terms))


def test_distance_of_pairs_follows_the_definition():
    x, y = correlated(9, 5), correlated(9, 5, seed=1)
    assert kernel_distance(x, y, paired=True) == pytest.approx(by_definition(x, y), rel=1e-10)
    result = METRIC.compute(x, y, no_resamples(9))
    assert result["image/kd"].value == pytest.approx(by_definition(x, y), rel=1e-10)


def test_distance_agrees_with_torchmetrics_on_the_same_features():
    from torchmetrics.image.kid import poly_mmd

    x, y = correlated(40, 12), correlated(40, 12, seed=1)
    assert kernel_distance(x, y) == pytest.approx(float(poly_mmd(x, y)), rel=1e-4)


def test_distance_agrees_with_clean_fid_on_the_same_features():
    from cleanfid.fid import kernel_distance as theirs

    x, y = correlated(40, 12), correlated(40, 12, seed=1)
    expected = theirs(x.numpy(), y.numpy(), num_subsets=1)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("estimator", "paired"), [("unbiased", False), ("u-statistic", True)])
def test_both_estimators_agree_with_torch_fidelity_on_the_same_features(estimator, paired):
    from torch_fidelity.metric_kid import mmd2

    x, y = correlated(40, 12).numpy(), correlated(40, 12, seed=1).numpy()
    kernels = [(a @ b.T / 12 + 1) ** 3 for a, b in ((x, x), (x, y), (y, y))]
    ours = kernel_distance(torch.from_numpy(x), torch.from_numpy(y), paired)
    assert ours == pytest.approx(mmd2(*kernels, mmd_est=estimator), rel=1e-4)


def test_pairing_is_the_difference_to_the_libraries_estimate():
    x = correlated(30, 5)
    y = x + 0.3 * normal(30, 5, seed=2)
    result = METRIC.compute(x, y, no_resamples(30))
    difference = result["image/kd"].value - kernel_distance(x, y)
    assert result["image/kd_pairing"] == pytest.approx(difference, rel=1e-9)
    assert difference > 0


@pytest.mark.parametrize("related", [0.0, 0.9])
def test_sets_of_one_distribution_are_at_distance_zero_on_average(related):
    # Also if the two images of an item are alike, as stitched images and their references are.
    values = []
    for seed in range(100):
        x, z = normal(40, 6, 2 * seed), normal(40, 6, 2 * seed + 1)
        y = related * x + (1 - related**2) ** 0.5 * z
        values.append(kernel_distance(x, y, paired=True))
    error = np.std(values, ddof=1) / 10
    assert abs(np.mean(values)) < 2.5 * error


def test_equal_sets_are_at_distance_zero_with_an_interval_of_none():
    x = correlated(30, 5)
    estimate = METRIC.compute(x, x, Resamples(30))["image/kd"]
    assert estimate.value == pytest.approx(0, abs=1e-9)
    assert estimate.interval == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))


def test_the_libraries_estimate_for_equal_sets_is_below_zero():
    x = correlated(30, 5)
    assert kernel_distance(x, x) < -1e-3


def test_bigger_shifts_are_further_away():
    x, y = normal(50, 8), normal(50, 8, seed=1)
    distances = [kernel_distance(x, y + shift) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert distances == sorted(distances)


def test_the_interval_is_the_spread_of_half_samples_around_the_distance():
    x, y = correlated(40, 6), correlated(40, 6, seed=1)
    resamples = Resamples(40, 0, 20)
    estimate = METRIC.compute(x, y, resamples)["image/kd"]
    halves = [kernel_distance(x[half], y[half], paired=True) for half in resamples.halves]
    spread = t_factor(40) * (np.array(halves) - np.mean(halves))
    expected = spread + kernel_distance(x, y, paired=True)
    np.testing.assert_allclose(estimate.draws, expected, rtol=1e-9)
    assert estimate.method == "halves"


def test_count_dimension_and_subset_are_reported():
    result = METRIC.compute(normal(20, 6), normal(20, 6, seed=1), no_resamples(20))
    keys = ("image/kd_n", "image/kd_dim", "image/kd_subset")
    assert tuple(result[key] for key in keys) == (20, 6, 20)


def test_many_images_are_taken_in_subsets_that_hold_every_one(monkeypatch):
    monkeypatch.setattr(module, "_WHOLE", 20)
    monkeypatch.setattr(module, "_SUBSET", 10)
    x, y = correlated(25, 4), correlated(25, 4, seed=1)
    subsets = module._subsets(25, seed=0)
    assert [len(set(rows.tolist())) for rows in subsets] == [10, 10, 10]
    assert set(torch.cat(subsets).tolist()) == set(range(25))
    result = METRIC.compute(x, y, Resamples(25, 0, 10))
    expected = np.mean([kernel_distance(x[rows], y[rows], paired=True) for rows in subsets])
    assert result["image/kd"].value == pytest.approx(expected, rel=1e-10)
    assert result["image/kd_subset"] == 10
    low, high = result["image/kd"].interval
    assert low < result["image/kd"].value < high


def test_a_half_of_one_image_has_no_distance():
    estimate = METRIC.compute(normal(3, 2), normal(3, 2, seed=1), Resamples(3))["image/kd"]
    assert estimate.value is not None
    assert estimate.interval == (None, None)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_images_make_it_unavailable_with_the_reason(n):
    with pytest.raises(MetricUnavailable, match=f"image/kd needs at least 2 .* got {n}"):
        METRIC.compute(torch.zeros(n, 64), torch.zeros(n, 64), no_resamples(1))


@pytest.mark.parametrize("shapes", [((1, 3), (1, 3)), ((4, 3), (5, 3)), ((4, 3), (4, 2))])
def test_feature_sets_that_do_not_fit_are_refused_with_their_shapes(shapes):
    with pytest.raises(ValueError, match=r"one shape \(N, d\) with N >= 2, got"):
        kernel_distance(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_rows_that_are_not_finite_are_named():
    x = normal(5, 3)
    x[3, 0] = torch.nan
    with pytest.raises(ValueError, match=r"the features must be finite.*rows 3"):
        kernel_distance(normal(5, 3), x)
