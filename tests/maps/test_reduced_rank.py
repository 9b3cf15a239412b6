"""Reduced-rank regression against its closed form, ridge, and its own predictions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from stitching.maps import OLS, ReducedRank, Ridge
from stitching.maps.reduced_rank import rank_of_share
from tests.maps.helpers import fit_quietly, paired, relative, solve

#: Widths of source and target around N = 30: more directions in one or the other.
SHAPES = pytest.mark.parametrize(
    ("d_source", "d_target"), [(3, 9), (12, 5), (12, 40), (60, 5), (60, 40), (30, 30)]
)


def closed_form(source, target, alpha, rank):
    """W and b of rank r: the ridge map, projected on directions of its augmented fitted values."""
    weight, _ = solve(source, target, alpha)
    penalty = np.sqrt(alpha) * torch.eye(source.shape[1], dtype=torch.float64)
    fitted = torch.cat([source - source.mean(0), penalty]) @ weight.T
    axes = torch.from_numpy(np.linalg.svd(fitted.numpy())[2][:rank])
    weight = axes.T @ axes @ weight
    return weight, target.mean(0) - weight @ source.mean(0)


def mse(a, b):
    return float((a - b).square().mean())


# --- The map


@SHAPES
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("alpha", [1e-3, 5.0])
def test_the_map_equals_its_closed_form(d_source, d_target, rank, alpha):
    source, target = paired(30, d_source, d_target)
    fitted = ReducedRank(rank, alpha=alpha).fit(source, target)
    weight, bias = closed_form(source, target, alpha, rank)
    assert relative(fitted.weight, weight) < 1e-8
    assert relative(fitted.bias, bias) < 1e-8


@SHAPES
def test_no_step_along_a_factor_lowers_the_objective(d_source, d_target):
    source, target = paired(30, d_source, d_target)
    fitted = ReducedRank(2, alpha=0.7).fit(source, target)
    left, values, right = torch.linalg.svd(fitted.weight, full_matrices=False)
    a, b = left[:, :2] * values[:2], right[:2].clone()
    a, b, bias = a.requires_grad_(), b.requires_grad_(), fitted.bias.requires_grad_()
    error = (source @ (a @ b).T + bias - target).square().sum()
    (error + 0.7 * (a @ b).square().sum()).backward()
    scale = float((source.T @ target).abs().max())
    assert max(float(x.grad.abs().max()) for x in (a, b, bias)) < 1e-9 * scale


@SHAPES
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_weight_has_the_rank_of_the_map(d_source, d_target, rank):
    source, target = paired(30, d_source, d_target)
    fitted = ReducedRank(rank, alpha=0.5).fit(source, target)
    assert np.linalg.matrix_rank(fitted.weight.numpy()) == rank
    assert fitted.max_rank == fitted.summary()["map_rank"] == rank


@SHAPES
def test_full_rank_is_the_ridge_map(d_source, d_target):
    source, target = paired(30, d_source, d_target)
    fitted = ReducedRank(None, alpha=0.5).fit(source, target)
    ridge = Ridge(alpha=0.5).fit(source, target)
    assert relative(fitted.weight, ridge.weight) < 1e-9
    assert relative(fitted.predict(source), ridge.predict(source)) < 1e-9


@pytest.mark.parametrize("selection", ["gcv", "loo", "kfold"])
@pytest.mark.parametrize("width", [7, 50])
def test_the_penalty_is_that_chosen_for_ridge(width, selection):
    source, target = paired(30, width)
    reduced = fit_quietly(ReducedRank(2, selection=selection), source, target)
    ridge = fit_quietly(Ridge(selection=selection), source, target)
    assert torch.equal(reduced.alpha_, ridge.alpha_)
    assert reduced.penalty_curve() == ridge.penalty_curve()
    assert reduced.summary()["condition"] == ridge.summary()["condition"]


@SHAPES
def test_a_rank_beyond_that_of_the_data_gives_all(d_source, d_target):
    source, target = paired(30, d_source, d_target)
    fitted = ReducedRank(1000, alpha=0.5).fit(source, target)
    assert fitted.max_rank == min(d_source, d_target, 29)
    ridge = Ridge(alpha=0.5).fit(source, target)
    assert relative(fitted.predict(source), ridge.predict(source)) < 1e-9


def test_a_target_of_low_rank_has_no_more_directions():
    source, target = paired(30, 8, 2)
    fitted = ReducedRank(None, alpha=0.5).fit(source, target @ torch.ones(2, 6).double())
    assert fitted.max_rank == 1


@pytest.mark.parametrize("d_source", [7, 50])
def test_without_a_penalty_it_is_classical_reduced_rank_regression(d_source):
    source, target = paired(30, d_source, 6)
    least = fit_quietly(OLS(), source, target).predict(source)
    axes = torch.from_numpy(np.linalg.svd((least - least.mean(0)).numpy())[2][:2])
    expected = target.mean(0) + (least - target.mean(0)) @ axes.T @ axes
    fitted = fit_quietly(ReducedRank(2, alpha=0), source, target)
    assert relative(fitted.predict(source), expected) < 1e-8


@pytest.mark.parametrize("d_target", [4, 40])
@pytest.mark.parametrize("d_source", [7, 50])
def test_float32_targets_give_the_same_map_to_six_digits(d_source, d_target):
    source, target = (x.float() for x in paired(30, d_source, d_target))
    single = ReducedRank(3, alpha=0.5).fit(source, target).predict(source)
    double = ReducedRank(3, alpha=0.5).fit(source.double(), target.double()).predict(source)
    assert single.dtype == torch.float32
    assert float((single - double).abs().max()) < 2e-6 * float(target.abs().max())


@pytest.mark.parametrize("d_target", [3, 40])
@pytest.mark.parametrize("width", [7, 50])
def test_a_constant_target_is_predicted_exactly(width, d_target):
    target = torch.full((30, d_target), 0.1, dtype=torch.float64)
    fitted = ReducedRank(alpha=1.0).fit(paired(30, width)[0], target)
    assert torch.equal(fitted.predict(target[:2, :1].expand(2, width)), target[:2])
    assert fitted.summary()["train_mse"] == 0
    assert fitted.summary()["rank_90"] == 0


@pytest.mark.parametrize("d_target", [3, 40])
@pytest.mark.parametrize("width", [7, 50])
def test_a_source_that_never_varies_gives_the_mean_of_the_target(width, d_target):
    _, target = paired(30, 5, d_target)
    fitted = ReducedRank().fit(torch.full((30, width), 0.1).double(), target)
    other = paired(3, width)[0]
    assert relative(fitted.predict(other), target.mean(0).expand(3, -1)) < 1e-12
    assert fitted.summary()["train_r2"] == pytest.approx(0, abs=1e-12)


# --- All ranks of one fit


@SHAPES
def test_errors_by_rank_equal_those_of_the_predictions_of_every_rank(d_source, d_target):
    source, target = paired(50, d_source, d_target)
    fitted = ReducedRank(None, alpha=0.5).fit(source[:30], target[:30])
    found = fitted.errors_by_rank(source[30:], target[30:])
    ranks = range(fitted.max_rank + 1)
    expected = [mse(fitted.predict(source[30:], rank=r), target[30:]) for r in ranks]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@SHAPES
def test_training_errors_fall_with_the_rank(d_source, d_target):
    source, target = paired(30, d_source, d_target)
    fitted = ReducedRank(None, alpha=0.5).fit(source, target)
    errors = fitted.errors_by_rank(source, target)
    assert bool((errors.diff() < 0).all())
    assert float(errors[0]) == pytest.approx(mse(target.mean(0), target))


@pytest.mark.parametrize("d_source", [7, 50])
def test_a_smaller_rank_of_a_fit_is_the_fit_of_that_rank(d_source):
    source, target = paired(30, d_source, 6)
    large = ReducedRank(5, alpha=0.5).fit(source, target)
    small = ReducedRank(2, alpha=0.5).fit(source, target)
    assert relative(large.predict(source, rank=2), small.predict(source)) < 1e-10


@pytest.mark.parametrize("d_source", [7, 50])
def test_the_rank_of_the_map_is_the_default_of_predictions(d_source):
    source, target = paired(30, d_source, 6)
    fitted = ReducedRank(2, alpha=0.5).fit(source, target)
    assert relative(fitted.predict(source), fitted.predict(source, rank=2)) < 1e-12


def test_rank_0_is_the_mean():
    source, target = paired(30, 7)
    fitted = ReducedRank(2, alpha=0.5).fit(source, target)
    assert relative(fitted.predict(source, rank=0), target.mean(0).expand(30, -1)) < 1e-12


@pytest.mark.parametrize("rank", [-1, 3])
def test_a_rank_that_was_not_fitted_is_refused(rank):
    fitted = ReducedRank(2, alpha=0.5).fit(*paired(30, 7))
    with pytest.raises(ValueError, match=f"rank must lie between 0 and 2, got {rank}"):
        fitted.predict(paired(30, 7)[0], rank=rank)


# --- From a fitted map


@SHAPES
def test_a_fitted_ridge_map_is_sorted_into_the_same_map(d_source, d_target):
    source, target = paired(30, d_source, d_target)
    ridge = Ridge(alpha=0.5).fit(source, target)
    sorted_ = ReducedRank.of(ridge)
    fitted = ReducedRank(None, alpha=0.5).fit(source, target)
    assert torch.equal(sorted_.predict(source, rank=2), fitted.predict(source, rank=2))
    assert sorted_.summary() == fitted.summary()


@pytest.mark.parametrize("width", [7, 50])
def test_sorting_a_map_leaves_it_as_it_was(width):
    source, target = paired(30, width)
    ridge = Ridge().fit(source, target)
    before, facts = ridge.predict(source), ridge.summary()
    ReducedRank.of(ridge)
    assert torch.equal(ridge.predict(source), before)
    assert ridge.summary() == facts


def test_a_least_squares_map_can_be_sorted():
    source, target = paired(30, 7)
    least = OLS().fit(source, target)
    assert relative(ReducedRank.of(least).predict(source), least.predict(source)) < 1e-10


def test_a_sorted_map_can_be_sorted_again():
    source, target = paired(30, 7)
    once = ReducedRank(None, alpha=0.5).fit(source, target)
    twice = ReducedRank.of(once)
    assert relative(twice.predict(source, rank=2), once.predict(source, rank=2)) < 1e-10


def test_a_penalty_for_every_target_has_no_order_of_directions():
    source, target = paired(30, 7)
    fitted = fit_quietly(Ridge(alpha_per_target=True), source, target)
    with pytest.raises(ValueError, match=r"no order of directions: use map.alpha_per_t"):
        ReducedRank.of(fitted)


def test_an_unfitted_map_cannot_be_sorted():
    with pytest.raises(ValueError, match="not fitted: call fit first"):
        ReducedRank.of(Ridge())


@pytest.mark.parametrize("rank", [0, -3])
def test_a_rank_below_1_is_refused(rank):
    with pytest.raises(ValueError, match=f"map.rank must be >= 1, or null .*, got {rank}"):
        ReducedRank(rank)


# --- Summary


@SHAPES
@pytest.mark.parametrize("rank", [1, 3, None])
def test_training_errors_are_those_of_the_map_in_use(d_source, d_target, rank):
    source, target = paired(30, d_source, d_target)
    fitted = ReducedRank(rank, alpha=0.5).fit(source, target)
    predicted, found = fitted.predict(source), fitted.summary()
    pooled = r2_score(target, predicted, multioutput="variance_weighted")
    assert found["train_mse"] == pytest.approx(mse(predicted, target), rel=1e-9)
    assert found["train_r2"] == pytest.approx(pooled, abs=1e-9)


@SHAPES
@pytest.mark.parametrize("rank", [1, 3, None])
def test_rank_90_counts_squared_singular_values_of_the_weight(d_source, d_target, rank):
    source, target = paired(30, d_source, d_target)
    fitted = ReducedRank(rank, alpha=0.01).fit(source, target)
    squares = np.linalg.svd(fitted.weight.numpy(), compute_uv=False) ** 2
    share = np.cumsum(squares) / squares.sum()
    count = fitted.summary()["rank_90"]
    assert share[count - 1] >= 0.9
    assert count == 1 or share[count - 2] < 0.9


@pytest.mark.parametrize(
    ("squares", "share", "count"),
    [
        ([1, 0, 0], 0.9, 1),
        ([9, 1], 0.9, 1),
        ([8, 2], 0.9, 2),
        ([5, 4, 1], 0.9, 2),
        ([0, 0], 0.9, 0),
    ],
)
def test_a_share_is_counted_from_the_largest(squares, share, count):
    assert rank_of_share(torch.tensor(squares).double(), share) == count


def test_what_a_penalty_alone_does_not_define_is_left_out_below_full_rank():
    source, target = paired(30, 7)
    low = ReducedRank(1, alpha=0.5).fit(source, target).summary()
    full = ReducedRank(4, alpha=0.5).fit(source, target).summary()
    ridge = Ridge(alpha=0.5).fit(source, target).summary()
    assert (low["dof"], low["cv_mse"]) == (None, None)
    assert (full["dof"], full["cv_mse"]) == (ridge["dof"], ridge["cv_mse"])


def test_a_low_rank_of_an_interpolating_fit_does_not_interpolate():
    source, target = paired(30, 60, 9)
    found = fit_quietly(ReducedRank(1, alpha=0), source, target).summary()
    assert found["train_mse"] > 0.1
    assert found["interpolates"] == 0


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 12),
    d_source=st.integers(1, 14),
    d_target=st.integers(1, 14),
    rank=st.integers(1, 5),
    log_alpha=st.floats(-2, 2),
    seed=st.integers(0, 10_000),
)
def test_any_shape_equals_the_closed_form(n, d_source, d_target, rank, log_alpha, seed):
    source, target = paired(n, d_source, d_target, seed=seed)
    fitted = fit_quietly(ReducedRank(rank, alpha=10**log_alpha), source, target)
    weight, bias = closed_form(source, target, 10**log_alpha, rank)
    expected = source @ weight.T + bias
    assert relative(fitted.predict(source), expected) < 1e-7
    found = fitted.summary()["train_mse"]
    assert found == pytest.approx(mse(expected, target), rel=1e-7, abs=1e-12)
