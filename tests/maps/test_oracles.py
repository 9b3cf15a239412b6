"""Against scikit-learn and himalaya, which share no code with the maps."""

import numpy as np
import pytest
import torch
from himalaya.kernel_ridge import KernelRidge as HimalayaKernelRidge
from himalaya.ridge import Ridge as HimalayaRidge
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import PredefinedSplit

from stitching.maps import OLS, Ridge
from tests.maps.helpers import WIDTHS, fit_quietly, paired, relative

N = 30
ALPHAS = np.logspace(-3, 4, 15)


def with_columns(width, **columns):
    source, target = paired(N, width)
    for place, value in columns.items():
        source[:, int(place[1:])] = value if isinstance(value, float) else source[:, value[0]]
    return source, target


#: Sources and targets of every kind that a fit must get right.
CASES = {
    **{f"{width} columns": paired(N, width) for width in WIDTHS},
    "constant columns": with_columns(8, _3=0.1, _5=-7.7),
    "constant columns, wide": with_columns(60, _3=0.1, _5=-7.7),
    "duplicated columns": with_columns(8, _1=[0], _6=[0]),
    "duplicated columns, wide": with_columns(60, _1=[0], _6=[0]),
    "a zero column": with_columns(8, _2=0.0),
    "a zero column, wide": with_columns(60, _2=0.0),
    "one target": paired(N, 7, 1),
    "one target, wide": paired(N, 60, 1),
    "12,288 targets": paired(N, 7, 12288),
    "12,288 targets, wide": paired(16, 24, 12288),
}
every_case = pytest.mark.parametrize("case", CASES)


@every_case
@pytest.mark.parametrize("alpha", [1e-3, 50.0])
def test_ridge_equals_that_of_scikit_learn(case, alpha):
    source, target = CASES[case]
    fitted = Ridge(alpha=alpha).fit(source, target)
    oracle = SklearnRidge(alpha=alpha).fit(source, target)
    assert relative(fitted.weight, oracle.coef_.reshape(fitted.weight.shape)) < 1e-8
    assert relative(fitted.bias, np.atleast_1d(oracle.intercept_)) < 1e-8


@every_case
@pytest.mark.parametrize("alpha", [1e-3, 50.0])
def test_ridge_equals_that_of_himalaya(case, alpha):
    source, target = CASES[case]
    fitted = Ridge(alpha=alpha).fit(source, target)
    oracle = HimalayaRidge(alpha, fit_intercept=True, solver_params={"warn": False})
    oracle.fit(source.numpy(), target.numpy())
    assert relative(fitted.weight, oracle.coef_.T) < 1e-8
    assert relative(fitted.bias, oracle.intercept_) < 1e-8


@every_case
def test_ridge_predicts_like_the_linear_kernel_of_himalaya(case):
    source, target = CASES[case]
    new = paired(12, source.shape[1], seed=1)[0]
    fitted = Ridge(alpha=0.7).fit(source, target)
    oracle = HimalayaKernelRidge(alpha=0.7, solver="eigenvalues", fit_intercept=True, warn=False)
    expected = oracle.fit(source.numpy(), target.numpy()).predict(new.numpy())
    assert relative(fitted.predict(new), expected) < 1e-8


@every_case
def test_least_squares_equals_that_of_scikit_learn(case):
    source, target = CASES[case]
    fitted = fit_quietly(OLS(), source, target)
    oracle = LinearRegression().fit(source, target)
    assert relative(fitted.weight, oracle.coef_.reshape(fitted.weight.shape)) < 1e-8
    assert relative(fitted.bias, np.atleast_1d(oracle.intercept_)) < 1e-8


@pytest.mark.parametrize("width", [5, 60])
@pytest.mark.parametrize("latent_map", [Ridge(alpha=0.3), OLS()])
def test_float32_input_with_a_large_mean_keeps_six_digits(latent_map, width):  # case C26
    source, target = (x.float() for x in paired(40, width))
    source, target = source + 1e4, target - 1e4
    oracle = SklearnRidge(alpha=0.3) if isinstance(latent_map, Ridge) else LinearRegression()
    oracle.fit(source.double(), target.double())
    fitted = fit_quietly(latent_map, source, target)
    assert fitted.weight.dtype == torch.float32
    assert relative(fitted.weight.double(), oracle.coef_) < 1e-6


def test_a_column_of_tiny_scale_is_ridged_like_scikit_learn():
    source, target = paired(N, 6)
    source[:, 0] *= 1e-8
    fitted = Ridge(alpha=1e-3).fit(source, target)
    expected = SklearnRidge(alpha=1e-3).fit(source, target).coef_
    assert relative(fitted.weight, expected) < 1e-8
    assert relative(fitted.weight[:, 0], expected[:, 0]) < 1e-6


