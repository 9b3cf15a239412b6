import inspect
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import r2_score
from torch import Tensor

from stitching.maps import (
    OLS,
    Factorisation,
    Identity,
    InterpolationWarning,
    Map,
    PenaltyEdgeWarning,
    Ridge,
    factorise,
    leave_one_out,
    load_map,
)

CONF = Path(__file__).parents[1] / "conf" / "map"

#: Widths around N = 30: primal, square, dual.
WIDTHS = [1, 7, 29, 30, 31, 80]


def paired(
    n: int, d_source: int, d_target: int = 4, noise: float = 3.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    # Scales from 1 to 0.1: a spectrum that the penalty acts on unevenly, as in latents.
    scales = torch.logspace(0, -1, d_source, dtype=torch.float64)
    source = torch.randn(n, d_source, generator=rng, dtype=torch.float64) * scales + 0.7
    weight = torch.randn(d_source, d_target, generator=rng, dtype=torch.float64)
    errors = torch.randn(n, d_target, generator=rng, dtype=torch.float64)
    return source, source @ weight - 1.3 + noise * errors


def fit_quietly(latent_map: Map, source: Tensor, target: Tensor) -> Map:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterpolationWarning)
        warnings.simplefilter("ignore", PenaltyEdgeWarning)
        return latent_map.fit(source, target)


def relative(actual: Tensor, expected: object) -> float:
    expected = torch.as_tensor(expected)
    return float((actual - expected).abs().max() / expected.abs().max())


def hat_matrix(source: Tensor, alpha: float) -> Tensor:
    """Ridge smoother with free intercept, formed explicitly from the normal equations."""
    n, width = source.shape
    design = torch.cat([torch.ones(n, 1, dtype=torch.float64), source], 1)
    penalty = alpha * torch.eye(width + 1, dtype=torch.float64)
    penalty[0, 0] = 0
    return design @ torch.linalg.solve(design.T @ design + penalty, design.T)


def brute_force_gcv(source: Tensor, target: Tensor, alpha: float) -> float:
    n = source.shape[0]
    residual = torch.eye(n, dtype=torch.float64) - hat_matrix(source, alpha)
    mse = float((residual @ target).square().mean())
    return mse / (float(residual.trace()) / n) ** 2


# --- Against scikit-learn and closed forms


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 50.0])
def test_ridge_weight_and_bias_equal_scikit_learn(width: int, alpha: float) -> None:
    source, target = paired(30, width)
    fitted = Ridge(alpha=alpha).fit(source, target)
    oracle = SklearnRidge(alpha=alpha).fit(source, target)
    assert relative(fitted.weight, oracle.coef_) < 1e-8
    assert relative(fitted.bias, oracle.intercept_) < 1e-8


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 50.0])
def test_ridge_predictions_equal_scikit_learn(width: int, alpha: float) -> None:
    source, target = paired(40, width)
    fitted = Ridge(alpha=alpha).fit(source[:30], target[:30])
    oracle = SklearnRidge(alpha=alpha).fit(source[:30], target[:30])
    assert relative(fitted.predict(source[30:]), oracle.predict(source[30:])) < 1e-8


@pytest.mark.parametrize("width", WIDTHS)
def test_weight_and_bias_reproduce_predictions(width: int) -> None:
    source, target = paired(40, width)
    fitted = Ridge(alpha=2.0).fit(source[:30], target[:30])
    expected = source[30:] @ fitted.weight.T + fitted.bias
    assert relative(fitted.predict(source[30:]), expected) < 1e-10


def test_wide_to_wide_equals_the_dual_formula() -> None:  # case C24
    source, target = paired(40, 300, 300)
    fitted = Ridge(alpha=0.7).fit(source, target)
    x, y = source - source.mean(0), target - target.mean(0)
    weight = x.T @ torch.linalg.solve(x @ x.T + 0.7 * torch.eye(40).double(), y)
    assert relative(fitted.weight, weight.T) < 1e-10
    assert relative(fitted.bias, target.mean(0) - source.mean(0) @ weight) < 1e-10


@pytest.mark.parametrize("d_target", [1, 5000])
@pytest.mark.parametrize("width", [5, 60])
def test_number_of_targets_does_not_change_the_solution(width: int, d_target: int) -> None:
    source, target = paired(30, width, d_target)
    fitted = Ridge(alpha=0.5).fit(source, target)
    oracle = SklearnRidge(alpha=0.5).fit(source, target)
    assert relative(fitted.predict(source), oracle.predict(source).reshape(30, -1)) < 1e-8


