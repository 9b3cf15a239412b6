import warnings

import numpy as np
import pytest
import scipy.linalg
import torch

from stitching.metrics.base import MetricUnavailable
from stitching.metrics.frechet import (
    FrechetDistance,
    SmallSampleWarning,
    _Pairs,
    frechet_distance,
)
from stitching.metrics.resampling import Resamples, t_factor
from tests.metrics.sets import Given, correlated, no_resamples, normal


def spherical(mean: torch.Tensor, deviation: float) -> torch.Tensor:
    """Features of this mean and of covariance deviation^2 I, exactly."""
    d = len(mean)
    axes = torch.cat((torch.eye(d), -torch.eye(d))).double()
    return mean + deviation * (d - 0.5) ** 0.5 * axes


def test_shifted_and_scaled_gaussians_are_at_distance_20():
    x, y = spherical(torch.zeros(16), 1.0), spherical(torch.full((16,), 0.5), 2.0)
    assert frechet_distance(x, y) == pytest.approx(20, rel=1e-10)


@pytest.mark.parametrize(("a", "b"), [(1.0, 3.0), (0.2, 0.2), (0.0, 2.0)])
def test_spherical_gaussians_follow_the_closed_form(a, b):
    d, mu = 7, normal(1, 7)[0]
    distance = frechet_distance(spherical(mu, a), spherical(torch.zeros(d), b))
    assert distance == pytest.approx(float(mu.square().sum()) + d * (a - b) ** 2, rel=1e-10)


def moments_of(x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    return x.numpy().mean(axis=0), np.cov(x.numpy(), rowvar=False)


def by_matrix_root(x: torch.Tensor, y: torch.Tensor) -> float:
    (mu1, s1), (mu2, s2) = moments_of(x), moments_of(y)
    root = scipy.linalg.sqrtm(s1 @ s2).real
    return float(((mu1 - mu2) ** 2).sum() + np.trace(s1 + s2 - 2 * root))


@pytest.mark.parametrize(("n1", "n2"), [(100, 500), (500, 100), (20, 17)])
def test_unequal_counts_agree_with_numpys_covariance_and_scipys_matrix_root(n1, n2):
    x, y = correlated(n1, 12), correlated(n2, 12, seed=1)
    assert frechet_distance(x, y) == pytest.approx(by_matrix_root(x, y), rel=1e-8)


@pytest.mark.parametrize(("n1", "n2"), [(30, 20), (200, 150)])
def test_distance_agrees_with_torchmetrics_on_the_same_features(n1, n2):
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Same(torch.nn.Module):
        num_features = 64

        def forward(self, x):
            return x

    theirs = FrechetInceptionDistance(feature=Same(), normalize=True)
    x, y = correlated(n1, 64), correlated(n2, 64, seed=1)
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    assert frechet_distance(x, y) == pytest.approx(float(theirs.compute()), rel=1e-4)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("n1", "n2"), [(100, 80), (90, 200)])
def test_distance_agrees_with_pytorch_fid_on_the_same_features(n1, n2):
    from pytorch_fid.fid_score import calculate_frechet_distance

    x, y = correlated(n1, 32), correlated(n2, 32, seed=1)
    moments = [m for side in (x, y) for m in moments_of(side)]
    expected = calculate_frechet_distance(*moments)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-4)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("n1", "n2"), [(100, 80), (90, 200)])
def test_distance_agrees_with_clean_fid_on_the_same_features(n1, n2):
    from cleanfid.fid import frechet_distance as theirs

    x, y = correlated(n1, 32), correlated(n2, 32, seed=1)
    moments = [m for side in (x, y) for m in moments_of(side)]
    assert frechet_distance(x, y) == pytest.approx(theirs(*moments), rel=1e-4)


@pytest.mark.parametrize(("n1", "n2"), [(100, 80), (20, 30)])
def test_distance_agrees_with_torch_fidelity_on_the_same_features(n1, n2):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    x, y = correlated(n1, 32), correlated(n2, 32, seed=1)
    sides = [fid_features_to_statistics(side) for side in (x, y)]
    expected = fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("n", [5, 300])
def test_self_distance_is_zero_and_not_negative(n):
    x = 10 * correlated(n, 40)
    assert 0 <= frechet_distance(x, x.clone()) < 1e-6


