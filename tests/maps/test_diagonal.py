"""One line per dimension, against numpy and against its neighbours."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stitching.maps import OLS, Identity
from stitching.maps.diagonal import Diagonal
from tests.maps.helpers import fit_quietly, paired, relative


@settings(max_examples=40, deadline=None)
@given(n=st.integers(3, 12), width=st.integers(1, 14), seed=st.integers(0, 10_000))
def test_every_dimension_is_a_straight_line_fit(n, width, seed):
    source, target = paired(n, width, width, seed=seed)
    fitted = Diagonal().fit(source, target)
    lines = [np.polyfit(source[:, j], target[:, j], 1) for j in range(width)]
    slopes, intercepts = np.array(lines).T
    np.testing.assert_allclose(fitted.slope, slopes, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(fitted.bias, intercepts, rtol=1e-7, atol=1e-9)


def test_known_slopes_and_intercepts_are_recovered():
    source, _ = paired(30, 5)
    slope = torch.tensor([2.0, -1, 0, 0.5, 100]).double()
    fitted = Diagonal().fit(source, source * slope + 3)
    assert relative(fitted.weight, torch.diag(slope)) < 1e-12
    assert relative(fitted.bias, torch.full((5,), 3.0).double()) < 1e-12


def test_a_column_that_does_not_vary_has_slope_zero():
    source, target = paired(30, 5, 5)
    source[:, 2] = 0.1
    fitted = Diagonal().fit(source, target)
    assert float(fitted.slope[2]) == 0
    assert float(fitted.bias[2]) == pytest.approx(float(target[:, 2].mean()))
    assert fitted.summary()["dof"] == pytest.approx(0.8)


def test_one_dimension_is_least_squares():
    source, target = paired(30, 1, 1)
    expected = OLS().fit(source, target).predict(source)
    assert relative(Diagonal().fit(source, target).predict(source), expected) < 1e-12


def test_a_scaled_and_shifted_source_gives_the_same_predictions():
    source, target = paired(30, 5, 5)
    other = source * torch.tensor([3.0, -1, 1e-3, 7, 1e5]) - 4
    expected = Diagonal().fit(source, target).predict(source)
    assert relative(Diagonal().fit(other, target).predict(other), expected) < 1e-9


@pytest.mark.parametrize("n", [10, 60])
def test_the_training_error_lies_between_those_of_identity_and_least_squares(n):
    source, target = paired(n, 20, 20)
    maps = [fit_quietly(each, source, target) for each in (OLS(), Diagonal(), Identity())]
    errors = [each.summary()["train_mse"] for each in maps]
    assert errors == sorted(errors)


def test_a_large_mean_costs_no_digits():
    source, target = paired(30, 5, 5)
    near = Diagonal().fit(source, target).predict(source)
    far = Diagonal().fit(source + 2**20, target).predict(source + 2**20)
    assert relative(far, near) < 1e-8


def test_two_items_are_passed_through_and_the_summary_says_so():
    source, target = paired(2, 5, 5)
    fitted = Diagonal().fit(source, target)
    assert relative(fitted.predict(source), target) < 1e-10
    assert fitted.summary()["interpolates"] == 1
    assert Diagonal().fit(*paired(3, 5, 5)).summary()["interpolates"] == 0


def test_different_widths_are_refused():
    with pytest.raises(ValueError, match="equal widths, source has 7 and target 4: use map=ridge"):
        Diagonal().fit(*paired(30, 7))
