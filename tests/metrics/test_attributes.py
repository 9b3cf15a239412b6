import json

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    roc_auc_score,
)

from stitching.metrics.attributes import AttributePredictions, probe_scores
from stitching.metrics.resampling import Resamples, flatten


def as_scores(predictions):
    return np.where(predictions, 1.0, -1.0)


def predicted(name, truth, own, mapped, resamples=None, train=(10, 30), **control):
    """An attribute whose predictions are known."""
    sides = as_scores(own), as_scores(mapped)
    return AttributePredictions(name, truth, *sides, *train, resamples=resamples, **control)


def noisy(name, n, seed, resamples=None, noise=1.0):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    own = truth - 0.5 + rng.standard_normal(n)
    return AttributePredictions(
        name, truth, own, own + noise * rng.standard_normal(n), 40, 60, resamples=resamples
    )


def values(*predictions, missing=None):
    return flatten(probe_scores(predictions, missing or {}))[0]


def repeated(counts, *columns):
    return (np.repeat(column, counts.long().numpy()) for column in columns)


# --- Shares


@pytest.mark.parametrize("n", [2, 40, 250])
def test_items_that_all_match_give_a_consistency_of_one(n):  # case C28
    truth = np.arange(n) % 2 == 0
    own = np.arange(n) % 3 == 0
    assert values(predicted("a", truth, own, own))["probe/consistency"] == 1.0


def test_no_test_items_give_no_numbers():  # case C28
    none = np.zeros(0, dtype=bool)
    found = values(predicted("a", none, none, none))
    assert found["probe/consistency"] is None
    assert found["probe/n_attributes"] == 0
    assert found["probe/n_test"] is None
    assert "0 items with and 0 without" in found["probe/missing/a"]


def test_shares_are_not_truncated():  # case C29
    truth = np.arange(100) < 50
    own = np.arange(100) < 29
    found = values(predicted("a", truth, own, np.ones(100, dtype=bool)))
    assert found["probe/consistency"] == 0.29


def test_items_count_alike_whatever_the_batches_they_came_in():  # case C07
    truth = np.arange(100) % 2 == 0
    found = values(predicted("a", truth, truth, truth ^ (np.arange(100) < 64)))
    assert found["probe/consistency"] == 0.36


def test_always_predicting_no_has_high_accuracy_and_chance_balanced_accuracy():  # case C27
    truth = np.arange(100) < 5
    no = np.zeros(100, dtype=bool)
    found = values(predicted("Bald", truth, no, no))
    assert found["probe/accuracy_own"] == found["probe/majority"] == 0.95
    assert found["probe/balanced_accuracy_own"] == found["probe/auc_own"] == 0.5
    assert found["probe/n_positive/Bald"] == 5
    assert found["probe/n_positive_train/Bald"] == 10


def test_auc_needs_no_threshold():
    truth = np.arange(20) < 6
    scores = np.linspace(9, 5, 20)  # yes to everybody, in the right order
    found = values(AttributePredictions("a", truth, scores, scores[::-1], 10, 30))
    assert found["probe/auc_own"] == 1.0
    assert found["probe/auc_mapped"] == 0.0
    assert found["probe/accuracy_own"] == 0.3


# --- Scores of a cell


def test_scores_of_known_predictions():
    truth = np.arange(8) < 4
    own = np.arange(8) < 5  # 7 of 8 right
    mapped = np.arange(8) < 2  # 6 of 8 right, 5 of 8 as own
    found = values(predicted("Male", truth, own, mapped))
    expected = {
        "accuracy_own": 7 / 8,
        "accuracy_mapped": 6 / 8,
        "balanced_accuracy_own": 7 / 8,
        "balanced_accuracy_mapped": 6 / 8,
        "auc_own": 7 / 8,
        "auc_mapped": 6 / 8,
        "majority": 4 / 8,
        "consistency": 5 / 8,
        "kappa": cohen_kappa_score(own, mapped),
        "percent_delta": -1 / 7,
    }
    for measure, value in expected.items():
        assert found[f"probe/{measure}"] == pytest.approx(value)
        assert found[f"probe/{measure}/Male"] == pytest.approx(value)
    assert found["probe/n_attributes"] == found["probe/n_kappa"] == 1
    assert found["probe/n_test"] == 8
    assert found["probe/n_constant"] == found["probe/n_control"] == 0


