"""Penalties that score the same with another map: found where they are, and only there."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from sklearn.linear_model import Ridge as SklearnRidge

from stitching.maps import ReducedRank, Ridge, factorise
from stitching.maps.flatness import held_out_change
from stitching.maps.selection import Problem
from tests.maps.helpers import fit_quietly, paired

N = 24


def waves(scales, n=N):
    """Cosines and sines of as many frequencies as scales, (n, 2 k): all leverages are equal.

    So generalised cross-validation is leaving one out.
    """
    turns = 2 * math.pi * torch.arange(n, dtype=torch.float64)[:, None] / n
    frequencies = torch.arange(1, len(scales) + 1)
    pairs = torch.stack([(turns * frequencies).cos(), (turns * frequencies).sin()], 2)
    return (pairs * torch.as_tensor(scales, dtype=torch.float64)[:, None]).flatten(1)


def widened(source, width):
    """The same items turned into a wider space, for the dual form."""
    rng = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(width, source.shape[1], generator=rng).double())[0]
    return source @ basis.T


def held_out_predictions(source, target, alpha):
    """Predict every item by a library's ridge map of all others, (N, D_t)."""
    found = []
    for i in range(len(source)):
        rest = np.arange(len(source)) != i
        model = SklearnRidge(alpha=alpha, solver="svd").fit(source[rest], target[rest])
        found.append(model.predict(source[i : i + 1].numpy())[0])
    return np.stack(found)


