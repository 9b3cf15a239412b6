import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from stitching.metrics import neighbours as module
from stitching.metrics.base import MetricUnavailable
from stitching.metrics.neighbours import PrecisionRecall, within_reach
from stitching.metrics.resampling import Resamples, bootstrap_size
from tests.metrics.sets import Given, no_resamples, normal


def scores(x: torch.Tensor, y: torch.Tensor, k: int = 3) -> tuple[float, float]:
    result = PrecisionRecall(Given(), k).compute(x, y, no_resamples(len(x)))
    return result["image/precision"].value, result["image/recall"].value


def test_equal_sets_have_precision_and_recall_one():
    x = normal(30, 8)
    assert scores(x, x) == (1, 1)


def test_equal_sets_with_repeated_rows_have_precision_and_recall_one():
    x = normal(6, 8).repeat_interleave(5, dim=0)
    assert scores(x, x[torch.randperm(30, generator=torch.Generator().manual_seed(0))]) == (1, 1)


def test_far_sets_have_precision_and_recall_zero():
    assert scores(normal(30, 8), normal(30, 8, seed=1) + 100) == (0, 0)


def test_half_of_the_kinds_has_precision_one_and_recall_a_half():
    x = normal(40, 3)
    x[20:] += 100
    y = torch.cat([x[:20], x[:20]])
    assert scores(x, y) == (1, 0.5)


def test_one_image_repeated_recalls_itself_alone():
    x = normal(20, 3)
    assert scores(x, x[:1].repeat(20, 1)) == (1, 1 / 20)


def test_points_on_a_line_follow_the_definition():
    x = torch.tensor([0.0, 1.0, 3.0, 10.0]).double()[:, None]
    points = torch.tensor([-2.0, -1.0, 4.9, 5.1, 16.9, 17.1]).double()[:, None]
    # Distances to the nearest other one: 1, 1, 2, 7.
    assert within_reach(x, points, 1).tolist() == [0, 1, 1, 1, 1, 0]


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(6, 30))
def test_reach_agrees_with_scikit_learns_neighbours(seed, k, n):
    rng = np.random.default_rng(seed)
    x, points = rng.normal(size=(n, 3)), 1.5 * rng.normal(size=(n + 2, 3))
    neighbours = NearestNeighbors(n_neighbors=k + 1).fit(x)
    radii = neighbours.kneighbors(x)[0][:, -1]
    distances = np.linalg.norm(points[:, None] - x, axis=2)
    expected = (distances <= radii).any(axis=1)
    found = within_reach(torch.from_numpy(x), torch.from_numpy(points), k)
    np.testing.assert_array_equal(found.bool().numpy(), expected)


def test_score_does_not_depend_on_the_size_of_blocks(monkeypatch):
    x, y = normal(50, 4), normal(50, 4, seed=1)
    whole = scores(x, y)
    monkeypatch.setattr(module, "_ELEMENTS", 170)
    assert scores(x, y) == whole


def test_a_common_offset_changes_nothing():
    x, y = normal(50, 4), normal(50, 4, seed=1)
    assert scores(x + 1e4, y + 1e4) == scores(x, y)


def test_more_neighbours_reach_further():
    x, y = normal(50, 4), normal(50, 4, seed=1)
    precisions = [scores(x, y, k)[0] for k in (1, 3, 10)]
    assert precisions == sorted(precisions)
    assert precisions[0] < precisions[2]


def test_draws_are_means_of_indicators_with_fixed_neighbourhoods():
    x, y = normal(30, 4), normal(30, 4, seed=1)
    resamples = Resamples(30, 50, 0)
    result = PrecisionRecall(Given(), 3).compute(x, y, resamples)
    inside = within_reach(x, y, 3).numpy()
    draws = resamples.counts.numpy() @ inside / bootstrap_size(30)
    np.testing.assert_allclose(result["image/precision"].draws, draws, rtol=1e-12)


def test_count_and_neighbours_are_reported():
    result = PrecisionRecall(Given(), 2).compute(normal(9, 2), normal(9, 2), no_resamples(9))
    assert (result["image/precision_recall_n"], result["image/precision_recall_k"]) == (9, 2)


def test_too_few_images_for_k_neighbours_make_it_unavailable_with_the_reason():
    with pytest.raises(MetricUnavailable, match=r"precision_recall needs at least 4 .* got 3"):
        PrecisionRecall(Given(), 3).compute(normal(3, 2), normal(3, 2), no_resamples(3))


def test_no_neighbours_are_refused():
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        PrecisionRecall(Given(), 0)