@pytest.mark.parametrize("n", [4500, 2100])
def test_sources_longer_or_wider_than_a_block_are_solved_alike(n: int) -> None:
    width = 2 if n == 4500 else 2300
    source, target = paired(n, width) if n == 4500 else paired(20, width)
    fitted = Ridge(alpha=3.0).fit(source, target)
    oracle = SklearnRidge(alpha=3.0).fit(source, target)
    assert relative(fitted.weight, oracle.coef_) < 1e-8
    assert relative(fitted.predict(source), oracle.predict(source)) < 1e-8


@pytest.mark.parametrize("width", [1, 7, 28])
def test_least_squares_equals_scikit_learn_when_determined(width: int) -> None:
    source, target = paired(30, width)
    fitted = OLS().fit(source, target)
    oracle = LinearRegression().fit(source, target)
    assert relative(fitted.weight, oracle.coef_) < 1e-8
    assert relative(fitted.bias, oracle.intercept_) < 1e-8


@pytest.mark.parametrize("width", [30, 31, 80])
def test_least_squares_has_minimum_norm_when_underdetermined(width: int) -> None:
    source, target = paired(30, width)
    fitted = fit_quietly(OLS(), source, target)
    centred = source - source.mean(0)
    expected = torch.linalg.pinv(centred) @ (target - target.mean(0))
    assert relative(fitted.weight, expected.T) < 1e-8


@pytest.mark.parametrize("width", [8, 60])
def test_duplicated_and_zero_columns_leave_the_minimum_norm_solution(width: int) -> None:
    source, target = paired(30, width)
    source[:, 1] = source[:, 0]
    source[:, 2] = 0
    source[:, 3] = 0.1
    fitted = fit_quietly(OLS(), source, target)
    centred = source - source.mean(0)
    expected = torch.linalg.pinv(centred, rtol=1e-10) @ (target - target.mean(0))
    assert relative(fitted.weight, expected.T) < 1e-8


@pytest.mark.parametrize("width", [8, 60])
def test_duplicated_and_constant_columns_are_ridged_like_scikit_learn(width: int) -> None:
    source, target = paired(30, width)
    source[:, 1] = source[:, 0]
    source[:, 2] = 0
    source[:, 3] = 0.1
    fitted = Ridge(alpha=0.3).fit(source, target)
    assert relative(fitted.weight, SklearnRidge(alpha=0.3).fit(source, target).coef_) < 1e-8


def test_a_column_of_tiny_scale_is_ridged_like_scikit_learn() -> None:
    source, target = paired(30, 6)
    source[:, 0] *= 1e-8
    fitted = Ridge(alpha=1e-3).fit(source, target)
    expected = SklearnRidge(alpha=1e-3).fit(source, target).coef_
    assert relative(fitted.weight, expected) < 1e-8
    assert relative(fitted.weight[:, 0], expected[:, 0]) < 1e-6


def test_repeated_rows_count_twice_as_in_scikit_learn() -> None:
    source, target = paired(30, 60)
    source[1] = source[0]
    fitted = Ridge(alpha=0.3).fit(source, target)
    assert relative(fitted.weight, SklearnRidge(alpha=0.3).fit(source, target).coef_) < 1e-8


@pytest.mark.parametrize("width", [3, 50])
def test_an_exact_linear_relation_is_recovered(width: int) -> None:
    source, _ = paired(60, width)
    weight = torch.linspace(-1, 1, 2 * width, dtype=torch.float64).reshape(2, width)
    target = source @ weight.T + 5
    fitted = OLS().fit(source, target)
    assert relative(fitted.weight, weight) < 1e-9
    assert relative(fitted.bias, torch.full((2,), 5.0)) < 1e-9


def test_the_intercept_is_not_penalised() -> None:
    source, target = paired(30, 5)
    fitted = Ridge(alpha=1e12).fit(source, target + 1000)
    assert relative(fitted.predict(source), (target + 1000).mean(0).expand(30, -1)) < 1e-9


@pytest.mark.parametrize("width", [6, 50])
def test_moving_the_source_moves_the_bias_alone(width: int) -> None:
    source, target = paired(30, width)
    here = Ridge(alpha=1.0).fit(source, target)
    there = Ridge(alpha=1.0).fit(source + 100, target)
    assert relative(there.weight, here.weight) < 1e-9
    assert relative(there.bias, here.bias - 100 * here.weight.sum(1)) < 1e-9