@pytest.mark.parametrize("width", [8, 22, 40], ids=["primal", "few left over", "dual"])
def test_the_change_is_that_of_predictions_of_maps_refitted_without_each_item(width):
    source = waves(np.logspace(0, -1, min(width, 22) // 2))
    source = widened(source, width) if width > N else source
    target = torch.randn(N, 3, generator=torch.Generator().manual_seed(0)).double()
    target += 2 * source @ torch.ones(source.shape[1], 3).double()
    problem = Problem.of(factorise(source), source, target)
    alphas = torch.tensor([1e-2, 0.5, 20.0], dtype=torch.float64)
    of_error, of_variance = held_out_change(problem, alphas, alphas[[1]])
    ours, *others = (held_out_predictions(source, target, a) for a in (0.5, 1e-2, 20.0))
    moved = [((other - ours) ** 2).mean() for other in others]
    error = ((ours - target.numpy()) ** 2).mean()
    variance = float(target.var(0, correction=0).mean())
    np.testing.assert_allclose(of_error[[0, 2]], np.array(moved) / error, rtol=1e-9)
    np.testing.assert_allclose(of_variance[[0, 2]], np.array(moved) / variance, rtol=1e-9)
    assert float(of_error[1]) == 0


def two_minima(excess=0.0):
    """A problem in which a large penalty scores as a small one does, or worse by `excess`.

    Of four groups of directions, from wide to narrow, the first and the third hold what can be
    predicted, the second and the fourth noise. A penalty keeps all that is wider: the first group
    alone, or the first three. How much there is in the third makes the scores equal.
    """
    n = 120
    source = waves(np.repeat([1e2, 1.0, 1e-2, 1e-4], 8), n)
    rng = torch.Generator().manual_seed(0)
    units = source / source.square().sum(0).sqrt()
    first, third = units[:, :16], units[:, 32:48]
    noise = torch.randn(n, 2, generator=rng).double()
    start, more = (x @ torch.randn(16, 2, generator=rng).double() for x in (first, third))
    basis = factorise(source)

    def target(part):
        return 50 * start + part * more + noise

    def above(part):
        fitted = Ridge(flat_tolerance=0).fit(source, target(part), basis)
        small = fitted.alphas_ < 60 * 1e-2
        lowest = [float(fitted.scores_[at].min()) for at in (small, ~small)]
        return lowest[1] / lowest[0] - 1 - excess

    return source, target(brentq(above, 0.5, 6.0, xtol=1e-9))


def between(alpha, low, high):
    return low < alpha < high


@pytest.mark.parametrize("selection", ["gcv", "loo"])
def test_two_minima_of_one_height_are_found_with_both_penalties(selection):
    source, target = two_minima()
    facts = Ridge(selection=selection).fit(source, target).summary()
    assert facts["flat"] == 1
    assert 0 <= facts["flat_gap"] < 1e-6
    low, high = sorted([facts["alpha"], facts["flat_alpha"]])
    spread = 120 / 2  # squared singular values of waves of amplitude 1
    assert between(low, 1e-8 * spread, 1e-4 * spread)
    assert between(high, 1 * spread, 1e4 * spread)


def test_the_map_at_the_other_minimum_differs_as_stated():
    source, target = two_minima()
    fitted = Ridge().fit(source, target)
    facts = fitted.summary()
    ours, other = (held_out_predictions(source, target, facts[k]) for k in ("alpha", "flat_alpha"))
    error = ((ours - target.numpy()) ** 2).mean()
    assert facts["flat_change"] == pytest.approx(((other - ours) ** 2).mean() / error, rel=1e-6)
    assert facts["flat_change"] > 0.05
    assert fitted.at(facts["flat_alpha"]).fit(source, target).alpha_ == facts["flat_alpha"]


@pytest.mark.parametrize("excess", [-0.2, 0.08])
def test_minima_of_unlike_height_are_no_tie(excess):
    assert Ridge().fit(*two_minima(excess)).summary()["flat"] == 0


def test_the_tolerance_decides_what_a_tie_is():
    source, target = two_minima(0.05)
    assert Ridge().fit(source, target).summary()["flat"] == 0
    assert Ridge(flat_tolerance=0.08).fit(source, target).summary()["flat"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_a_single_broad_minimum_is_not_flagged(seed):
    # Penalties within 2 % span more than a decade, and their maps differ by a few per cent.
    source, target = paired(100, 20, noise=3.0, seed=seed)
    fitted = fit_quietly(Ridge(), source, target)
    near = fitted.alphas_[fitted.scores_ <= 1.02 * fitted.scores_.min()]
    assert near[-1] > 5 * near[0]
    assert fitted.summary()["flat"] == 0


def test_an_exact_linear_relation_is_not_flagged():
    # All scores are rounding there, and so are the differences of maps.
    source, target = paired(40, 12, noise=0.0)
    for latents in ((source, target), (source.float(), target.float())):
        assert fit_quietly(Ridge(), *latents).summary()["flat"] == 0


def test_a_constant_target_is_not_flagged():
    source, _ = paired(30, 8)
    assert fit_quietly(Ridge(), source, source.new_ones(30, 2)).summary()["flat"] == 0


@pytest.mark.parametrize(
    "unasked", [Ridge(flat_tolerance=0), Ridge(alpha=0.1), Ridge(alpha_per_target=True)]
)
def test_where_there_is_nothing_to_determine_nothing_is_looked_for(unasked):
    facts = fit_quietly(unasked, *two_minima()).summary()
    assert (facts["flat"], facts["flat_alpha"]) == (None, None)


def test_the_curve_marks_both_penalties():
    source, target = two_minima()
    fitted = ReducedRank(None).fit(source, target)
    curve, facts = fitted.penalty_curve(), fitted.summary()
    assert curve["alpha"][curve["flat"].index(1.0)] == facts["flat_alpha"]
    assert curve["alpha"][curve["chosen"].index(1.0)] == facts["alpha"]
    assert sum(curve["flat"]) == 1


@pytest.mark.parametrize("tolerance", [-0.1, 1.0])
def test_a_tolerance_out_of_range_is_refused(tolerance):
    with pytest.raises(ValueError, match=r"map.flat_tolerance must be >= 0 and < 1"):
        Ridge(flat_tolerance=tolerance)