def test_overall_scores_are_means_over_attributes():
    truth = np.arange(10) < 5
    found = values(
        predicted("a", truth, truth, np.arange(10) < 4),
        predicted("b", truth, truth, np.arange(10) < 2),
    )
    assert found["probe/consistency"] == pytest.approx((0.9 + 0.7) / 2)
    assert found["probe/n_attributes"] == 2


@pytest.mark.parametrize(("train", "majority"), [((30, 10), 0.25), ((10, 30), 0.75)])
def test_the_majority_is_that_of_the_training_items(train, majority):
    truth = np.arange(8) < 2
    assert values(predicted("a", truth, truth, truth, train=train))["probe/majority"] == majority


def test_control_probes_are_scored_on_their_own_labels():
    truth, labels = np.arange(10) < 5, np.arange(10) % 2 == 0
    wrong = (np.arange(10) < n for n in (3, 4))
    control = (labels, *(as_scores(labels ^ items) for items in wrong))
    with_control = predicted("a", truth, truth, truth, control=control)
    found = values(with_control, predicted("b", truth, truth, truth))
    assert found["probe/control_own"] == found["probe/control_own/a"] == 0.7
    assert found["probe/control_mapped"] == 0.6
    assert found["probe/n_control"] == 1
    assert "probe/control_own/b" not in found


def test_without_control_probes_control_is_none():
    truth = np.arange(10) < 5
    assert values(predicted("a", truth, truth, truth))["probe/control_own"] is None


def test_percent_delta_of_a_probe_that_is_never_right_is_undefined():
    truth = np.arange(10) < 5
    found = values(predicted("a", truth, ~truth, truth))
    assert found["probe/percent_delta"] is None
    assert found["probe/percent_delta/a"] is None


def test_constant_predictions_are_flagged_as_uninformative():  # case C27
    truth = np.arange(20) < 1
    no = np.zeros(20, dtype=bool)
    found = values(predicted("Bald", truth, no, no), predicted("Male", truth, truth, truth))
    assert found["probe/consistency/Bald"] == 1.0
    assert found["probe/constant/Bald"] == "own and mapped"
    assert found["probe/kappa/Bald"] is None
    assert found["probe/n_constant"] == 1
    assert "probe/constant/Male" not in found
    assert found["probe/kappa"] == 1.0
    assert (found["probe/n_attributes"], found["probe/n_kappa"]) == (2, 1)


@pytest.mark.parametrize("prediction", [True, False])
def test_an_attribute_with_one_class_in_the_test_split_is_missing(prediction):  # case C27
    truth, one_class = np.arange(10) < 5, np.full(10, prediction)
    found = values(
        predicted("Pale_Skin", one_class, truth, truth), predicted("Male", truth, truth, truth)
    )
    assert "at least 1 of each is needed" in found["probe/missing/Pale_Skin"]
    assert "probe/consistency/Pale_Skin" not in found
    assert found["probe/n_attributes"] == 1


def test_attributes_without_probe_are_missing_with_the_reason():
    found = values(missing={"Bald": "data set has no such attribute"})
    assert found["probe/missing/Bald"] == "data set has no such attribute"
    assert found["probe/accuracy_own"] is None
    assert found["probe/n_attributes"] == 0


def test_attributes_may_have_items_of_their_own():
    small, large = (np.arange(n) % 2 == 0 for n in (10, 30))
    found = values(predicted("a", small, small, ~small), predicted("b", large, large, large))
    assert found["probe/consistency"] == 0.5
    assert found["probe/n_test"] is None
    assert (found["probe/n_test/a"], found["probe/n_test/b"]) == (10, 30)