def test_distance_is_symmetric():
    x, y = correlated(30, 40), correlated(90, 40, seed=1)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-10)


def test_rotating_both_sides_changes_nothing():
    x, y = correlated(50, 20), correlated(60, 20, seed=1)
    q = torch.linalg.qr(normal(20, 20, seed=2)).Q
    assert frechet_distance(x @ q, y @ q) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_float32_features_are_summed_in_float64():
    x, y = normal(200, 8) + 1000, normal(200, 8, seed=1) + 1000
    x, y = x.float(), y.float()
    assert frechet_distance(x, y) == pytest.approx(
        by_matrix_root(x.double(), y.double()), rel=1e-6
    )


@pytest.mark.parametrize(("n", "bias"), [(50, 45.4), (100, 22.6), (500, 4.31)])
def test_two_draws_of_one_gaussian_show_the_estimators_known_bias(n, bias):
    draws = [frechet_distance(normal(n, 64, 2 * i), normal(n, 64, 2 * i + 1)) for i in range(3)]
    assert np.mean(draws) == pytest.approx(bias, rel=0.1)


@pytest.mark.parametrize("counts", [(1, 5), (5, 1), (0, 5)])
def test_fewer_than_two_rows_are_refused_with_the_counts(counts):
    with pytest.raises(
        ValueError, match=rf"at least 2 rows .*\({counts[0]}, 3\).*\({counts[1]}, 3"
    ):
        frechet_distance(torch.zeros(counts[0], 3), torch.zeros(counts[1], 3))


def test_rows_that_are_not_finite_are_named():
    x = normal(5, 3)
    x[3, 0] = torch.nan
    with pytest.raises(ValueError, match=r"the features must be finite.*rows 3"):
        frechet_distance(normal(5, 3), x)


METRIC = FrechetDistance(Given(), "fd")


@pytest.mark.parametrize(("n", "d"), [(41, 60), (41, 30), (41, 10)])
def test_the_distance_of_some_pairs_is_that_of_their_features_alone(n, d):
    x, y = correlated(n, d) + 1000, correlated(n, d, seed=1) + 1000
    pairs = _Pairs(x, y)
    for half in Resamples(n, 0, 3).halves:
        expected = frechet_distance(x[half], y[half])
        assert float(pairs.distance(half[None].double())) == pytest.approx(expected, rel=1e-9)
    everything = pairs.distance(torch.ones(1, n, dtype=torch.float64))
    assert float(everything) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_the_interval_is_the_spread_of_half_samples_around_the_distance():
    x, y = correlated(40, 6).float(), correlated(40, 6, seed=1).float()
    resamples = Resamples(40, 0, 20)
    estimate = METRIC.compute(x, y, resamples)["image/fd"]
    halves = np.array([frechet_distance(x[half], y[half]) for half in resamples.halves])
    expected = t_factor(40) * (halves - halves.mean()) + frechet_distance(x, y)
    np.testing.assert_allclose(estimate.draws, expected, rtol=1e-9)
    assert estimate.method == "halves"
    low, high = estimate.interval
    assert low < estimate.value < high


def sides(n, d=8, seed=0):
    """Reference and stitched features of a known Gaussian, and the distance of the populations."""
    x, noise = normal(n, d, seed=seed), normal(n, d, seed=seed + 10_000)
    y = 0.8 * x + 0.3 * noise + 0.1
    return x, y, d * 0.01 + d * (1 - (0.64 + 0.09) ** 0.5) ** 2


def test_the_extrapolated_distance_is_nearer_to_that_of_the_populations():
    plain, extrapolated = [], []
    for seed in range(30):
        x, y, truth = sides(40, seed=seed)
        found = METRIC.compute(x, y, Resamples(40, 0, 20))
        plain.append(found["image/fd"].value - truth)
        extrapolated.append(found["image/fd_extrapolated"].value - truth)
    assert abs(np.mean(extrapolated)) < 0.25 * np.mean(plain)


def test_the_extrapolated_distance_has_an_interval_that_holds_the_truth():
    hits = 0
    for seed in range(40):
        x, y, truth = sides(40, seed=seed)
        low, high = METRIC.compute(x, y, Resamples(40, 0, 40))["image/fd_extrapolated"].interval
        hits += low <= truth <= high
    assert hits >= 34


