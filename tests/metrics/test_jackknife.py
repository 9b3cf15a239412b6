"""Uncertainty by groups of fit items, against closed forms and simulated fit sets."""

import numpy as np
import pytest
import torch

from stitching.maps import Ridge
from stitching.metrics.jackknife import (
    deviations,
    groups_of,
    multipliers,
    noise,
    noise_of_draws,
    vary,
)
from stitching.metrics.resampling import Estimate, Resamples
from stitching.metrics.shifted import ShiftedScores

IDS = [f"{i:06d}.png" for i in range(400)]


def variance(value, without, sizes):
    return sum(part**2 for part in deviations(value, without, sizes).values())


def test_groups_of_equal_sizes_give_the_usual_jackknife():
    without = dict(enumerate(np.random.default_rng(0).normal(size=20)))
    values = np.array(list(without.values()))
    expected = 19 / 20 * ((values - values.mean()) ** 2).sum()
    assert variance(0.3, without, dict.fromkeys(without, 7)) == pytest.approx(expected)


def test_the_variance_of_a_mean_is_right_on_average_with_unequal_groups():
    rng, sizes = np.random.default_rng(1), {0: 3, 1: 8, 2: 5, 3: 4, 7: 10}
    place = np.repeat(list(sizes), list(sizes.values()))
    found = []
    for _ in range(3000):
        x = rng.normal(size=30)
        without = {group: x[place != group].mean() for group in sizes}
        found.append(variance(x.mean(), without, sizes))
    assert np.mean(found) == pytest.approx(1 / 30, rel=0.05)


def test_a_group_depends_on_the_id_alone():
    groups = groups_of(IDS, 20)
    assert set(groups) == set(range(20))
    assert np.bincount(groups).min() > 5
    assert (groups_of(IDS[100:], 20) == groups[100:]).all()


def test_multipliers_are_the_same_for_more_draws_and_of_t_like_spread():
    few, many = multipliers(10, 20), multipliers(20_000, 20)
    assert (many[:10] == few).all()
    assert many.var() == pytest.approx(19 / 17, rel=0.03)
    assert np.abs(np.corrcoef(many.T) - np.eye(20)).max() < 0.05


def test_draws_spread_by_test_and_fit_items():
    estimate = Estimate(0.5, 0.5 + 0.1 * np.random.default_rng(0).normal(size=4000))
    without = dict(enumerate(0.5 + 0.05 * np.random.default_rng(1).normal(size=20)))
    sizes = dict.fromkeys(without, 10)
    found, share = vary(estimate, without, sizes, 20)
    by_fit = variance(0.5, without, sizes)
    assert share == pytest.approx(by_fit / (by_fit + estimate.draws.var()))
    assert found.value == 0.5
    assert found.draws.var() == pytest.approx(estimate.draws.var() + 19 / 17 * by_fit, rel=0.06)


def test_equal_refits_of_two_cells_cancel_in_their_difference():
    estimate = Estimate(0.5, np.random.default_rng(0).normal(size=50))
    without = dict(enumerate(np.random.default_rng(1).normal(size=20)))
    shifted = {group: value + 0.25 for group, value in without.items()}
    sizes = dict.fromkeys(without, 10)
    one, _ = vary(estimate, without, sizes, 20)
    other, _ = vary(Estimate(0.75, estimate.draws + 0.25), shifted, sizes, 20)
    assert other.draws - one.draws == pytest.approx(0.25)


def refits_of_items(n, effect, seed=0):
    """Scores of n items, and by refits that move all by `effect` and each by noise of 1."""
    rng, sizes = np.random.default_rng(seed), dict.fromkeys(range(20), 10)
    value = rng.normal(size=n)
    moves = effect * rng.normal(size=20)
    return value, {g: value + moves[g] + rng.normal(size=n) for g in sizes}, sizes


@pytest.mark.parametrize(("effect", "share"), [(0.0, 1.0), (0.1, 0.5), (10.0, 0.0)])
def test_noise_is_the_part_that_other_test_items_would_change(effect, share):
    found = [noise(*refits_of_items(100, effect, seed)) for seed in range(50)]
    assert np.mean(found) == pytest.approx(share, abs=0.12)


def test_noise_of_draws_is_that_of_items():
    value, without, sizes = refits_of_items(100, 0.1)
    resamples = Resamples(100, 4000, 0)
    estimates = {g: resamples.mean(torch.from_numpy(rows)) for g, rows in without.items()}
    found = noise_of_draws(resamples.mean(torch.from_numpy(value)), estimates, sizes)
    assert found == pytest.approx(noise(value, without, sizes), rel=0.06)


@pytest.mark.parametrize("estimate", [Estimate(None, np.zeros(3)), Estimate(0.5)])
def test_without_value_or_draws_nothing_changes(estimate):
    assert vary(estimate, {0: 0.4, 1: 0.6}, {0: 1, 1: 1}, 2) == (estimate, None)


def test_intervals_hold_the_average_over_fit_sets_where_those_of_test_items_alone_do_not():
    n_train, n, width = 120, 400, 40
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(width, 3, generator=g, dtype=torch.float64) / width**0.5

    def drawn(size):
        x = torch.randn(size, width, generator=g, dtype=torch.float64)
        return x, x @ weight + torch.randn(size, 3, generator=g, dtype=torch.float64)

    groups = torch.from_numpy(groups_of([str(i) for i in range(n_train)], 20))
    sizes = dict(zip(*(x.tolist() for x in groups.unique(return_counts=True)), strict=True))
    resamples, found = Resamples(n, 500, 0), []
    for _ in range(100):
        (x, y), (x_test, y_test) = drawn(n_train), drawn(n)
        fitted = Ridge(alpha=30.0).fit(x, y)
        mapped = fitted.predict(x_test)
        mse = resamples.mean((mapped - y_test).square().mean(1))
        scores = ShiftedScores(y_test, mapped)
        items = {
            group: scores.items(change)["latent/mse"].numpy()
            for group, change in fitted.without_groups(x, y, x_test, groups)
        }
        without = {group: float(rows.mean()) for group, rows in items.items()}
        chance = noise((mapped - y_test).square().mean(1).numpy(), items, sizes)
        found.append((mse, vary(mse, without, sizes, 20, chance)[0]))
    truth = np.mean([alone.value for alone, _ in found])
    alone, both = (
        np.mean([low <= truth <= high for low, high in (e.interval for e in column)])
        for column in zip(*found, strict=True)
    )
    assert 0.9 <= both <= 0.99
    assert alone < both - 0.05