def test_float32_input_with_a_large_mean_keeps_six_digits() -> None:  # case C26
    rng = np.random.default_rng(0)
    source = (rng.standard_normal((2000, 3)) + 10000).astype(np.float32)
    weight = np.array([1, -2, 0.5])
    target = source.astype(np.float64) @ weight
    fitted = OLS().fit(torch.from_numpy(source), torch.from_numpy(target)[:, None])
    assert float((fitted.weight[0] - torch.from_numpy(weight)).abs().max()) < 1e-6


def test_float32_input_equals_the_same_values_in_float64() -> None:
    source, target = (x.float() for x in paired(30, 50))
    single = Ridge(alpha=0.1).fit(source, target).predict(source)
    double = Ridge(alpha=0.1).fit(source.double(), target.double()).predict(source)
    assert single.dtype == torch.float32
    assert torch.equal(single, double.float())


# --- Choice of the penalty


@pytest.mark.parametrize("width", [1, 7, 29, 30, 31, 80])
def test_scores_equal_explicit_hat_matrices(width: int) -> None:
    source, target = paired(30, width)
    alphas = [1e-4, 1e-2, 1.0, 30.0, 1e4]
    fitted = fit_quietly(Ridge(alphas=alphas), source, target)
    expected = [brute_force_gcv(source, target, alpha) for alpha in alphas]
    np.testing.assert_allclose(fitted.scores_, expected, rtol=1e-7)


@pytest.mark.parametrize("noise", [0.01, 0.5, 5.0])
@pytest.mark.parametrize("width", [7, 30, 80])
def test_the_chosen_penalty_equals_brute_force(width: int, noise: float) -> None:
    source, target = paired(30, width, noise=noise)
    alphas = np.logspace(-6, 4, 41)
    fitted = fit_quietly(Ridge(alphas=alphas), source, target)
    best = min(alphas, key=lambda alpha: brute_force_gcv(source, target, alpha))
    assert fitted.summary()["alpha"] == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("width", [5, 45])
def test_penalties_per_target_equal_brute_force(width: int) -> None:
    source, target = paired(40, width)
    target[:, 1] += 20 * torch.randn(40, generator=torch.Generator().manual_seed(1)).double()
    alphas = np.logspace(-5, 5, 31)
    fitted = fit_quietly(Ridge(alphas=alphas, alpha_per_target=True), source, target)
    best = [
        min(alphas, key=lambda alpha: brute_force_gcv(source, target[:, [k]], alpha))
        for k in range(4)
    ]
    np.testing.assert_allclose(fitted.alpha_, best, rtol=1e-12)


def test_penalties_per_target_predict_like_one_fit_per_target() -> None:
    source, target = paired(40, 50)
    together = Ridge(alpha_per_target=True, alphas=np.logspace(-3, 3, 9)).fit(source, target)
    apart = [
        Ridge(alpha=float(together.alpha_[k])).fit(source, target[:, [k]]).predict(source)
        for k in range(4)
    ]
    assert relative(together.predict(source), torch.cat(apart, 1)) < 1e-12


def test_leave_one_out_choice_of_scikit_learn_is_close() -> None:
    # Another criterion (RidgeCV leaves one out exactly), so the penalty may differ by a few steps.
    source, target = paired(60, 100, noise=2.0)
    alphas = np.logspace(-3, 4, 29)
    ours = Ridge(alphas=alphas).fit(source, target).summary()["alpha"]
    theirs = RidgeCV(alphas=alphas).fit(source, target).alpha_
    assert abs(math.log10(ours / theirs)) <= 1


def test_interpolating_scores_have_the_finite_limit_of_no_penalty() -> None:
    source, target = paired(20, 60)
    fitted = fit_quietly(Ridge(alpha=0), source, target)
    nearly = brute_force_gcv(source, target, 1e-5)
    assert fitted.summary()["cv_mse"] == pytest.approx(nearly, rel=1e-4)


def test_the_default_grid_has_its_optimum_inside_for_noisy_targets() -> None:
    for width in (20, 300):
        source, target = paired(100, width, noise=3.0)
        fitted = Ridge().fit(source, target)
        assert len(fitted.alphas_) == 100
        assert fitted.summary()["at_edge"] == 0


