import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stitching.metrics import resampling
from stitching.metrics.resampling import (
    BOOTSTRAP,
    HALVES,
    Estimate,
    Resamples,
    bootstrap_size,
    flatten,
    t_factor,
)


def scores_of(n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(n))


def mean_of_places(scores):
    return lambda places: float(scores[places].mean())


# --- How sure an estimate is


@pytest.mark.parametrize("n", [10, 30, 200])
def test_intervals_of_a_gaussian_mean_cover_it_in_95_percent_of_1000_trials(n):
    trials = 1000
    resamples = Resamples(n, n_halves=0)
    samples = np.random.default_rng(0).standard_normal((n, trials))
    draws = resamples.counts.numpy() @ samples / bootstrap_size(n)
    covered = 0
    for value, column in zip(samples.mean(axis=0), draws.T, strict=True):
        low, high = Estimate(float(value), column).interval
        covered += low <= 0 <= high
    assert 0.935 <= covered / trials <= 0.965


def test_bootstrap_of_a_mean_spreads_as_its_standard_error():
    scores = scores_of(300)
    draws = Resamples(300).mean(scores).draws
    assert draws.std() == pytest.approx(float(scores.std()) / math.sqrt(300), rel=0.05)


@pytest.mark.parametrize("n", [20, 300])
def test_half_samples_of_a_mean_spread_as_its_standard_error(n):
    scores = scores_of(n)
    draws = Resamples(n, n_halves=2000).of_halves(mean_of_places(scores)).draws
    expected = t_factor(n) * float(scores.std()) / math.sqrt(n)
    assert draws.std() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("n", [10, 30, 128, 1000])
def test_the_spread_of_a_bootstrap_is_that_of_a_t_interval(n):
    scores = scores_of(n)
    draws = Resamples(n, 20_000).mean(scores).draws
    half = stats.t.ppf(0.975, n - 1) * float(scores.std()) / math.sqrt(n)
    assert draws.std() * stats.norm.ppf(0.975) == pytest.approx(half, rel=0.04)


def test_sizes_of_resamples():
    assert [bootstrap_size(n) for n in (1, 2, 3, 30, 128, 1000)] == [1, 1, 1, 27, 125, 997]


def test_half_samples_and_bootstrap_give_a_mean_one_interval():
    scores = scores_of(400)
    resamples = Resamples(400, n_halves=1000)
    halves = resamples.of_halves(mean_of_places(scores)).interval
    width = halves[1] - halves[0]
    assert halves == pytest.approx(resamples.mean(scores).interval, abs=0.1 * width)


def test_the_bias_of_half_samples_is_taken_out():
    scores = scores_of(100)
    estimate = Resamples(100).of_halves(lambda places: float(scores[places].sum()))
    assert estimate.draws.mean() == pytest.approx(float(scores.sum()))
    assert estimate.value == pytest.approx(float(scores.sum()))