def test_row_order_of_the_test_items_does_not_matter():
    prediction = noisy("a", 50, seed=0)
    order = np.random.default_rng(3).permutation(50)
    shuffled = AttributePredictions(
        "a", prediction.truth[order], prediction.own[order], prediction.mapped[order], 40, 60
    )
    assert values(shuffled) == values(prediction)


def test_scores_are_valid_json():
    truth = np.arange(20) < 1
    no = np.zeros(20, dtype=bool)
    found = values(predicted("a", truth, no, no, Resamples(20, 50)))
    assert {type(value) for value in found.values()} <= {int, float, str, type(None)}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# --- Draws


def test_measures_of_a_resample_are_those_of_the_repeated_rows():
    resamples = Resamples(60, 15, 0)
    prediction = noisy("a", 60, 0, resamples)
    weights = torch.cat([torch.ones(60, 1).double(), resamples.counts.T], dim=1)
    found = prediction.measures(weights)  # without pseudo-items
    for k, counts in enumerate(resamples.counts):
        truth, own, mapped = repeated(counts, prediction.truth, prediction.own, prediction.mapped)
        before, after = accuracy_score(truth, own > 0), accuracy_score(truth, mapped > 0)
        expected = {
            "accuracy_own": before,
            "accuracy_mapped": after,
            "balanced_accuracy_own": balanced_accuracy_score(truth, own > 0),
            "balanced_accuracy_mapped": balanced_accuracy_score(truth, mapped > 0),
            "auc_own": roc_auc_score(truth, own),
            "auc_mapped": roc_auc_score(truth, mapped),
            "majority": 1 - truth.mean(),
            "consistency": accuracy_score(own > 0, mapped > 0),
            "kappa": cohen_kappa_score(own > 0, mapped > 0),
            "percent_delta": (after - before) / before,
        }
        for measure, value in expected.items():
            assert float(found[measure][1 + k]) == pytest.approx(value), measure


@pytest.mark.parametrize("measure", ["accuracy_own", "auc_mapped", "kappa", "percent_delta"])
@pytest.mark.parametrize("sizes", [(2000, 2000, 2000), (1500, 2500, 2000)])
def test_draws_of_a_mean_are_means_of_the_draws(measure, sizes):
    # Up to pseudo-items, of which there are two for each attribute, and two for the mean.
    scores = probe_scores(
        [noisy("abc"[k], n, k, Resamples(n, 30, 0)) for k, n in enumerate(sizes)], {}
    )
    each = [scores[f"probe/{measure}/{name}"].draws for name in "abc"]
    assert scores[f"probe/{measure}"].draws == pytest.approx(np.mean(each, axis=0), abs=3e-3)


def test_a_resample_without_a_class_has_no_balanced_accuracy_and_no_auc():
    resamples = Resamples(12, 300, 0)
    truth = np.arange(12) < 1
    scores = probe_scores([predicted("Bald", truth, truth, truth, resamples)], {})
    absent = (resamples.counts[:, 0] == 0).numpy()
    assert 0 < absent.sum() < 300
    for measure in ("balanced_accuracy_own", "auc_mapped"):
        estimate = scores[f"probe/{measure}/Bald"]
        assert (np.isnan(estimate.draws) == absent).all()
        assert estimate.interval == (None, None)
    assert np.isfinite(scores["probe/accuracy_own/Bald"].draws).all()


def test_a_mean_is_over_the_attributes_that_a_resample_has_both_classes_of():
    resamples = Resamples(40, 300, 0)
    rare, common = np.arange(40) < 1, np.arange(40) % 2 == 0
    predictions = [
        predicted("Bald", rare, rare, rare, resamples),
        predicted("Male", common, common, ~common, resamples),
    ]
    draws = probe_scores(predictions, {})["probe/auc_mapped"].draws
    absent = (resamples.counts[:, 0] == 0).numpy()
    # Male alone, with an area of 0, or the mean with Bald, of 1; pseudo-items pull to one half.
    assert draws[absent].mean() < 0.25 < draws[~absent].mean()
    assert np.isfinite(draws).all()