def test_the_default_grid_follows_the_scale_of_the_source() -> None:
    source, target = paired(100, 20, noise=3.0)
    small = Ridge().fit(source, target).summary()["alpha"]
    large = Ridge().fit(source * 1000, target).summary()["alpha"]
    assert large == pytest.approx(small * 1e6)


def test_the_lower_edge_is_warned_of_once() -> None:
    source, target = paired(100, 5, noise=0)
    with pytest.warns(PenaltyEdgeWarning, match=r"lower edge .*extend map.alphas down") as caught:
        fitted = Ridge(alphas=[1.0, 10.0, 100.0]).fit(source, target)
    assert len(caught) == 1
    assert fitted.summary()["at_edge"] == 1
    assert fitted.edges_.tolist() == [-1]


def test_the_upper_edge_is_warned_of_when_the_source_tells_nothing() -> None:
    source, _ = paired(100, 5)
    target = (source[:, :1] * 0.1 + 100 * torch.arange(100)[:, None] % 7).flip(0)
    with pytest.warns(PenaltyEdgeWarning, match="upper edge"):
        Ridge(alphas=[1e-6, 1e-5, 1e-4]).fit(source, target)


def test_a_constant_target_is_predicted_exactly_and_has_no_r2() -> None:
    source, _ = paired(30, 5)
    fitted = Ridge().fit(source, torch.full((30, 2), 0.1))
    assert torch.equal(fitted.predict(source), torch.full((30, 2), 0.1))
    assert fitted.summary()["train_r2"] is None
    assert fitted.summary()["alpha"] == fitted.alphas_[-1]
    assert fitted.summary()["at_edge"] == 0


@pytest.mark.parametrize("width", [4, 60])
def test_a_source_that_never_varies_gives_the_mean_of_the_target(width: int) -> None:
    _, target = paired(30, 5)
    fitted = Ridge().fit(torch.full((30, width), 0.1), target)
    assert relative(fitted.predict(torch.randn(3, width)), target.mean(0).expand(3, -1)) < 1e-12
    assert fitted.summary()["rank"] == 0


@pytest.mark.parametrize("width", [1, 60])
@pytest.mark.parametrize("options", [{}, {"alphas": [1, 2, 3]}, {"alpha_per_target": True}])
def test_a_source_that_never_varies_leaves_no_penalty_to_choose(width: int, options: dict) -> None:
    _, target = paired(30, 5)
    fitted = Ridge(**options).fit(torch.zeros(30, width), target.float())
    facts = fitted.summary()
    assert (facts["alpha"], facts["at_edge"], facts["interpolates"]) == (0, 0, 0)
    assert facts["train_r2"] == pytest.approx(0, abs=1e-12)
    expected = target.float().double().mean(0).float()
    torch.testing.assert_close(fitted.predict(torch.zeros(1, width))[0], expected)
    assert all(value is None or np.isfinite(value) for value in facts.values() if value != "ridge")


@pytest.mark.parametrize("width", [8, 60])
def test_leave_one_out_equals_refits_without_each_item(width: int) -> None:
    source, target = paired(20, width)
    alpha = torch.tensor([0.01, 0.5, 10.0, 300.0], dtype=torch.float64)
    predicted = leave_one_out(factorise(source), source, target, alpha)
    for i in (0, 7, 19):
        keep = torch.arange(20) != i
        for k in range(4):
            oracle = SklearnRidge(alpha=float(alpha[k])).fit(source[keep], target[keep, k])
            assert predicted[i, k] == pytest.approx(oracle.predict(source[[i]])[0], rel=1e-8)


def test_leave_one_out_without_penalty_equals_refits_when_interpolating() -> None:
    source, target = paired(12, 40)
    predicted = leave_one_out(factorise(source), source, target, torch.zeros(1).double())
    keep = torch.arange(12) != 3
    refit = fit_quietly(OLS(), source[keep], target[keep])
    assert relative(predicted[[3]], refit.predict(source[[3]])) < 1e-8


# --- Summary


@pytest.mark.parametrize("width", [7, 50])
def test_training_errors_equal_those_of_the_predictions(width: int) -> None:
    source, target = paired(30, width)
    fitted = Ridge(alpha=0.5).fit(source, target)
    predicted = fitted.predict(source)
    found = fitted.summary()
    pooled = r2_score(target, predicted, multioutput="variance_weighted")
    assert found["train_r2"] == pytest.approx(pooled, abs=1e-10)
    assert found["train_mse"] == pytest.approx(float((predicted - target).square().mean()))


