"""Least squares without a penalty, and its warning where it passes through every item."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stitching.maps import OLS, InterpolationWarning, Ridge
from tests.maps.helpers import WIDTHS, fit_quietly, paired, relative


def minimum_norm(source, target, rtol=1e-10):
    """Shortest solution of the centred least-squares problem, (D_t, D_s)."""
    return (torch.linalg.pinv(source - source.mean(0), rtol=rtol) @ (target - target.mean(0))).T


@pytest.mark.parametrize("width", WIDTHS)
def test_the_solution_is_the_one_of_minimum_norm(width):
    source, target = paired(30, width)
    fitted = fit_quietly(OLS(), source, target)
    assert relative(fitted.weight, minimum_norm(source, target)) < 1e-8


@pytest.mark.parametrize("width", [8, 60])
def test_duplicated_constant_and_zero_columns_leave_the_minimum_norm_solution(width):
    source, target = paired(30, width)
    source[:, 1] = source[:, 0]
    source[:, 2] = 0
    source[:, 3] = 0.1
    fitted = fit_quietly(OLS(), source, target)
    assert relative(fitted.weight, minimum_norm(source, target)) < 1e-8
    assert fitted.summary()["rank"] == min(29, width - 3)


@pytest.mark.parametrize("width", [8, 60])
def test_a_penalty_of_zero_is_least_squares(width):
    source, target = paired(30, width)
    least, ridge = (fit_quietly(m, source, target) for m in (OLS(), Ridge(alpha=0)))
    assert torch.equal(ridge.predict(source), least.predict(source))


@pytest.mark.parametrize("width", [3, 50])
def test_an_exact_linear_relation_is_recovered(width):
    source, _ = paired(60, width)
    weight = torch.linspace(-1, 1, 2 * width, dtype=torch.float64).reshape(2, width)
    fitted = OLS().fit(source, source @ weight.T + 5)
    assert relative(fitted.weight, weight) < 1e-9
    assert relative(fitted.bias, torch.full((2,), 5.0).double()) < 1e-9


def test_float32_sources_with_a_large_mean_recover_a_known_weight():  # case C26
    rng = np.random.default_rng(0)
    source = torch.from_numpy((rng.standard_normal((2000, 3)) + 10000).astype(np.float32))
    weight = torch.tensor([[1, -2, 0.5]], dtype=torch.float64)
    fitted = OLS().fit(source, source.double() @ weight.T)
    assert float((fitted.weight - weight).abs().max()) < 1e-6


@pytest.mark.parametrize("width", [1, 7, 28])
def test_residuals_are_uncorrelated_with_the_source(width):
    source, target = paired(30, width)
    residual = target - OLS().fit(source, target).predict(source)
    centred = source - source.mean(0)
    assert float(residual.mean(0).abs().max()) < 1e-12
    assert float((centred.T @ residual).abs().max()) < 1e-10


@pytest.mark.parametrize("width", [7, 28])
def test_any_invertible_map_of_the_source_leaves_predictions_unchanged(width):
    source, target = paired(30, width)
    rng = torch.Generator().manual_seed(5)
    mix = torch.randn(width, width, generator=rng).double() + 3 * torch.eye(width)
    straight = OLS().fit(source, target).predict(source)
    assert relative(OLS().fit(source @ mix, target).predict(source @ mix), straight) < 1e-8


def test_least_squares_through_every_item_is_flagged():  # case C25
    source, target = paired(40, 100)
    with pytest.warns(InterpolationWarning, match=r"all 40 training items .*width 100, rank 39"):
        found = OLS().fit(source, target).summary()
    assert found["interpolates"] == 1
    assert (found["n_train"], found["d_source"], found["rank"]) == (40, 100, 39)
    assert found["train_mse"] < 1e-20


def test_duplicated_columns_do_not_hide_interpolation():  # case C25
    source, target = paired(40, 50)
    with pytest.warns(InterpolationWarning, match="rank 39"):
        OLS().fit(torch.cat([source, source], 1), target)


def test_one_residual_degree_of_freedom_is_no_interpolation():
    source, target = paired(40, 38)
    assert OLS().fit(source, target).summary()["interpolates"] == 0


def test_a_repeated_item_with_two_targets_is_no_interpolation():
    source, target = paired(40, 100)
    source[1] = source[0]
    found = OLS().fit(source, target).summary()
    assert (found["interpolates"], found["rank"]) == (0, 38)


def test_nothing_is_chosen_without_a_penalty():
    found = OLS().fit(*paired(30, 5)).summary()
    assert (found["alpha"], found["selection"], found["at_edge"]) == (0.0, "fixed", None)
    assert found["dof"] == pytest.approx(5)


@pytest.mark.parametrize("width", [1, 7, 20])
def test_the_condition_number_is_that_of_the_normal_equations(width):
    source, target = paired(30, width)
    centred = (source - source.mean(0)).numpy()
    found = OLS().fit(source, target).summary()["condition"]
    assert found == pytest.approx(np.linalg.cond(centred) ** 2, rel=1e-8)


def test_two_items_are_joined_by_a_line():
    source = torch.tensor([[0.0, 1.0], [2.0, 1.0]]).double()
    target = torch.tensor([[1.0], [5.0]]).double()
    fitted = fit_quietly(OLS(), source, target)
    assert fitted.predict(torch.tensor([[1.0, 7.0]]))[0, 0] == pytest.approx(3.0)
    assert fitted.summary()["interpolates"] == 1


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 12),
    d_source=st.integers(1, 14),
    d_target=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_any_shape_is_solved_by_least_squares(n, d_source, d_target, seed):
    source, target = paired(n, d_source, d_target, seed=seed)
    fitted = fit_quietly(OLS(), source, target)
    expected = minimum_norm(source, target, rtol=1e-7)
    np.testing.assert_allclose(fitted.weight, expected, rtol=1e-5, atol=1e-7)
    assert math.isfinite(fitted.summary()["cv_mse"])