def test_a_difference_of_cells_is_surer_than_cells_on_other_resamples():
    first = scores_of(200)
    second = first + 0.1 * scores_of(200, seed=1)
    one = Resamples(200).mean(first)
    paired = one.draws - Resamples(200).mean(second).draws
    unpaired = one.draws - Resamples(200, seed=1).mean(second).draws
    assert paired.std() < 0.2 * unpaired.std()
    expected = float((first - second).std()) / math.sqrt(200)
    assert paired.std() == pytest.approx(expected, rel=0.1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_the_interval_of_a_mean_lies_within_the_scores(scores):
    low, high = (
        Resamples(len(scores), 100).mean(torch.tensor(scores, dtype=torch.float64)).interval
    )
    rounding = 1e-9 * max(map(abs, scores))
    assert min(scores) - rounding <= low <= high <= max(scores) + rounding


# --- The same resamples everywhere


def test_resamples_depend_on_number_of_items_and_seed_alone():
    first, second = Resamples(50), Resamples(50)
    halves = first.halves  # one draws half-samples first, the other bootstrap first
    counts = second.counts
    np.random.default_rng(0).random(1000)
    torch.rand(3)
    assert torch.equal(first.counts, counts)
    assert torch.equal(halves, second.halves)


@pytest.mark.parametrize("other", [Resamples(50, seed=1), Resamples(51)])
def test_another_seed_or_number_of_items_gives_other_resamples(other):
    own = Resamples(50)
    assert not torch.equal(other.counts[:, :50], own.counts)
    assert not torch.equal(other.halves[:, :50], own.halves)


def test_more_resamples_begin_with_the_same_ones():
    few, many = Resamples(30, 10, 5), Resamples(30, 40, 20)
    assert torch.equal(many.counts[:10], few.counts)
    assert torch.equal(many.halves[:5], few.halves)


def test_a_bootstrap_resample_holds_the_items_of_its_size_and_a_half_sample_half_of_all():
    resamples = Resamples(31, 20, 20)
    assert (resamples.counts.sum(dim=1) == 28).all()
    assert (resamples.halves.sum(dim=1) == 15).all()


@pytest.mark.parametrize("number", [0, 1, 50])
def test_the_value_does_not_depend_on_the_number_of_resamples(number):
    scores = scores_of(60)
    resamples = Resamples(60, number, number)
    expected = float(scores.mean())
    assert resamples.mean(scores).value == pytest.approx(expected, abs=1e-15)
    assert resamples.mean(scores).value == Resamples(60).mean(scores).value
    assert resamples.of_halves(mean_of_places(scores)).value == expected


def test_without_resamples_there_are_no_draws_and_no_interval():
    scores = scores_of(20)
    resamples = Resamples(20, 0, 0)
    estimates = [
        resamples.mean(scores),
        resamples.of_halves(mean_of_places(scores)),
        resamples.of_half_weights(lambda weights: weights @ scores),
    ]
    assert [estimate.draws for estimate in estimates] == [None] * 3
    assert {estimate.interval for estimate in estimates} == {(None, None)}


def test_draws_do_not_depend_on_how_many_are_weighed_at_once(monkeypatch):
    scores = scores_of(40)[:, None]
    together = Resamples(40).of_means(scores, lambda means: means[..., 0].exp())
    monkeypatch.setattr(resampling, "_WEIGHT_ELEMENTS", 7 * 40)
    parts = Resamples(40).of_means(scores, lambda means: means[..., 0].exp())
    assert parts.draws == pytest.approx(together.draws, rel=1e-14)


def test_means_of_a_resample_are_those_of_its_items():
    table = torch.stack([scores_of(25), scores_of(25, seed=1)], dim=1)
    resamples = Resamples(25, 10)
    draws = resamples.of_means(table, lambda means: means[..., 0] / means[..., 1]).draws
    for counts, draw in zip(resamples.counts, draws, strict=True):
        rows = table.repeat_interleave(counts.long(), dim=0).mean(dim=0)
        assert draw == pytest.approx(float(rows[0] / rows[1]))


def test_half_weights_and_places_name_the_same_half_samples():
    scores = scores_of(21)
    resamples = Resamples(21)
    by_weight = resamples.of_half_weights(lambda weights: weights @ scores / weights.sum(dim=1))
    by_place = resamples.of_halves(mean_of_places(scores))
    assert by_weight.draws == pytest.approx(by_place.draws)
    assert by_weight.method == by_place.method == HALVES


# --- Some of the items


def test_leaving_items_out_keeps_the_weights_of_the_others():
    rows = np.arange(40) % 5 > 0
    every = Resamples(40)
    some = every.only(rows)
    assert some.n_items == 32
    assert torch.equal(some.counts, every.counts[:, rows])
    assert torch.equal(some.halves, every.halves[:, rows])


def test_a_mean_without_some_items_is_that_of_the_others():
    scores, rows = scores_of(40), np.arange(40) > 7
    estimate = Resamples(40).only(rows).mean(scores[8:])
    counts = Resamples(40).counts[:, 8:]
    assert estimate.value == pytest.approx(float(scores[8:].mean()))
    assert estimate.draws == pytest.approx((counts @ scores[8:] / counts.sum(dim=1)).numpy())


def test_flags_of_other_items_are_refused():
    with pytest.raises(ValueError, match=r"one flag for each of 40 items and .* shape \(39,\)"):
        Resamples(40).only(np.ones(39, dtype=bool))


# --- Undefined


def test_undefined_draws_above_5_percent_leave_no_interval():
    draws = np.linspace(0, 1, 1000)
    draws[:51] = np.nan
    assert Estimate(0.5, draws).interval == (None, None)


def test_undefined_draws_up_to_5_percent_are_left_out_of_the_interval():
    draws = np.linspace(0, 1, 1000)
    draws[:50] = np.nan
    expected = tuple(np.percentile(draws[50:], [2.5, 97.5], method="weibull"))
    assert Estimate(0.5, draws).interval == pytest.approx(expected)


def test_an_undefined_value_has_no_interval():
    assert Estimate(None, np.linspace(0, 1, 100)).interval == (None, None)


def test_what_is_undefined_on_all_items_is_none():
    estimate = Resamples(10).of_weights(lambda weights: weights.sum(dim=1) * torch.nan)
    assert estimate.value is None
    assert np.isnan(estimate.draws).all()


def test_undefined_half_samples_stay_undefined_and_do_not_move_the_others():
    scores = scores_of(30)
    known = Resamples(30).of_halves(mean_of_places(scores))

    def only_with_first(places):
        return float(scores[places].mean()) if 0 in places else math.nan

    some = Resamples(30).of_halves(only_with_first)
    missing = np.isnan(some.draws)
    assert (missing == ~Resamples(30).halves[:, 0].numpy()).all()
    assert np.nanmean(some.draws) == pytest.approx(some.value)
    shift = some.draws[~missing] - known.draws[~missing]
    assert shift == pytest.approx(shift[0])


# --- Files


def test_flat_results_have_the_ends_of_the_interval_beside_the_value():
    estimate = Resamples(50).mean(scores_of(50))
    values, draws = flatten({"a/b": estimate, "a/n": 50, "a/why": None})
    assert values == {
        "a/b": estimate.value,
        "a/b.low": estimate.interval[0],
        "a/b.high": estimate.interval[1],
        "a/n": 50,
        "a/why": None,
    }
    assert list(draws) == ["a/b"]
    json.dumps(values, allow_nan=False)


def test_flat_results_without_draws_are_the_values_alone():
    assert flatten({"a": Estimate(0.5), "b": Estimate(None)}) == ({"a": 0.5, "b": None}, {})


def test_flat_draws_are_float32():
    draws = flatten({"a": Resamples(50).mean(scores_of(50))})[1]["a"]
    assert draws.dtype == np.float32
    assert draws.shape == (1000,)


def test_estimates_say_how_they_were_resampled():
    assert Resamples(9).mean(scores_of(9)).method == BOOTSTRAP
    assert Resamples(9).of_halves(lambda places: 0.0).method == HALVES


# --- Bad input


def test_no_items_are_refused():
    with pytest.raises(ValueError, match="at least 1 item, got 0"):
        Resamples(0)


@pytest.mark.parametrize("name", ["n_bootstrap", "n_halves"])
def test_negative_numbers_of_resamples_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be >= 0, got -1"):
        Resamples(5, **{name: -1})
