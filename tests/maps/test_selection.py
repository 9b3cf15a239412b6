"""How the penalty is chosen: scores against refits, choices against brute force."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stitching.maps import OLS, PenaltyEdgeWarning, Ridge, factorise, leave_one_out
from tests.maps.helpers import (
    WIDTHS,
    fit_quietly,
    gcv_by_hand,
    paired,
    refit_errors,
    relative,
    solve,
)

ALPHAS = [1e-4, 1e-2, 0.3, 1.0, 30.0, 1e4]
SELECTIONS = ["gcv", "loo", "kfold"]
POOLED = pytest.mark.parametrize("per_target", [False, True], ids=["pooled", "per target"])


def uneven(n, width, **options):
    """Paired latents of which one target is mostly noise, so that choices differ."""
    source, target = paired(n, width, **options)
    target[:, 1] += 20 * torch.randn(n, generator=torch.Generator().manual_seed(1)).double()
    return source, target


def scores_by_hand(source, target, alphas, selection, n_folds=5):
    """Score of every penalty for every target, shape (A, D_t), from explicit refits."""
    if selection == "gcv":
        return torch.stack([gcv_by_hand(source, target, alpha) for alpha in alphas])
    n = len(source)
    step = n if selection == "loo" else n_folds
    held_out = [torch.arange(i, n, step) for i in range(step)]
    return torch.stack([refit_errors(source, target, a, held_out).mean(0) for a in alphas])


# --- Scores


@POOLED
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("width", [1, 7, 17, 18, 19, 40])
def test_scores_equal_those_of_explicit_refits(width, selection, per_target):
    source, target = uneven(18, width)
    ours = Ridge(alphas=ALPHAS, selection=selection, n_folds=4, alpha_per_target=per_target)
    fitted = fit_quietly(ours, source, target)
    expected = scores_by_hand(source, target, ALPHAS, selection, 4)
    expected = expected if per_target else expected.mean(1)
    np.testing.assert_allclose(fitted.scores_, expected, rtol=1e-7)


@pytest.mark.parametrize("n_folds", [2, 3, 7, 16])
@pytest.mark.parametrize("width", [5, 40])
def test_folds_of_unequal_size_weigh_every_item_the_same(width, n_folds):
    source, target = paired(16, width)
    ours = Ridge(alphas=ALPHAS, selection="kfold", n_folds=n_folds)
    fitted = fit_quietly(ours, source, target)
    expected = scores_by_hand(source, target, ALPHAS, "kfold", n_folds).mean(1)
    np.testing.assert_allclose(fitted.scores_, expected, rtol=1e-7)


@POOLED
@pytest.mark.parametrize("width", [5, 40])
def test_as_many_folds_as_items_is_leaving_one_out(width, per_target):
    source, target = uneven(16, width)
    options = {"alphas": ALPHAS, "alpha_per_target": per_target}
    folds = fit_quietly(Ridge(selection="kfold", n_folds=16, **options), source, target)
    single = fit_quietly(Ridge(selection="loo", **options), source, target)
    assert relative(folds.scores_, single.scores_) < 1e-9


def test_a_primal_source_whose_folds_are_dual_is_scored_alike():
    source, target = paired(20, 14)  # 10 items of a fold, 14 columns
    ours = Ridge(alphas=ALPHAS, selection="kfold", n_folds=2)
    fitted = fit_quietly(ours, source, target)
    expected = scores_by_hand(source, target, ALPHAS, "kfold", 2).mean(1)
    np.testing.assert_allclose(fitted.scores_, expected, rtol=1e-7)


@POOLED
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("width", [7, 50])
def test_scores_of_float32_targets_are_those_of_float64_to_five_digits(
    width, selection, per_target
):
    source, target = (x.float() for x in uneven(30, width))
    ours = Ridge(alphas=ALPHAS, selection=selection, alpha_per_target=per_target)
    single = fit_quietly(ours, source, target).scores_
    double = fit_quietly(ours, source.double(), target.double()).scores_
    assert float((single / double - 1).abs().max()) < 1e-5


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("width", [7, 50])
def test_more_targets_than_a_block_are_scored_alike(width, selection):
    source, target = paired(30, width, 2500)
    ours = Ridge(alphas=[0.1, 1.0, 10.0], selection=selection, alpha_per_target=True)
    together = fit_quietly(ours, source, target).scores_
    apart = [fit_quietly(ours, source, part).scores_ for part in target.split(1250, 1)]
    assert relative(together, torch.cat(apart, 1)) < 1e-12


@pytest.mark.parametrize("width", [7, 50])
def test_a_fixed_penalty_has_the_generalised_score(width):
    source, target = paired(30, width)
    found = Ridge(alpha=0.3).fit(source, target).summary()
    assert found["selection"] == "fixed"
    assert found["cv_mse"] == pytest.approx(float(gcv_by_hand(source, target, 0.3).mean()))


def test_interpolating_scores_have_the_finite_limit_of_no_penalty():
    source, target = paired(20, 60)
    fitted = fit_quietly(Ridge(alpha=0), source, target)
    nearly = float(gcv_by_hand(source, target, 1e-5).mean())
    assert fitted.summary()["cv_mse"] == pytest.approx(nearly, rel=1e-4)


# --- Leaving one out


@pytest.mark.parametrize("width", WIDTHS)
def test_leave_one_out_equals_refits_without_each_item(width):
    source, target = paired(20, width)
    alpha = torch.tensor([0.01, 0.5, 10.0, 300.0], dtype=torch.float64)
    predicted = leave_one_out(factorise(source), source, target, alpha)
    for k in range(4):
        single = [torch.tensor([i]) for i in range(20)]
        expected = refit_errors(source, target[:, [k]], float(alpha[k]), single)
        found = (predicted - target)[:, [k]].square()
        assert relative(found, expected) < 1e-8


@pytest.mark.parametrize("width", [3, 40])
def test_leave_one_out_without_penalty_equals_refits(width):
    source, target = paired(12, width)
    predicted = leave_one_out(factorise(source), source, target, torch.zeros(1).double())
    keep = torch.arange(12) != 3
    refit = fit_quietly(OLS(), source[keep], target[keep])
    assert relative(predicted[[3]], refit.predict(source[[3]])) < 1e-8


@pytest.mark.parametrize("width", [7, 50])
def test_leave_one_out_takes_one_penalty_for_all_targets(width):
    source, target = paired(20, width)
    basis = factorise(source)
    one = leave_one_out(basis, source, target, torch.tensor([0.5]).double())
    many = leave_one_out(basis, source, target, torch.full((4,), 0.5).double())
    assert relative(one, many) < 1e-12


def alone_in_a_direction():
    """Latents whose last column is 0 for every item but the one at row 4."""
    source, target = paired(30, 7)
    source[:, -1] = 0
    source[4, -1] = 2
    return source, target


@pytest.mark.parametrize("alpha", [1e-8, 1e-4, 1.0])
def test_an_item_alone_in_a_direction_is_predicted_from_the_others(alpha):
    source, target = alone_in_a_direction()
    penalty = torch.tensor([alpha], dtype=torch.float64)
    found = leave_one_out(factorise(source), source, target, penalty)[4]
    keep = torch.arange(30) != 4
    expected = Ridge(alpha=alpha).fit(source[keep], target[keep]).predict(source[[4]])[0]
    # What is divided by, 1 - leverage, is alpha / s^2 here (s = 2), from sums to 1 of 30 squares.
    rounding = 64 * torch.finfo(torch.float64).eps / (alpha / 4)
    assert relative(found, expected) < max(rounding, 1e-10)


def test_an_item_alone_in_a_direction_has_no_finite_prediction_without_a_penalty():
    source, target = alone_in_a_direction()
    found = leave_one_out(factorise(source), source, target, torch.zeros(1).double())
    assert not bool(torch.isfinite(found[4]).any())
    assert bool(torch.isfinite(found[[3, 5]]).all())


@pytest.mark.parametrize("n", [4, 15])
def test_where_all_items_weigh_the_same_generalised_is_leaving_one_out(n):
    first = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    source = torch.stack([first.roll(i) for i in range(n)])  # equal leverages, by symmetry
    target = paired(n, 1)[1]
    fits = [fit_quietly(Ridge(alphas=ALPHAS, selection=s), source, target) for s in ("gcv", "loo")]
    refits = scores_by_hand(source, target, ALPHAS, "loo").mean(1)
    assert relative(fits[0].scores_, refits) < 1e-8
    assert relative(fits[1].scores_, refits) < 1e-8


# --- Choices


@POOLED
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("noise", [0.01, 0.5, 5.0])
@pytest.mark.parametrize("width", [7, 16, 40])
def test_the_chosen_penalty_equals_brute_force(width, noise, selection, per_target):
    source, target = uneven(16, width, noise=noise)
    alphas = np.logspace(-4, 4, 13)
    ours = Ridge(alphas=alphas, selection=selection, alpha_per_target=per_target)
    fitted = fit_quietly(ours, source, target)
    expected = scores_by_hand(source, target, alphas, selection)
    expected = expected if per_target else expected.mean(1, keepdim=True)
    np.testing.assert_allclose(fitted.alpha_, alphas[expected.argmin(0)], rtol=1e-12)
    found = fitted.summary()
    assert found["cv_mse"] == pytest.approx(float(expected.min(0).values.mean()), rel=1e-7)
    assert found["selection"] == selection


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("width", [7, 50])
def test_penalties_per_target_predict_like_one_fit_per_target(width, selection):
    source, target = uneven(40, width)
    options = {"alphas": np.logspace(-3, 3, 9), "selection": selection}
    together = fit_quietly(Ridge(alpha_per_target=True, **options), source, target)
    apart = [fit_quietly(Ridge(**options), source, column) for column in target.split(1, 1)]
    assert torch.equal(together.alpha_, torch.cat([fitted.alpha_ for fitted in apart]))
    expected = torch.cat([fitted.predict(source) for fitted in apart], 1)
    assert relative(together.predict(source), expected) < 1e-12


@POOLED
@pytest.mark.parametrize("selection", ["gcv", "loo"])
@pytest.mark.parametrize("width", [7, 50])
def test_row_order_changes_no_choice(width, selection, per_target):
    source, target = uneven(40, width)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    ours = Ridge(alphas=ALPHAS, selection=selection, alpha_per_target=per_target)
    straight = fit_quietly(ours, source, target)
    scores, chosen = straight.scores_, straight.alpha_
    shuffled = fit_quietly(ours, source[order], target[order])
    assert torch.equal(shuffled.alpha_, chosen)
    assert relative(shuffled.scores_, scores) < 1e-9


def test_ties_go_to_the_larger_penalty():
    source = torch.tensor([[-1.0], [0.0], [1.0]]).double()
    fitted = Ridge(alphas=ALPHAS).fit(source, torch.zeros(3, 1).double())
    assert float(fitted.alpha_) == max(ALPHAS)


@pytest.mark.parametrize("width", [20, 300])
def test_the_default_grid_has_its_optimum_inside_for_noisy_targets(width):
    fitted = Ridge().fit(*paired(100, width, noise=3.0))
    assert len(fitted.alphas_) == 100
    assert fitted.summary()["at_edge"] == 0


@pytest.mark.parametrize("selection", SELECTIONS)
def test_the_default_grid_follows_the_scale_of_the_source(selection):
    source, target = paired(60, 20, noise=3.0)
    small = Ridge(selection=selection).fit(source, target).summary()["alpha"]
    large = Ridge(selection=selection).fit(source * 1000, target).summary()["alpha"]
    assert large == pytest.approx(small * 1e6)


@pytest.mark.parametrize("width", [20, 200])
def test_the_default_grid_goes_from_no_penalty_to_the_mean(width):
    source, target = paired(100, width)
    fitted = Ridge(n_alphas=7).fit(source, target)
    x = source - source.mean(0)
    top = float(np.linalg.norm(x.numpy(), 2)) ** 2
    expected = top * np.logspace(-10, 3, 7)
    np.testing.assert_allclose(fitted.alphas_, expected, rtol=1e-9)


def test_the_lower_edge_is_warned_of_once():
    source, target = paired(100, 5, noise=0)
    with pytest.warns(PenaltyEdgeWarning, match=r"lower edge .*extend map.alphas down") as caught:
        fitted = Ridge(alphas=[1.0, 10.0, 100.0]).fit(source, target)
    assert len(caught) == 1
    assert fitted.summary()["at_edge"] == 1
    assert fitted.edges_.tolist() == [-1]


def test_the_upper_edge_is_warned_of_when_the_source_tells_nothing():
    source, _ = paired(100, 5)
    target = (source[:, :1] * 0.1 + 100 * torch.arange(100)[:, None] % 7).flip(0)
    with pytest.warns(PenaltyEdgeWarning, match="upper edge"):
        fitted = Ridge(alphas=[1e-6, 1e-5, 1e-4]).fit(source, target)
    assert fitted.edges_.tolist() == [1]


@pytest.mark.parametrize(
    ("n", "n_folds", "message"),
    [
        (30, 31, r"map.n_folds=31 is more than the 30 items: lower it"),
        (3, 2, r"map.n_folds=2 leaves fewer than 2 of 3 items to fit on: use map.selection=gcv"),
    ],
)
def test_too_few_items_for_the_folds_are_an_error(n, n_folds, message):
    with pytest.raises(ValueError, match=message):
        Ridge(selection="kfold", n_folds=n_folds).fit(*paired(n, 4))


# --- The curve


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("width", [7, 50])
def test_the_curve_shows_the_choice_of_a_shared_penalty(width, selection):
    source, target = paired(30, width)
    fitted = fit_quietly(Ridge(n_alphas=12, selection=selection), source, target)
    curve = fitted.penalty_curve()
    assert list(curve) == ["alpha", "dof", "cv_mse", "chosen", "flat"]
    assert {len(column) for column in curve.values()} == {12}
    assert curve["alpha"] == sorted(curve["alpha"])
    assert sorted(curve["chosen"]) == 11 * [0] + [1]
    chosen = curve["chosen"].index(1)
    assert chosen == int(np.argmin(curve["cv_mse"]))
    found = fitted.summary()
    assert found["alpha"] == curve["alpha"][chosen]
    assert found["dof"] == pytest.approx(curve["dof"][chosen], rel=1e-12)
    assert found["cv_mse"] == pytest.approx(curve["cv_mse"][chosen], rel=1e-12)


@pytest.mark.parametrize("width", [7, 50])
def test_degrees_of_freedom_fall_along_the_curve(width):
    curve = Ridge(n_alphas=20).fit(*paired(30, width)).penalty_curve()
    assert np.all(np.diff(curve["dof"]) < 0)
    assert curve["dof"][0] == pytest.approx(min(29, width), rel=1e-6)


@pytest.mark.parametrize("width", [7, 50])
def test_the_curve_counts_the_targets_of_every_penalty(width):
    source, target = uneven(30, width)
    fitted = fit_quietly(Ridge(alphas=ALPHAS, alpha_per_target=True), source, target)
    curve = fitted.penalty_curve()
    assert {len(column) for column in curve.values()} == {len(ALPHAS)}
    assert sum(curve["chosen"]) == 4
    expected = [fitted.alpha_.tolist().count(alpha) for alpha in ALPHAS]
    assert curve["chosen"] == expected
    np.testing.assert_allclose(curve["cv_mse"], fitted.scores_.mean(1))


def test_a_fixed_penalty_has_no_curve():
    fitted = Ridge(alpha=1.0).fit(*paired(30, 4))
    assert fitted.penalty_curve() is None
    assert (fitted.alphas_, fitted.scores_, fitted.edges_) == (None, None, None)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(4, 10),
    width=st.integers(1, 12),
    d_target=st.integers(1, 3),
    selection=st.sampled_from(SELECTIONS),
    per_target=st.booleans(),
    constant=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_scores_of_any_shape_equal_those_of_refits(
    n, width, d_target, selection, per_target, constant, seed
):
    source, target = paired(n, width, d_target, seed=seed)
    if constant:
        source[:, -1] = 0.1
    alphas = [0.03, 1.0, 20.0]
    ours = Ridge(alphas=alphas, selection=selection, n_folds=2, alpha_per_target=per_target)
    fitted = fit_quietly(ours, source, target)
    expected = scores_by_hand(source, target, alphas, selection, 2)
    expected = expected if per_target else expected.mean(1)
    np.testing.assert_allclose(fitted.scores_, expected, rtol=1e-7)
    if not constant or width > 1:
        weight, _ = solve(source, target, float(fitted.alpha_[0]))
        assert relative(fitted.weight[:1], weight[:1]) < 1e-8
    assert math.isfinite(fitted.summary()["cv_mse"])