@pytest.mark.parametrize("width", [7, 30, 50])
def test_degrees_of_freedom_equal_the_trace_of_the_hat_matrix(width: int) -> None:
    source, target = paired(30, width)
    dof = Ridge(alpha=0.5).fit(source, target).summary()["dof"]
    assert dof == pytest.approx(float(hat_matrix(source, 0.5).trace()) - 1, abs=1e-8)


def test_least_squares_through_every_item_is_flagged() -> None:  # case C25
    source, target = paired(40, 100)
    with pytest.warns(InterpolationWarning, match=r"all 40 training items .*width 100, rank 39"):
        found = OLS().fit(source, target).summary()
    assert found["interpolates"] == 1
    assert (found["n_train"], found["d_source"], found["rank"]) == (40, 100, 39)
    assert found["train_mse"] < 1e-20


def test_duplicated_columns_do_not_hide_interpolation() -> None:  # case C25
    source, target = paired(40, 50)
    with pytest.warns(InterpolationWarning, match="rank 39"):
        OLS().fit(torch.cat([source, source], 1), target)


def test_a_vanishing_fixed_penalty_is_flagged_as_interpolation() -> None:
    source, target = paired(40, 100)
    with pytest.warns(InterpolationWarning):
        Ridge(alpha=1e-9).fit(source, target)


def test_a_chosen_penalty_on_noisy_targets_does_not_interpolate() -> None:  # case C25
    source, target = paired(40, 100, noise=3.0)
    assert Ridge().fit(source, target).summary()["interpolates"] == 0


@pytest.mark.parametrize("latent_map", [Ridge(), Ridge(alpha=1.0), OLS(), Identity()])
def test_summaries_are_flat_valid_json_with_the_same_keys(latent_map: Map) -> None:
    source, target = paired(30, 4)
    found = fit_quietly(latent_map, source, target).summary()
    assert list(found) == [
        "map",
        "alpha",
        "dof",
        "rank",
        "n_train",
        "d_source",
        "d_target",
        "train_r2",
        "train_mse",
        "cv_mse",
        "interpolates",
        "at_edge",
    ]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# --- Invariances


@pytest.mark.parametrize("width", [7, 50])
def test_row_order_leaves_predictions_unchanged(width: int) -> None:
    source, target = paired(40, width)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    straight = Ridge().fit(source, target).predict(source)
    assert relative(Ridge().fit(source[order], target[order]).predict(source), straight) < 1e-9


@pytest.mark.parametrize("width", [7, 50])
def test_rotating_the_source_leaves_predictions_unchanged(width: int) -> None:
    source, target = paired(40, width)
    rng = torch.Generator().manual_seed(3)
    rotation = torch.linalg.qr(torch.randn(width, width, generator=rng).double())[0]
    straight = Ridge().fit(source, target).predict(source)
    assert (
        relative(Ridge().fit(source @ rotation, target).predict(source @ rotation), straight)
        < 1e-9
    )


@pytest.mark.parametrize("width", [7, 50])
def test_refits_are_equal_to_the_bit(width: int) -> None:
    source, target = (x.float() for x in paired(40, width))
    first, second = (Ridge().fit(source, target) for _ in range(2))
    assert torch.equal(first.predict(source), second.predict(source))
    assert first.summary() == second.summary()


@pytest.mark.parametrize("width", [7, 50])
def test_a_test_item_changes_neither_the_map_nor_other_predictions(width: int) -> None:  # case C23
    source, target = paired(60, width)
    train, test = source[:40], source[40:].clone()
    fitted = Ridge().fit(train, target[:40])
    weight, before = fitted.weight, fitted.predict(test)
    test[0] *= 1e6
    after = fitted.predict(test)
    assert torch.equal(fitted.weight, weight)
    assert relative(after[1:], before[1:]) < 1e-12


@pytest.mark.parametrize("width", [7, 50])
def test_predictions_do_not_depend_on_the_batch(width: int) -> None:
    source, target = (x.float() for x in paired(40, width))
    fitted = Ridge().fit(source, target)
    together = fitted.predict(source)
    apart = torch.cat([fitted.predict(row[None]) for row in source])
    assert relative(apart, together) < 1e-6