def test_the_extrapolated_distance_is_on_the_line_through_all_and_half_of_the_images():
    x, y, _ = sides(64)
    resamples = Resamples(64, 0, 10)
    found = METRIC.compute(x, y, resamples)["image/fd_extrapolated"].value
    halves = [frechet_distance(x[half], y[half]) for half in resamples.halves]
    assert found == pytest.approx(2 * frechet_distance(x, y) - np.mean(halves))


def test_fewer_than_two_images_per_feature_are_not_extrapolated():
    found = METRIC.compute(normal(15, 8), normal(15, 8, seed=1), Resamples(15, 0, 4))
    assert found["image/fd_extrapolated"] is None
    assert (
        "15 images are fewer than 16, 2 for each of 8 features"
        in found["image/fd_extrapolated_missing"]
    )


def test_without_half_samples_there_is_no_extrapolation():
    found = METRIC.compute(normal(40, 8), normal(40, 8, seed=1), no_resamples(40))
    assert "image/fd_extrapolated" not in found


def test_the_difference_of_two_stitched_sets_is_known_better_than_either():
    x = normal(200, 4)
    noise = normal(200, 4, seed=1)
    sets = [x + scale * noise for scale in (0.5, 0.55)]
    one, other = (METRIC.compute(x, y, Resamples(200))["image/fd"].draws for y in sets)
    assert (one - other).std() < np.hypot(one.std(), other.std()) / 3


def test_results_do_not_depend_on_the_number_of_threads(two_threads):
    x, y = normal(60, 80).float(), normal(60, 80, seed=1).float()
    with pytest.warns(SmallSampleWarning):
        two = METRIC.compute(x, y, Resamples(60))["image/fd"]
    torch.set_num_threads(1)
    with pytest.warns(SmallSampleWarning):
        one = METRIC.compute(x, y, Resamples(60))["image/fd"]
    np.testing.assert_allclose(two.draws, one.draws, rtol=1e-9)


def test_floor_is_the_bias_of_the_estimate_at_half_the_images():
    # Two draws of 50 from one Gaussian in 64 dimensions are at 45.4 on average.
    result = METRIC.compute(normal(100, 64), normal(100, 64, seed=1), no_resamples(100))
    assert result["image/fd_floor"] == pytest.approx(45.4, rel=0.1)


def test_floor_depends_on_the_reference_images_alone():
    x = normal(50, 5)
    results = [METRIC.compute(x, s * normal(50, 5, seed=1), no_resamples(50)) for s in (1, 9)]
    assert results[0]["image/fd_floor"] == results[1]["image/fd_floor"]


@pytest.mark.parametrize("n", [2, 3])
def test_floor_of_too_few_images_for_two_halves_is_missing_with_the_reason(n):
    result = METRIC.compute(normal(n, 1), normal(n, 1, seed=1), Resamples(n))
    assert result["image/fd_floor"] is None
    assert result["image/fd_floor_missing"].endswith(f"need at least 4 images, got {n}")
    assert result["image/fd"].interval == (None, None)


def test_count_and_dimension_are_reported_and_a_small_sample_is_warned_of():
    x = normal(64, 64)
    with pytest.warns(SmallSampleWarning, match="64 images per side in 64 dimensions"):
        result = METRIC.compute(x, x, no_resamples(64))
    assert (result["image/fd_n"], result["image/fd_dim"]) == (64, 64)


def test_a_large_sample_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = METRIC.compute(normal(65, 64), normal(65, 64), no_resamples(65))
    assert result["image/fd"].value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_images_make_it_unavailable_with_the_reason(n):
    with pytest.raises(MetricUnavailable, match=f"image/fd needs at least 2 .* got {n}"):
        METRIC.compute(torch.zeros(n, 64), torch.zeros(n, 64), no_resamples(1))


def test_images_that_are_all_one_are_as_far_as_the_moments_say():
    x, y = normal(30, 4), torch.ones(30, 4)
    expected = (x.mean(0) - 1).square().sum() + x.var(0).sum()
    result = METRIC.compute(x, y, Resamples(30))
    assert result["image/fd"].value == pytest.approx(float(expected), rel=1e-9)