def test_repeated_rows_count_twice_as_in_scikit_learn():
    source, target = paired(N, 60)
    source[1] = source[0]
    fitted = Ridge(alpha=0.3).fit(source, target)
    assert relative(fitted.weight, SklearnRidge(alpha=0.3).fit(source, target).coef_) < 1e-8


@pytest.mark.parametrize(("n", "width"), [(4500, 2), (20, 2300)])
def test_sources_longer_or_wider_than_a_block_are_solved_alike(n, width):
    source, target = paired(n, width)
    fitted = Ridge(alpha=3.0).fit(source, target)
    oracle = SklearnRidge(alpha=3.0).fit(source, target)
    assert relative(fitted.weight, oracle.coef_) < 1e-8
    assert relative(fitted.predict(source), oracle.predict(source)) < 1e-8


@pytest.mark.parametrize("width", WIDTHS)
def test_leave_one_out_scores_and_choice_equal_those_of_scikit_learn(width):
    source, target = paired(N, width)
    fitted = fit_quietly(Ridge(alphas=ALPHAS, selection="loo"), source, target)
    oracle = RidgeCV(alphas=ALPHAS, store_cv_results=True).fit(source, target)
    np.testing.assert_allclose(fitted.scores_, oracle.cv_results_.mean((0, 1)), rtol=1e-8)
    assert float(fitted.alpha_) == pytest.approx(oracle.alpha_, rel=1e-12)
    assert relative(fitted.weight, oracle.coef_) < 1e-8


@pytest.mark.parametrize("width", WIDTHS)
def test_leave_one_out_choices_per_target_equal_those_of_scikit_learn(width):
    source, target = paired(N, width)
    target[:, 1] += 20 * torch.randn(N, generator=torch.Generator().manual_seed(1)).double()
    ours = Ridge(alphas=ALPHAS, selection="loo", alpha_per_target=True)
    fitted = fit_quietly(ours, source, target)
    oracle = RidgeCV(alphas=ALPHAS, store_cv_results=True, alpha_per_target=True)
    oracle.fit(source, target)
    np.testing.assert_allclose(fitted.scores_.T, oracle.cv_results_.mean(0), rtol=1e-8)
    np.testing.assert_allclose(fitted.alpha_, oracle.alpha_, rtol=1e-12)
    assert relative(fitted.weight, oracle.coef_) < 1e-8


@pytest.mark.parametrize("per_target", [False, True])
@pytest.mark.parametrize("width", [7, 24, 30, 80])
def test_k_fold_choices_equal_those_of_himalaya(width, per_target):
    source, target = paired(N, width)
    target[:, 1] += 20 * torch.randn(N, generator=torch.Generator().manual_seed(1)).double()
    ours = Ridge(alphas=ALPHAS, selection="kfold", n_folds=5, alpha_per_target=per_target)
    fitted = fit_quietly(ours, source, target)
    oracle = HimalayaRidgeCV(
        alphas=ALPHAS,
        fit_intercept=True,
        cv=PredefinedSplit(np.arange(N) % 5),
        solver_params={"local_alpha": per_target, "warn": False},
    ).fit(source.numpy(), target.numpy())
    np.testing.assert_allclose(fitted.alpha_.expand(4), oracle.best_alphas_, rtol=1e-12)
    assert relative(fitted.weight, oracle.coef_.T) < 1e-8
    # Their score is minus the mean squared error of a fold, and all folds have 6 items.
    best = -np.mean(oracle.cv_scores_)
    assert fitted.summary()["cv_mse"] == pytest.approx(best, rel=1e-8)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 12),
    d_source=st.integers(1, 14),
    d_target=st.integers(1, 4),
    log_alpha=st.floats(-3, 3),
    offset=st.sampled_from([0.0, 100.0]),
    constant=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_any_shape_is_ridged_like_scikit_learn(
    n, d_source, d_target, log_alpha, offset, constant, seed
):
    source, target = paired(n, d_source, d_target, seed=seed)
    source = source + offset
    if constant:
        source[:, 0] = offset
    alpha = 10**log_alpha
    fitted = fit_quietly(Ridge(alpha=alpha), source, target)
    oracle = SklearnRidge(alpha=alpha).fit(source, target)
    expected = oracle.predict(source).reshape(n, d_target)
    np.testing.assert_allclose(fitted.predict(source), expected, rtol=1e-8, atol=1e-8)