@pytest.mark.parametrize("width", [7, 50])
def test_inputs_are_neither_modified_nor_remembered_by_reference(width: int) -> None:
    source, target = paired(40, width)
    kept_source, kept_target, probe = source.clone(), target.clone(), source[:5].clone()
    fitted = Ridge().fit(source, target)
    before = fitted.predict(probe)
    assert torch.equal(source, kept_source)
    assert torch.equal(target, kept_target)
    source.zero_()
    assert torch.equal(fitted.predict(probe), before)


@pytest.mark.parametrize("width", [7, 50])
def test_memory_layout_does_not_matter(width: int) -> None:
    source, target = paired(40, width)
    strided = torch.stack([source, torch.zeros_like(source)], 2)[:, :, 0]
    assert not strided.is_contiguous()
    assert (
        relative(
            Ridge(alpha=1.0).fit(strided, target.T.contiguous().T).predict(strided),
            Ridge(alpha=1.0).fit(source, target).predict(source),
        )
        < 1e-12
    )


def test_inputs_that_require_gradients_are_accepted() -> None:
    source, target = paired(40, 5)
    predicted = Ridge(alpha=1.0).fit(source.requires_grad_(), target).predict(source)
    assert not predicted.requires_grad


def test_no_rows_are_mapped_to_no_rows() -> None:
    source, target = paired(30, 50)
    assert Ridge(alpha=1.0).fit(source, target).predict(source[:0]).shape == (0, 4)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 12),
    d_source=st.integers(1, 14),
    d_target=st.integers(1, 4),
    log_alpha=st.floats(-3, 3),
    offset=st.sampled_from([0.0, 100.0]),
    constant=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_any_shape_is_solved_like_scikit_learn(
    n: int,
    d_source: int,
    d_target: int,
    log_alpha: float,
    offset: float,
    constant: bool,
    seed: int,
) -> None:
    source, target = paired(n, d_source, d_target, seed=seed)
    source = source + offset
    if constant:
        source[:, 0] = offset
    alpha = 10**log_alpha
    fitted = fit_quietly(Ridge(alpha=alpha), source, target)
    oracle = SklearnRidge(alpha=alpha).fit(source, target)
    expected = torch.as_tensor(oracle.predict(source)).reshape(n, d_target)
    torch.testing.assert_close(fitted.predict(source), expected, rtol=1e-8, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 12),
    d_source=st.integers(1, 14),
    d_target=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_any_shape_is_solved_by_least_squares(
    n: int, d_source: int, d_target: int, seed: int
) -> None:
    source, target = paired(n, d_source, d_target, seed=seed)
    fitted = fit_quietly(OLS(), source, target)
    centred = (source - source.mean(0)).numpy()
    expected = np.linalg.pinv(centred, rcond=1e-7) @ (target - target.mean(0)).numpy()
    np.testing.assert_allclose(fitted.weight.T, expected, rtol=1e-5, atol=1e-7)


# --- Factorisation


@pytest.mark.parametrize("value", [0.1, 1e6 + 1 / 3, -7.7e-5])
@pytest.mark.parametrize("width", [4, 60])
def test_constant_columns_centre_to_exactly_nothing(width: int, value: float) -> None:
    basis = factorise(torch.full((37, width), value, dtype=torch.float64))
    assert basis.rank == 0
    assert bool((basis.eigenvalues == 0).all())


def test_a_mean_far_beyond_the_spread_does_not_add_a_direction() -> None:
    rng = torch.Generator().manual_seed(0)
    source = 1e9 + 1e-3 * torch.randn(5, 20, generator=rng, dtype=torch.float64)
    assert factorise(source).rank == 4


@pytest.mark.parametrize("width", [7, 30, 50])
def test_a_shared_factorisation_gives_the_same_map(width: int) -> None:
    source, target = paired(30, width)
    shared = factorise(source)
    apart = Ridge().fit(source, target).predict(source)
    assert torch.equal(Ridge().fit(source, target, shared).predict(source), apart)


@pytest.mark.parametrize("width", [7, 50])
def test_a_factorisation_survives_being_stored(width: int) -> None:
    source, target = paired(30, width)
    stored = {key: value.clone() for key, value in factorise(source).to_tensors().items()}
    restored = Factorisation.from_tensors(stored)
    expected = Ridge().fit(source, target).predict(source)
    assert torch.equal(Ridge().fit(source, target, restored).predict(source), expected)