@pytest.mark.parametrize("number", [0, 1, 40])
def test_values_do_not_depend_on_the_number_of_resamples(number):
    some, none = (
        probe_scores([noisy("a", 40, 0, resamples)], {})
        for resamples in (Resamples(40, number, 0), None)
    )
    for measure in ("auc_own", "kappa", "balanced_accuracy_mapped"):
        assert some[f"probe/{measure}"].value == none[f"probe/{measure}"].value


def test_items_left_out_keep_the_weights_of_the_others():
    every = Resamples(40, 20, 0)
    rows = np.arange(40) % 4 > 0
    prediction = noisy("a", 40, 0)
    some = AttributePredictions(
        "a", prediction.truth[rows], prediction.own[rows], prediction.mapped[rows], 40, 60,
        resamples=every.only(rows),
    )  # fmt: skip
    draws = probe_scores([some], {})["probe/consistency"].draws
    equal = torch.from_numpy(((prediction.own > 0) == (prediction.mapped > 0))[rows]).double()
    counts = every.counts[:, rows]
    # Pseudo-items count at most half of a few items.
    expected = (counts @ equal / counts.sum(dim=1)).numpy()
    assert np.abs(draws - expected).max() < 0.15
    assert np.corrcoef(draws, expected)[0, 1] > 0.8


# --- Bad input


def test_labels_must_be_bool():
    with pytest.raises(TypeError, match="labels of a must be bool, got int64"):
        AttributePredictions("a", np.ones(4, dtype=np.int64), np.zeros(4), np.zeros(4), 1, 1)


def test_predictions_in_place_of_scores_are_an_error():
    truth = np.arange(4) < 2
    with pytest.raises(TypeError, match="own scores of a must be floats, got bool"):
        AttributePredictions("a", truth, truth, np.zeros(4), 1, 1)


def test_scores_of_other_items_are_an_error():
    with pytest.raises(ValueError, match=r"mapped scores of a have shape \(9,\) .* \(4,\)"):
        AttributePredictions("a", np.arange(4) < 2, np.zeros(4), np.zeros(9), 1, 1)


@pytest.mark.parametrize("side", ["own", "mapped"])
def test_scores_that_are_not_finite_are_named(side):  # case C39
    scores = {"own": np.zeros(4), "mapped": np.zeros(4)}
    scores[side][2] = np.nan
    with pytest.raises(ValueError, match=rf"{side} scores of a must be finite.* rows 2"):
        AttributePredictions("a", np.arange(4) < 2, **scores, n_yes_train=1, n_no_train=1)


def test_half_a_control_is_an_error():
    truth = np.arange(4) < 2
    with pytest.raises(ValueError, match="control of a needs labels, own and mapped scores"):
        predicted("a", truth, truth, truth, control=(truth, as_scores(truth)))


def test_labels_of_a_control_are_checked_too():
    truth = np.arange(4) < 2
    control = np.ones(4, dtype=np.int64), as_scores(truth), as_scores(truth)
    with pytest.raises(TypeError, match="control labels of a must be bool, got int64"):
        predicted("a", truth, truth, truth, control=control)


def test_an_attribute_given_twice_is_an_error():
    truth = np.arange(4) < 2
    prediction = predicted("a", truth, truth, truth)
    with pytest.raises(ValueError, match="each attribute must be given once, got more of a"):
        probe_scores([prediction], {"a": "no probe"})


def test_resamples_of_other_items_are_an_error():
    with pytest.raises(ValueError, match="attribute a has 40 items but resamples of 39"):
        probe_scores([noisy("a", 40, 0, Resamples(39))], {})


def test_attributes_with_other_numbers_of_resamples_are_an_error():
    predictions = [noisy("a", 40, 0, Resamples(40, 20)), noisy("b", 40, 1, Resamples(40, 30))]
    with pytest.raises(ValueError, match="attribute b has 30 resamples, others 20"):
        probe_scores(predictions, {})
