import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from stitching.metrics.factors import FactorPredictions, factor_scores
from stitching.metrics.resampling import Resamples, flatten


def noisy(name, n, seed, resamples=None, steps=None):
    """A factor whose predictions get worse; in `steps` steps, so that there are ties."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(n)
    own = truth + 0.5 * rng.standard_normal(n)
    mapped = own + rng.standard_normal(n)
    if steps:
        truth, own, mapped = (np.round(steps * values) / steps for values in (truth, own, mapped))
    return FactorPredictions(name, truth, own, mapped, resamples=resamples)


def values(*predictions, missing=None):
    return flatten(factor_scores(predictions, missing or {}))[0]


@pytest.mark.parametrize("steps", [None, 2])
def test_measures_equal_those_of_scipy_and_scikit_learn(steps):
    prediction = noisy("hue", 60, 0, steps=steps)
    found = values(prediction)
    for side, probe in (("own", prediction.own), ("mapped", prediction.mapped)):
        plain = r2_score(prediction.truth, probe)
        assert found[f"factor/r2_{side}"] == pytest.approx(1 - (1 - plain) * 59 / 60)
        expected = spearmanr(prediction.truth, probe).statistic
        assert found[f"factor/spearman_{side}/hue"] == pytest.approx(expected)


@pytest.mark.parametrize("steps", [None, 2])
def test_measures_of_a_resample_are_those_of_the_repeated_rows(steps):
    resamples = Resamples(40, 15, 0)
    prediction = noisy("hue", 40, 0, resamples, steps)
    scores = factor_scores([prediction], {})
    for k, counts in enumerate(resamples.counts.long().numpy()):
        truth, mapped = (
            np.repeat(column, counts) for column in (prediction.truth, prediction.mapped)
        )
        expected = r2_score(truth, mapped), spearmanr(truth, mapped).statistic
        size = counts.sum()
        r2 = 1 - (1 - expected[0]) * 39 / 40 * (size - 1) / size
        assert scores["factor/r2_mapped"].draws[k] == pytest.approx(r2)
        assert scores["factor/spearman_mapped"].draws[k] == pytest.approx(expected[1])


def test_shrinkage_lowers_r2_and_leaves_rank_correlation():
    truth = np.linspace(0, 1, 30)
    found = values(FactorPredictions("hue", truth, truth, 0.1 * truth))
    assert found["factor/r2_own"] == found["factor/spearman_own"] == 1.0
    assert found["factor/r2_mapped"] < 0.5
    assert found["factor/spearman_mapped"] == 1.0


@given(st.integers(0, 99), st.floats(0.1, 10), st.floats(-10, 10))
def test_units_of_a_factor_do_not_matter(seed, scale, shift):
    prediction = noisy("hue", 12, seed)
    other = FactorPredictions(
        "hue", *(scale * x + shift for x in (prediction.truth, prediction.own, prediction.mapped))
    )
    before, after = values(prediction), values(other)
    assert after["factor/r2_mapped"] == pytest.approx(before["factor/r2_mapped"])
    assert after["factor/spearman_own"] == pytest.approx(before["factor/spearman_own"])


def test_overall_scores_are_means_over_factors():
    resamples = Resamples(50, 20, 0)
    scores = factor_scores([noisy(name, 50, k, resamples) for k, name in enumerate("ab")], {})
    for measure in ("r2_own", "spearman_mapped"):
        each = [scores[f"factor/{measure}/{name}"] for name in "ab"]
        overall = scores[f"factor/{measure}"]
        assert overall.value == pytest.approx(np.mean([one.value for one in each]))
        assert overall.draws == pytest.approx(np.mean([one.draws for one in each], axis=0))
    assert scores["factor/n_factors"] == 2
    assert scores["factor/n_test"] == 50


def test_a_constant_prediction_has_no_rank_correlation():
    prediction = noisy("hue", 20, 0)
    constant = FactorPredictions("hue", prediction.truth, prediction.own, np.full(20, 0.1))
    found = values(constant, noisy("size", 20, 1))
    assert found["factor/spearman_mapped/hue"] is None
    assert found["factor/constant/hue"] == "mapped"
    assert found["factor/spearman_mapped"] == found["factor/spearman_mapped/size"]
    assert (found["factor/n_spearman_own"], found["factor/n_spearman_mapped"]) == (2, 1)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_factor_that_does_not_vary_is_missing(n):
    found = values(FactorPredictions("hue", np.full(n, 0.1), np.arange(float(n)), np.zeros(n)))
    assert found["factor/missing/hue"] == f"test split has {n} items and no two values of it"
    assert found["factor/r2_own"] is None
    assert found["factor/n_factors"] == 0


def test_factors_without_probe_are_missing_with_the_reason():
    found = values(missing={"hue": "train split has one value of it"})
    assert found["factor/missing/hue"] == "train split has one value of it"


def test_a_resample_of_one_value_is_undefined():
    resamples = Resamples(6, 200, 0)
    truth = np.array([0.1, 0.2, 0.4, 0.5, 0.8, 0.9])
    prediction = FactorPredictions("hue", truth, np.zeros(6), np.arange(6.0), resamples=resamples)
    draws = factor_scores([prediction], {})["factor/r2_mapped"].draws
    single = ((resamples.counts > 0).sum(dim=1) == 1).numpy()
    assert 0 < single.sum() < 200
    assert (np.isnan(draws) == single).all()


def test_scores_are_valid_json():
    found = values(noisy("hue", 20, 0, Resamples(20, 20)))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("kind", ["truth", "own", "mapped"])
def test_values_that_are_not_finite_are_named(kind):  # case C39
    columns = {"truth": np.arange(4.0), "own": np.zeros(4), "mapped": np.zeros(4)}
    columns[kind][1] = np.inf
    with pytest.raises(ValueError, match=r"of hue must be finite.* rows 1"):
        FactorPredictions("hue", **columns)


def test_scores_of_other_items_are_an_error():
    with pytest.raises(ValueError, match=r"own scores of hue have shape \(5,\)"):
        FactorPredictions("hue", np.arange(4.0), np.zeros(5), np.zeros(4))