def test_a_factorisation_keeps_the_smaller_gram_matrix_only() -> None:
    sizes = [factorise(paired(30, width)[0]).eigenvectors.shape for width in (7, 50)]
    assert sizes == [(7, 7), (30, 30)]


@pytest.mark.parametrize("width", [7, 50])
def test_a_factorisation_of_other_latents_is_refused(width: int) -> None:
    source, target = paired(30, width)
    other = source.clone()
    other[3, 2] += 1e-3
    with pytest.raises(ValueError, match="made from other latents or another row order"):
        Ridge().fit(source, target, factorise(other))


def test_a_dual_factorisation_in_another_row_order_is_refused() -> None:
    source, target = paired(30, 50)
    with pytest.raises(ValueError, match="another row order"):
        Ridge().fit(source.flip(0), target.flip(0), factorise(source))


def test_a_primal_factorisation_does_not_depend_on_row_order() -> None:
    source, target = paired(30, 7)
    flipped = Ridge().fit(source.flip(0), target.flip(0), factorise(source)).predict(source)
    assert relative(flipped, Ridge().fit(source, target).predict(source)) < 1e-10


def test_a_factorisation_of_another_shape_is_refused() -> None:
    source, target = paired(30, 7)
    with pytest.raises(ValueError, match=r"\(30, 7\) but the factorisation .*\(29, 7\)"):
        Ridge().fit(source, target, factorise(source[:29]))


def test_a_damaged_stored_factorisation_is_refused() -> None:
    stored = factorise(paired(30, 7)[0]).to_tensors()
    with pytest.raises(ValueError, match="lacks"):
        Factorisation.from_tensors({"mean": stored["mean"]})
    stored["eigenvalues"] = stored["eigenvalues"][:3]
    with pytest.raises(ValueError, match="needs 7 eigenvalues"):
        Factorisation.from_tensors(stored)


def test_wide_to_wide_never_forms_the_weight(monkeypatch: pytest.MonkeyPatch) -> None:  # case C24
    n, width = 40, 3000
    source, target = torch.randn(n, width), torch.randn(n, width)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():
        Ridge(alpha=1.0).fit(source, target).predict(source)
    assert largest <= n * width


# --- Identity


def test_identity_returns_the_latents_and_measures_the_difference() -> None:
    source, _ = paired(30, 5)
    target = source + 2
    fitted = Identity().fit(source, target)
    assert torch.equal(fitted.predict(source), source)
    assert torch.equal(fitted.weight, torch.eye(5).double())
    assert torch.equal(fitted.bias, torch.zeros(5).double())
    assert fitted.summary()["train_mse"] == pytest.approx(4)
    spread = float((target - target.mean(0)).square().mean())
    assert fitted.summary()["train_r2"] == pytest.approx(1 - 4 / spread)


def test_identity_hands_out_copies() -> None:
    source, target = (x.float() for x in paired(30, 4))
    Identity().fit(source, target).predict(source).zero_()
    assert source.abs().sum() > 0


def test_identity_refuses_different_widths() -> None:
    with pytest.raises(ValueError, match="equal widths, source has 7 and target 4"):
        Identity().fit(*paired(30, 7))


# --- Files


@pytest.mark.parametrize("width", [4, 50])
@pytest.mark.parametrize("latent_map", [Ridge(), Ridge(alpha_per_target=True), Ridge(0.5), OLS()])
def test_a_saved_map_predicts_the_same_to_the_bit(
    latent_map: Map, width: int, tmp_path: Path
) -> None:
    source, target = (x.float() for x in paired(30, width))
    fitted = fit_quietly(latent_map, source, target)
    fitted.save(tmp_path / "maps" / "map.safetensors")
    loaded = load_map(tmp_path / "maps" / "map.safetensors")
    assert type(loaded) is type(fitted)
    assert torch.equal(loaded.predict(source), fitted.predict(source))
    assert torch.equal(loaded.weight, fitted.weight)
    assert loaded.summary() == fitted.summary()
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["map.safetensors"]


def test_a_saved_identity_keeps_its_dtype(tmp_path: Path) -> None:
    source, target = paired(30, 4)
    Identity().fit(source, target).save(tmp_path / "map")
    assert Identity.load(tmp_path / "map").predict(source.float()).dtype == torch.float64


def test_a_saved_ridge_keeps_its_curve_and_settings(tmp_path: Path) -> None:
    source, target = paired(30, 4)
    fitted = Ridge(alphas=[0.1, 1, 10, 100]).fit(source, target)
    fitted.save(tmp_path / "map")
    loaded = Ridge.load(tmp_path / "map")
    assert torch.equal(loaded.scores_, fitted.scores_)
    assert torch.equal(loaded.alphas_, fitted.alphas_)
    assert loaded.alphas == [0.1, 1, 10, 100]


def test_loading_refuses_what_is_no_map(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no map file"):
        load_map(tmp_path / "absent")
    (tmp_path / "text").write_text("no map at all")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_map(tmp_path / "text")


def test_loading_refuses_a_map_of_another_kind(tmp_path: Path) -> None:
    OLS().fit(*paired(30, 4)).save(tmp_path / "map")
    with pytest.raises(ValueError, match="holds map=ols, which is no Ridge"):
        Ridge.load(tmp_path / "map")


# --- Bad input


def test_unequal_row_counts_are_an_error() -> None:
    source, target = paired(30, 5)
    with pytest.raises(ValueError, match="source has 30 rows but target has 29: encode both"):
        Ridge().fit(source, target[:29])


@pytest.mark.parametrize("latent_map", [Ridge(), OLS(), Identity()])
def test_values_that_are_not_finite_are_an_error_naming_the_rows(latent_map: Map) -> None:
    source, target = paired(30, 4)
    bad = target.clone()
    bad[3, 1], bad[17, 0] = math.nan, math.inf
    with pytest.raises(ValueError, match=r"target has values .* 2 of 30 rows \(rows 3, 17\)"):
        latent_map.fit(source, bad)
    with pytest.raises(ValueError, match=r"source has values .* 2 of 30 rows \(rows 3, 17\)"):
        latent_map.fit(bad, target)


def test_predicting_from_values_that_are_not_finite_is_an_error() -> None:
    source, target = paired(30, 4)
    fitted = Ridge(alpha=1.0).fit(source, target)
    source[2, 2] = math.nan
    with pytest.raises(ValueError, match="rows 2"):
        fitted.predict(source)


def test_one_training_item_is_too_few() -> None:
    source, target = paired(30, 4)
    with pytest.raises(ValueError, match="at least 2 training items, got 1"):
        Ridge().fit(source[:1], target[:1])


def test_another_width_at_prediction_is_an_error() -> None:
    source, target = paired(30, 4)
    fitted = Ridge(alpha=1.0).fit(source, target)
    with pytest.raises(ValueError, match="width 3 but the map was fitted on width 4"):
        fitted.predict(source[:, :3])


@pytest.mark.parametrize("latent_map", [Ridge(), OLS(), Identity()])
def test_an_unfitted_map_says_so(latent_map: Map) -> None:
    with pytest.raises(ValueError, match="not fitted: call fit first"):
        latent_map.predict(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="not fitted"):
        latent_map.summary()


def test_images_and_integers_are_no_latents() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\): flatten"):
        factorise(torch.zeros(2, 3, 8, 8))
    with pytest.raises(TypeError, match=r"floating point, got torch.int64"):
        factorise(torch.zeros(2, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1.0}, "map.alpha must be >= 0 and finite, got -1.0"),
        ({"alpha": math.nan}, "map.alpha must be >= 0 and finite, got nan"),
        ({"alphas": [1.0, 1.0, 2.0]}, "map.alphas must be at least 3 different"),
        ({"alphas": [0.0, 1.0, 2.0]}, "map.alphas must be .* > 0"),
        ({"alpha": 1.0, "alphas": [1.0, 2.0, 3.0]}, "set one of them to null"),
        ({"n_alphas": 2}, "map.n_alphas must be >= 3, got 2"),
        ({"selection": "loo"}, "map.selection must be \"gcv\", got 'loo'"),
    ],
)
def test_settings_out_of_range_are_an_error(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ridge(**arguments)


@pytest.mark.parametrize("kind", [Ridge, OLS, Identity])
def test_yaml_mirrors_the_constructor(kind: type[Map]) -> None:
    options = yaml.safe_load((CONF / f"{kind.name}.yaml").read_text())
    assert options.pop("_target_") == f"stitching.maps.{kind.__name__}"
    parameters = inspect.signature(kind).parameters
    assert options == {key: parameter.default for key, parameter in parameters.items()}
